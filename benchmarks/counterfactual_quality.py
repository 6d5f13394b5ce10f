"""Ablation of the counterfactuals: arms that differ in one thing each, from the published recipe to ours.

    python benchmarks/counterfactual_quality.py                            lesions, seeds 0 1 2, sized for two CPU cores
    python benchmarks/counterfactual_quality.py --data digits pneumonia --pneumonia data/pneumoniamnist.npz
    python benchmarks/counterfactual_quality.py --size gpu                 128 pixels, wider networks, longer training
    python benchmarks/counterfactual_quality.py --size gpu256              256 pixels

All arms of a seed explain the same classifier with the same data, networks of about the same number of parameters, and
numbers of steps that take about the same time on one core. Every arm is what a user would type with other options, and
every figure is on test images. Where a class has nothing to show (lesions: healthy), a second search goes there: what
it changes is to lie in the lesion, and other explainers of the same images stand below the arms. A run that is finished
is reused, so the benchmark can be stopped, and continued with other arms or seeds; rows of an earlier call whose runs
are no longer there stay in the table. Results go to
``benchmarks/results/counterfactual_quality_<data>.json`` and from there to ``docs/results``.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean

import torch

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks._empty import EMPTY, metrics_of, towards_empty  # noqa: E402 (the script also runs without an installation)
from benchmarks._figures import ABLATION, KEPT_OF_ABLATION  # noqa: E402
from benchmarks._machine import machine  # noqa: E402
from cae.commands.train import cae_stage, classifier_stage, oracle_stage  # noqa: E402
from cae.commands.traverse import traverse  # noqa: E402
from cae.config import Config  # noqa: E402
from cae.config.command_line import parse, run_program  # noqa: E402
from cae.data.selection import spread_order  # noqa: E402
from cae.files import read_json, write_json  # noqa: E402
from cae.metrics.localisation import localise  # noqa: E402
from cae.runs.run_config import explanation_config  # noqa: E402
from cae.runs.trained_run import TrainedRun, load_run  # noqa: E402
from explainers import get_explainer  # noqa: E402

RECIPES = {
    "lesions": ("configs/lesions.yaml",),
    # 28 pixels are too few for the halvings of the published network
    "digits": ("configs/digits.yaml", "data.image_size=32"),
    "pneumonia": ("configs/medmnist.yaml", "data.image_size=32"),
}


@dataclass(frozen=True)
class Arm:
    """One way to train: what it is, the options by which it differs, and its length relative to ours.

    ``steps`` makes the training as long as ours in seconds on one core, for 64 x 64 pixels.
    """

    words: str
    options: tuple[str, ...] = ()
    steps: float = 1.0


# 196 thousand parameters, where ours has 215; some six pairs in a step; a learning rate for so few steps
PUBLISHED = (
    *("cae.preset=published", "cae.model.width=8", "cae.model.residual_blocks=3", "data.batch_size=16"),
    *("cae.learning_rate=1e-3", "cae.discriminator_learning_rate=1e-3", "counterfactual.output=decoded"),
)
ARMS = {
    "published": Arm(
        "published recipe: labels, one donor, no classifier in the loop",
        (*PUBLISHED, "cae.target=labels"),
        steps=0.4,
    ),
    "published_verdicts": Arm(
        "the same on the classifier's predictions",
        (*PUBLISHED, "cae.target=classifier"),
        steps=0.4,
    ),
    "ours": Arm("ours"),
    "without_classifier": Arm(
        "ours on labels, no classifier in the loop",
        ("cae.target=labels", "cae.black_box=true", "cae.query_every=1000000"),
    ),
    "without_evidence": Arm("ours without the class encoder's maps in the editor", ("cae.model.evidence=false",)),
    "without_gate": Arm("ours without a mask, and the terms that need one", ("cae.model.mask=false",)),
    "without_grafts": Arm("ours without patch swaps in the warm-up", ("cae.loss.patch_swap=0",)),
    "without_undo": Arm("ours, swaps are not undone", ("cae.loss.undo=0",)),
    "without_views": Arm("ours, the classifier sees swaps as they are", ("cae.robust_views=false",)),
    "without_discriminator": Arm("ours without a discriminator", ("cae.loss.adversarial=0",)),
    "without_small_edits": Arm("ours without terms for small edits", ("cae.loss.minimal=0", "cae.loss.mask_area=0")),
}
WIDE = "cae.learning_rate=5e-4"  # of networks twice as wide: at 1e-3 one of two trainings lost its reconstructions
SIZES: dict[str, tuple[str, ...]] = {
    "cpu": ("trainer.threads=1",),
    "gpu": (
        *("data.image_size=128", "cae.model.width=32", "cae.model.individual_downsampling=3"),
        *("cae.model.class_downsampling=5", "cae.model.individual_channels=64", WIDE),
    ),
    "gpu256": (
        *("data.image_size=256", "cae.model.width=32", "cae.model.individual_downsampling=4"),
        *("cae.model.class_downsampling=6", "cae.model.individual_channels=64", WIDE),
    ),
}
STEPS = {
    "lesions": {"cpu": 2400, "gpu": 3000, "gpu256": 3000},
    "digits": {"cpu": 4000, "gpu": 8000, "gpu256": 8000},
    "pneumonia": {"cpu": 1200, "gpu": 3000, "gpu256": 3000},
}
EXPLAINERS = (
    *("gradcam", "integrated_gradients", "smoothgrad", "occlusion", "rise", "lime"),
    *("pmi", "ig", "random"),
)


def main(argv: list[str]) -> None:
    """Train, explain and measure every arm for every seed; write after each one."""
    arguments = _arguments(argv)
    for data in arguments.data:
        for seed in arguments.seeds:
            for arm in arguments.arms:
                _arm(data, arm, seed, arguments)
                _write(data, arguments)
            if data in EMPTY and not arguments.arms_alone:
                _explainers(seed, arguments)
                _write(data, arguments)


def _arguments(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", nargs="+", choices=list(RECIPES), default=["lesions"])
    parser.add_argument("--arms", nargs="+", choices=list(ARMS), default=list(ARMS))
    parser.add_argument("--arms-alone", action="store_true", help="leave the other explainers out")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--size", choices=list(SIZES), default="cpu")
    parser.add_argument("--steps", type=int, help="training steps of ours; by default those of the data and the size")
    parser.add_argument("--images", type=int, default=300, help="test images explained by each arm")
    parser.add_argument("--precision", default="32-true", help="trainer.precision; bf16-mixed where the CPU has it")
    parser.add_argument("--pneumonia", type=Path, help="path of pneumoniamnist.npz, which is not part of the project")
    parser.add_argument("--runs", type=Path, default=Path("runs/benchmarks/quality"), help="folder of the runs")
    arguments = parser.parse_args(argv)
    if "pneumonia" in arguments.data and arguments.pneumonia is None:
        parser.error("--data pneumonia needs --pneumonia PATH")
    return arguments


def _words(data: str, name: str, seed: int, arguments: argparse.Namespace, options: Sequence[str] = ()) -> list[str]:
    """The arguments of a command line for one run."""
    recipe, *more = RECIPES[data]
    words = [str(ROOT / recipe), *more, f"name={name}", f"runs={arguments.runs}", f"seed={seed}", f"data.seed={seed}"]
    words += [f"oracle.seed={1000 + seed}", f"trainer.precision={arguments.precision}", "logging.progress=false"]
    words += ["traverse.save=none", "traverse.strips=false", "traverse.gif=false", f"traverse.limit={arguments.images}"]
    if data == "pneumonia":
        words.append(f"data.path={arguments.pneumonia.resolve()}")
    return [*words, *SIZES[arguments.size], *options]


def _config(command: str, words: Sequence[str]) -> Config:
    return parse([command, *words, "resume=last"], {command: ""}, "counterfactual_quality.py").config


def _name(data: str, arm: str, seed: int | str, arguments: argparse.Namespace) -> str:
    return f"{data}-{arguments.size}-{seed}-{arm}"


def _arm(data: str, arm: str, seed: int, arguments: argparse.Namespace) -> None:
    """Train the classifiers of the seed, then the arm, and explain test images with it; finished ones are reused."""
    shared = _name(data, "classifier", seed, arguments)
    config = _config("classifier", _words(data, shared, seed, arguments))
    classifier_stage(config)
    oracle_stage(config)
    name = _name(data, arm, seed, arguments)
    _lend(arguments.runs / shared, arguments.runs / name)
    steps = round(ARMS[arm].steps * (arguments.steps or STEPS[data][arguments.size]))
    options = [*ARMS[arm].options, f"cae.max_steps={steps}", f"cae.validate_every={-(-steps // 2)}"]
    words = _words(data, name, seed, arguments, options)
    print(f"== {name}: {ARMS[arm].words}", flush=True)
    cae_stage(_config("cae", words))
    place = arguments.runs / name / "machine.json"
    if not place.exists():
        write_json(place, {"machine": machine()})
    traverse(_explanation(words))
    if data in EMPTY:
        traverse(_explanation([*words, *towards_empty(data)]))


def _explanation(words: Sequence[str]) -> Config:
    return explanation_config(parse(["traverse", *words], {"traverse": ""}, "counterfactual_quality.py"))


def _lend(shared: Path, folder: Path) -> None:
    """Give a run the classifier and the oracle of its seed."""
    folder.mkdir(parents=True, exist_ok=True)
    for model in ("classifier", "oracle"):
        for ending in ("json", "safetensors"):
            if not (folder / f"{model}.{ending}").exists():
                shutil.copyfile(shared / f"{model}.{ending}", folder / f"{model}.{ending}")


def _explainers(seed: int, arguments: argparse.Namespace) -> None:
    """Localisation of other explainers' maps on the images whose paths lead to the empty class.

    Kept with the seed's classifier.
    """
    name = _name("lesions", "classifier", seed, arguments)
    path = arguments.runs / name / "explainers.json"
    rows = read_json(path)
    owner = _name("lesions", arguments.arms[-1], seed, arguments)
    run = load_run(_explanation(_words("lesions", owner, seed, arguments)))
    chosen = [run.data.test[place] for place in spread_order(run.data.test.labels)[: arguments.images]]
    with_lesion = [sample for sample in chosen if sample.mask is not None and bool(sample.mask.any())]
    with torch.no_grad():
        predicted = run.classifier.probabilities(torch.stack([sample.image for sample in with_lesion])).argmax(1)
    empty = run.classes.index(EMPTY["lesions"])
    shown = [sample for sample, label in zip(with_lesion, predicted.tolist(), strict=True) if label != empty]
    images = torch.stack([sample.image for sample in shown])
    for method in EXPLAINERS:
        if method not in rows:
            rows[method] = _localised(method, run, images, shown)
            write_json(path, rows)


def _localised(method: str, run: TrainedRun, images: torch.Tensor, samples: Sequence) -> dict[str, float]:
    maps = get_explainer(method, run.classifier)(images).attribution.clamp_min(0)
    found = [localise(one[0], sample.mask[0]) for one, sample in zip(maps, samples, strict=True)]
    kept = [one for one in found if one is not None and one.dice is not None and one.dice_best is not None]
    return {
        "towards_empty/localisation/end_dice": mean(one.dice or 0.0 for one in kept),
        "towards_empty/localisation/end_dice_best": mean(one.dice_best or 0.0 for one in kept),
        "towards_empty/localisation/end_pointing": mean(one.pointing or 0.0 for one in kept),
        "towards_empty/localisation/end_images": len(samples),
    }


def _write(data: str, arguments: argparse.Namespace) -> None:
    """One file per data set with all that is finished, now or before: means over seeds, with their range."""
    size = "" if arguments.size == "cpu" else f"_{arguments.size}"
    path = ROOT / "benchmarks" / "results" / f"counterfactual_quality_{data}{size}.json"
    figures: dict[str, float] = {}
    intervals: dict[str, list[float]] = {}
    seeds: dict[str, list[int]] = {}
    machines: set[str] = set()
    for arm in ARMS:
        folders = _runs(data, arm, arguments)
        machines |= {read_json(folder / "machine.json").get("machine", machine()) for _, folder in folders}
        found = {seed: metrics_of(folder) for seed, folder in folders}
        finished = {seed: metrics for seed, metrics in found.items() if "counterfactual/found" in metrics}
        seeds[arm] = sorted(finished)
        _add(arm, list(finished.values()), figures, intervals)
    others = [read_json(folder / "explainers.json") for _, folder in _runs(data, "classifier", arguments)]
    for method in EXPLAINERS:
        _add(method, [rows[method] for rows in others if method in rows], figures, intervals)
    before = read_json(path)
    if _keep(before, arguments.images, figures, intervals, seeds):
        machines |= set(before["machine"].split("; "))
    together = sorted(set().union(*seeds.values()))
    result = {
        "command": _command(data, together, arguments),
        "machine": "; ".join(sorted(machines)),
        "seeds": together,
        "images": arguments.images,
        "arms": {name: arm.words for name, arm in ARMS.items() if seeds[name]},
        "seeds_of": {name: some for name, some in seeds.items() if some},
        "figures": figures,
        "intervals": intervals,
    }
    write_json(path, result)


def _keep(
    before: Mapping,
    images: int,
    figures: dict[str, float],
    intervals: dict[str, list[float]],
    seeds: dict[str, list[int]],
) -> bool:
    """Add the rows of an earlier call, of as many images, that this folder of runs has nothing for. Are there any?"""
    if before.get("images") != images:
        return False
    missing = {name.split("/")[0] for name in before["figures"]} - {name.split("/")[0] for name in figures}
    for row in missing & {*ARMS, *EXPLAINERS}:
        seeds[row] = before["seeds_of"].get(row, [])
        for target, source in ((figures, before["figures"]), (intervals, before["intervals"])):
            target.update({name: value for name, value in source.items() if name.split("/")[0] == row})
    return bool(missing & {*ARMS, *EXPLAINERS})


def _runs(data: str, arm: str, arguments: argparse.Namespace) -> list[tuple[int, Path]]:
    """Seed and folder of every run of an arm."""
    folders = arguments.runs.glob(_name(data, arm, "*", arguments))
    numbered = ((folder.name.split("-")[2], folder) for folder in folders)
    return [(int(seed), folder) for seed, folder in numbered if int(seed) in arguments.seeds]


def _add(
    name: str,
    runs: Sequence[Mapping[str, float]],
    figures: dict[str, float],
    intervals: dict[str, list[float]],
) -> None:
    for figure in (*ABLATION, *KEPT_OF_ABLATION):
        values = [run[figure] for run in runs if run.get(figure) is not None]
        if values:
            figures[f"{name}/{figure}"] = mean(values)
            intervals[f"{name}/{figure}"] = [min(values), max(values)]


def _command(data: str, seeds: Sequence[int], arguments: argparse.Namespace) -> str:
    words = ["python benchmarks/counterfactual_quality.py", f"--data {data}", f"--images {arguments.images}"]
    words.append("--seeds " + " ".join(map(str, seeds)))
    if data == "pneumonia":
        words.append("--pneumonia data/pneumoniamnist.npz")
    if arguments.size != "cpu":
        words.append(f"--size {arguments.size}")
    if arguments.steps:
        words.append(f"--steps {arguments.steps}")
    if arguments.precision != "32-true":
        words.append(f"--precision {arguments.precision}")
    return " ".join(words)


if __name__ == "__main__":
    run_program(main)
