"""What must hold before anyone believes the pictures: one traffic light each, with its number and what to do."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from cae.classifiers.gates import LEAST_AGREEMENT
from cae.diagnostics.diagnostic_warnings import diagnostic_warnings
from explainers.report.holdings import NO_DOUBTS, Doubts
from explainers.report.origins import Origins
from explainers.report.text import percent

State = Literal["good", "warn", "bad", "unknown"]
BETTER_THAN_CHANCE = 0.10  # by how much accuracy must exceed that of always naming the commonest class
USABLE = 0.80  # accuracy from which the classifier is called good, where chance is far below
ORACLE_END = 0.80, 0.50  # share of path ends at which it must see the target: good, and at least
NOTHING_NOTED = Origins()
FOUND = 0.90, 0.50  # share of images with a counterfactual: good, and at least

Numbers = Mapping[str, float]


@dataclass(frozen=True)
class Light:
    """One condition: its state, its number in large print, what the number is, and what to do."""

    title: str
    state: State
    number: str
    words: str
    advice: str

    @property
    def verdict(self) -> str:
        """The state in one word, for those who do not see colours."""
        return {"good": "holds", "warn": "with care", "bad": "does not hold", "unknown": "not measured"}[self.state]


def lights(
    metrics: Numbers,
    sanity: Mapping[str, bool],
    classes: Sequence[str],
    commonest: float,
    command: str,
    doubts: Doubts = NO_DOUBTS,
    origins: Origins = NOTHING_NOTED,
) -> list[Light]:
    """All lights of a run.

    Args:
        metrics: every number of the run, by name.
        sanity: outcome of each rule of the sanity tests, by name.
        classes: names.
        commonest: share of the commonest class, which always naming it gets right.
        command: how ``explain.py`` is called for this run, without its word.
        doubts: what the trainings said against classifier and oracle.
        origins: how the results go with the models that the run holds.
    """
    return [
        _classifier(metrics, commonest, doubts.classifier),
        _oracle(metrics, doubts.oracle),
        _sanity(sanity, command),
        _found(metrics, command),
        _embedding(metrics, classes, command),
        _of_one_piece(origins),
    ]


def _classifier(metrics: Numbers, commonest: float, doubts: Sequence[str]) -> Light:
    title, accuracy = "The classifier knows its classes", metrics.get("classifier/test_accuracy")
    if accuracy is None:
        return _unknown(
            title, "No accuracy on test images lies in the run.",
            "Explanations of a classifier that guesses show nothing. Measure it on images that it was not trained on.",
        )  # fmt: skip
    words = (
        f"of the test images are classified as labelled; always naming the commonest class gets {percent(commonest)}"
    )
    if doubts:
        return Light(title, "bad", percent(accuracy), words, " ".join(map(_sentence, doubts)))
    if accuracy < commonest + BETTER_THAN_CHANCE:
        return Light(
            title, "bad", percent(accuracy), words, "It is hardly better than a guess: train it before explaining it."
        )
    if accuracy < USABLE:
        return Light(
            title, "warn", percent(accuracy), words,
            "Where it is wrong, the pictures show why, not what the class looks like: see “wrong predictions”.",
        )  # fmt: skip
    return _holds(title, percent(accuracy), words)


def _oracle(metrics: Numbers, doubt: str | None) -> Light:
    title = "A second classifier agrees"
    agreement, end = metrics.get("oracle/agreement"), metrics.get("counterfactual/validity_oracle_end")
    if doubt is not None:
        number = "–" if agreement is None else percent(agreement)
        words = f"of held-out images are seen alike by the oracle; it is asked from {percent(LEAST_AGREEMENT)} on"
        return Light(title, "bad", number, words, _sentence(doubt))
    if end is None:
        return Light(
            title, "unknown", "–" if agreement is None else percent(agreement),
            "No second classifier (oracle) has looked at the counterfactuals."
            if agreement is None else "of the originals are seen alike by the oracle, which has not looked at any path",
            "Without one, edits may be noise made for one network's weights. `train.py oracle` trains it, "
            "`explain.py traverse` asks it.",
        )  # fmt: skip
    words = "of the paths end where a classifier of another architecture, which no training followed, sees the target"
    if agreement is not None:
        words += f"; on test images the two agree on {percent(agreement)}"
        if agreement < LEAST_AGREEMENT:
            return Light(
                title, "warn", percent(end), words, "The oracle is a poor judge: train it longer (oracle.epochs)."
            )
    if end >= ORACLE_END[0]:
        return _holds(title, percent(end), words)
    return Light(
        title, _short_of(ORACLE_END, end), percent(end), words,
        "Where it disagrees, the change may fool one network only: use the filter “oracle disagrees”, and train the "
        "embedding longer.",
    )  # fmt: skip


def _sanity(rules: Mapping[str, bool], command: str) -> Light:
    title = "Sanity tests"
    if not rules:
        return _unknown(
            title, "Nobody tested whether explanations follow what the classifier has learnt.",
            f"Run `{command.format('sanity')}`; it trains models with known faults.",
        )  # fmt: skip
    passed, failed = sum(rules.values()), [name for name, held in rules.items() if not held]
    number, words = (
        f"{passed} of {len(rules)}",
        "rules hold: other weights give other maps, planted markers are found, nothing is shown where nothing is",
    )
    if not failed:
        return _holds(title, number, words)
    return Light(
        title, "bad" if passed < len(rules) / 2 else "warn", number, words,
        f"Look at what failed before you trust the pictures: {', '.join(failed[:6])}{' …' if len(failed) > 6 else ''}.",
    )  # fmt: skip


def _found(metrics: Numbers, command: str) -> Light:
    title, rate = "Counterfactuals are found", metrics.get("counterfactual/found")
    if rate is None:
        return _unknown(
            title, "No image has been explained by a path yet.",
            f"Run `{command.format('traverse')} traverse.save=all`.",
        )  # fmt: skip
    count = int(metrics.get("counterfactual/explained", 0))
    low, high = metrics.get("counterfactual/found_low"), metrics.get("counterfactual/found_high")
    between = f" (95 % interval {percent(low)} to {percent(high)})" if low is not None and high is not None else ""
    words = f"of {count} images change the answer on their path{between}"
    if rate >= FOUND[0]:
        return _holds(title, percent(rate), words)
    return Light(
        title, _short_of(FOUND, rate), percent(rate), words,
        "Those found are the easy ones: see “not found”, try counterfactual.references=16, or train longer.",
    )  # fmt: skip


def _embedding(metrics: Numbers, classes: Sequence[str], command: str) -> Light:
    title, rate = "The embedding carries the classes", metrics.get("cae/reassignment")
    if rate is None:
        return _unknown(
            title, "The embedding has not been measured on test images.",
            f"Run `{command.format('manifold')}`.",
        )  # fmt: skip
    words = (
        f"of the swaps of class codes carry the class with them, where a guess gets {percent(1 / max(1, len(classes)))}"
    )
    found = diagnostic_warnings(metrics, classes)
    if not found:
        return _holds(title, percent(rate), words)
    state: State = "bad" if rate < 0.5 else "warn"
    return Light(title, state, percent(rate), words, " ".join(map(_sentence, found)))


def _of_one_piece(origins: Origins) -> Light:
    title = "All results are of the same models"
    if not origins.known and not origins.sentences:
        return _unknown(
            title, "Nothing says what the results of the run were made with.",
            "Results of former versions do not tell: those that are made anew do.",
        )  # fmt: skip
    words = "results were made with the models that the run holds now, on the data that it learnt from"
    number = f"{origins.alike} of {origins.known}"
    if not origins.sentences:
        return _holds(title, number, words)
    advice = " ".join(f"{_sentence(words)}." for words in origins.sentences)
    return Light(title, "bad" if origins.faults else "warn", number, words, advice)


def _sentence(words: str) -> str:
    return words[:1].upper() + words[1:]


def _holds(title: str, number: str, words: str) -> Light:
    return Light(title, "good", number, words, "Nothing to do.")


def _unknown(title: str, words: str, advice: str) -> Light:
    return Light(title, "unknown", "–", words, advice)


def _short_of(bounds: tuple[float, float], rate: float) -> State:
    """The state of a rate below the first bound: careful down to the second one, bad below."""
    return "warn" if rate >= bounds[1] else "bad"


def sentences(metrics: Numbers, run: str, classes: Sequence[str], model: str) -> list[str]:
    """What was explained, in three sentences made of the figures."""
    return [*_what(metrics, run, classes, model), *_outcome(metrics), *_where(metrics)]


def _what(metrics: Numbers, run: str, classes: Sequence[str], model: str) -> Iterator[str]:
    names = ", ".join(classes[:5]) + (f" and {len(classes) - 5} more" if len(classes) > 5 else "")
    accuracy = metrics.get("classifier/test_accuracy")
    right = "" if accuracy is None else f", and is right on {percent(accuracy)} of the test images"
    if not classes:
        yield f"The classifier “{model}” was explained in the run “{run}”."
        return
    yield f"The classifier “{model}” of the run “{run}” tells {len(classes)} classes apart ({names}){right}."


def _outcome(metrics: Numbers) -> Iterator[str]:
    explained = int(metrics.get("counterfactual/explained", 0))
    if not explained:
        yield "No image has been explained by a counterfactual path yet."
        return
    found, share = int(metrics["counterfactual/found_count"]), metrics.get("counterfactual/changed_share")
    change = "" if share is None else f"; on average {percent(share)} of the pixels had to change visibly"
    yield f"We asked of {explained} images what would have to change for another answer: found for {found}{change}."


def _where(metrics: Numbers) -> Iterator[str]:
    end, pointing = metrics.get("counterfactual/validity_oracle_end"), metrics.get("localisation/end_pointing")
    parts = []
    if end is not None:
        parts.append(
            f"a second classifier, which no training followed, sees the new class at the end of {percent(end)} of paths"
        )
    if pointing is not None:
        control = metrics.get("localisation/mask_share")
        chance = "" if control is None else f" (by chance: {percent(control)})"
        parts.append(f"the strongest change lies inside the known evidence in {percent(pointing)}{chance}")
    if parts:
        text = ", and ".join(parts)
        yield text[:1].upper() + text[1:] + "."
