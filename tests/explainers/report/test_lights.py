"""Traffic lights: each number on the right side of its limit, and advice where something does not hold."""

from __future__ import annotations

import pytest

from cae.classifiers.gates import LEAST_AGREEMENT
from explainers.report.holdings import Doubts
from explainers.report.lights import lights, sentences

GOOD = {
    "classifier/test_accuracy": 0.95, "oracle/agreement": 0.95, "counterfactual/validity_oracle_end": 0.97,
    "counterfactual/found": 0.98, "cae/reassignment": 0.95,
    "counterfactual/explained": 50, "counterfactual/found_count": 49,
}  # fmt: skip


def states(metrics, sanity=None):
    rules = {"shortcut/added": True} if sanity is None else sanity
    return [light.state for light in lights(metrics, rules, ["a", "b"], 0.5, "explain.py {}")]


def test_everything_holds_or_was_not_measured():
    assert states(GOOD) == ["good"] * 5 + ["unknown"]
    assert states({}, {}) == ["unknown"] * 6


@pytest.mark.parametrize(
    ("place", "change", "state"),
    [
        (0, {"classifier/test_accuracy": 0.55}, "bad"),
        (0, {"classifier/test_accuracy": 0.70}, "warn"),
        (1, {"counterfactual/validity_oracle_end": 0.6}, "warn"),
        (1, {"counterfactual/validity_oracle_end": 0.4}, "bad"),
        (1, {"oracle/agreement": 0.5}, "warn"),
        (3, {"counterfactual/found": 0.7}, "warn"),
        (3, {"counterfactual/found": 0.2}, "bad"),
        (4, {"cae/individual_probe": 0.95}, "warn"),
        (4, {"cae/reassignment": 0.3}, "bad"),
    ],
)
def test_each_limit_is_told_with_advice(place, change, state):
    light = lights(GOOD | change, {"rule": True}, ["a", "b"], 0.5, "explain.py {}")[place]
    assert light.state == state
    assert light.advice != "Nothing to do."


def test_a_failed_sanity_rule_is_named():
    light = lights(GOOD, {"guards/null": False, "shortcut/added": True}, ["a", "b"], 0.5, "explain.py {}")[2]
    assert (light.state, light.number) == ("warn", "1 of 2")
    assert "guards/null" in light.advice


def test_an_accuracy_is_judged_by_the_commonest_class_and_not_by_the_number_of_classes():
    light = lights({"classifier/test_accuracy": 0.92}, {}, ["a", "b"], 0.9, "explain.py {}")[0]
    assert light.state == "bad"


def test_three_sentences_say_what_was_found():
    said = sentences(GOOD, "demo", ["a", "b"], "resnet")
    assert len(said) == 3
    assert "found for 49" in said[1]


def test_an_oracle_that_is_not_worth_asking_is_shown_with_the_reason():
    doubt = "the oracle agrees with the classifier on 55.0% of 60 test images, less than 75%"
    known = {"oracle/agreement": 0.55, "classifier/test_accuracy": 0.95}
    light = lights(known, {}, ["a", "b"], 0.5, "explain.py {}", Doubts(oracle=doubt))[1]
    assert (light.state, light.number[:2], light.advice) == ("bad", "55", "T" + doubt[1:])


def test_the_report_judges_an_oracle_by_the_bound_of_the_trainings():
    agreeing = [{"oracle/agreement": LEAST_AGREEMENT + change} for change in (0.01, -0.01)]
    assert [states(GOOD | change)[1] for change in agreeing] == ["good", "warn"]


def test_a_classifier_that_training_doubted_is_not_called_good():
    doubts = Doubts(classifier=["the classifier answers 'b' for none of 60 test images"])
    light = lights(GOOD, {}, ["a", "b"], 0.5, "explain.py {}", doubts)[0]
    assert light.state == "bad"
    assert light.advice.startswith("The classifier answers 'b' for none")
