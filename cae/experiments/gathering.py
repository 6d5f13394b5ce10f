"""The figures of an experiment: those of every job, and over seeds their means, ranges and paired differences."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from statistics import mean
from typing import Any

from cae.experiments.jobs import Job
from cae.files import read_json

# of a run, shown where the file of the experiment names none
USUAL = (
    *("classifier/test_accuracy", "cae/reassignment", "cae/reassignment_oracle", "cae/reconstruction_mae"),
    *("cae/participation_ratio", "cae/class_probe", "cae/individual_probe", "counterfactual/found"),
    *("counterfactual/overshoot_p95", "counterfactual/cout", "localisation/dice", "localisation/pointing"),
    "seconds/cae_training",
)
FINISHED, FAILED, MISSING = "finished", "failed", "missing"


@dataclass(frozen=True)
class Outcome:
    """What came of a job: ``finished``, ``failed`` or ``missing``, why, how long it ran, and its figures by name."""

    job: str
    arm: str
    seed: int
    status: str
    reason: str
    seconds: float
    machine: str
    figures: Mapping[str, float]


@dataclass(frozen=True)
class Line:
    """One figure of one arm over seeds.

    Attributes:
        arm: its name.
        metric: name of the figure.
        mean: over seeds.
        low: least over seeds.
        high: greatest over seeds.
        seeds: over which it was taken.
        difference: mean of the differences to the baseline of the same seed; None where no seed has both.
        difference_low: least of these.
        difference_high: greatest of these.
        pairs: over how many seeds.
    """

    arm: str
    metric: str
    mean: float
    low: float
    high: float
    seeds: tuple[int, ...]
    difference: float | None
    difference_low: float | None
    difference_high: float | None
    pairs: int


def outcome(job: Job) -> Outcome:
    """What came of a job by now; figures count only where all of it is finished."""
    record = job.record()
    finished = not job.remaining()
    status = FINISHED if finished else record.get("status", MISSING)
    if status not in (FINISHED, FAILED):
        status = MISSING
    reason = "" if finished else str(record.get("reason") or ("stopped" if record else "not begun"))
    figures = figures_of(job.folder) if finished else {}
    seconds = float(record.get("seconds", 0.0))
    return Outcome(job.name, job.arm, job.seed, status, reason, seconds, str(record.get("machine", "")), figures)


def figures_of(folder: Path) -> dict[str, float]:
    """Every figure of a run: of ``metrics.json``, and of each folder of explanations under that folder's name.

    The main traversal's are in ``metrics.json`` already. A table of methods gives ``<folder>/<method>/<metric>``.
    """
    found = _numbers(read_json(folder / "metrics.json"))
    for path in sorted(folder.glob("explanations/*/metrics.json")):
        if path.parent.name not in ("traverse", "manifold"):
            found |= {f"{path.parent.name}/{name}": value for name, value in _numbers(read_json(path)).items()}
    for path in sorted(folder.glob("explanations/*/table.json")):
        for row in read_json(path, list):
            name = "/".join((path.parent.name, str(row.get("method")), str(row.get("metric"))))
            found |= _numbers({name: row.get("mean")})
    return found


def _numbers(content: Mapping[str, Any]) -> dict[str, float]:
    return {name: float(value) for name, value in content.items()
            if isinstance(value, (int, float)) and not isinstance(value, bool)}  # fmt: skip


def lines(outcomes: Sequence[Outcome], baseline: str) -> list[Line]:
    """Each figure of each arm over the seeds that finished, and its paired differences to the baseline."""
    by_arm: dict[str, dict[int, Mapping[str, float]]] = {}
    for one in outcomes:
        if one.status == FINISHED and one.arm:
            by_arm.setdefault(one.arm, {})[one.seed] = one.figures
    found = []
    for arm, by_seed in by_arm.items():
        for metric in dict.fromkeys(name for figures in by_seed.values() for name in figures):
            values = {seed: figures[metric] for seed, figures in by_seed.items() if metric in figures}
            others = {seed: figures[metric] for seed, figures in by_arm.get(baseline, {}).items() if metric in figures}
            found.append(_line(arm, metric, values, others if arm != baseline else {}))
    return found


def _line(arm: str, metric: str, values: Mapping[int, float], baseline: Mapping[int, float]) -> Line:
    numbers = list(values.values())
    pairs = [value - baseline[seed] for seed, value in values.items() if seed in baseline]
    middle, low, high = (mean(pairs), min(pairs), max(pairs)) if pairs else (None, None, None)
    return Line(
        arm, metric, mean(numbers), min(numbers), max(numbers), tuple(values), middle, low, high, len(pairs)
    )  # fmt: skip


def chosen_metrics(patterns: Sequence[str], found: Iterable[str]) -> list[str]:
    """Names that are shown: those that a pattern fits, in the order of the patterns; the usual ones without any.

    >>> chosen_metrics(["b/*"], ["a/x", "b/y"])
    ['b/y']
    """
    names = list(dict.fromkeys(found))
    return list(dict.fromkeys(name for pattern in patterns or USUAL for name in names if fnmatchcase(name, pattern)))


def summary(found: Sequence[Line], outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """Means and ranges by ``<arm>/<metric>``, in the form of ``benchmarks/results``, and all lines."""
    seeds = {arm: sorted(one.seed for one in outcomes if one.arm == arm and one.status == FINISHED)
             for arm in dict.fromkeys(one.arm for one in outcomes if one.arm)}  # fmt: skip
    return {
        "machine": "; ".join(sorted({one.machine for one in outcomes if one.machine})),
        "seeds": sorted(set().union(*seeds.values())),
        "seeds_of": seeds,
        "figures": {f"{line.arm}/{line.metric}": line.mean for line in found},
        "intervals": {f"{line.arm}/{line.metric}": [line.low, line.high] for line in found},
        "lines": [asdict(line) for line in found],
    }
