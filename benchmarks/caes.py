"""Causal explanation scores: can the coefficient tell directions, and do the scores tell good masks from poor ones?

    python benchmarks/caes.py                                              synthetic pairs, lesions, planted shortcut
    python benchmarks/caes.py --only pairs --tuebingen SITE/cdt/data/resources
    python benchmarks/caes.py --only pneumonia --pneumonia data/pneumoniamnist.npz

``pairs``: every network that is shipped, on new synthetic pairs; and on the Tuebingen cause-effect pairs, if the
package ``cdt`` (0.6.0) is installed here or ``--tuebingen`` names the folder of its data files. It lists all pairs as
"A causes B", without weights: only the symmetrised score can be right by merit there. ``lesions``: exact masks against
dilated, shifted and swapped ones, and against explainers. ``shortcut``: the area of a planted marker against the
lesion's. ``pneumonia``: masks by explainers alone. Results go to ``benchmarks/results/caes_<part>.json``.
"""

from __future__ import annotations

import argparse
import csv
import importlib.util
import math
import subprocess
import sys
from pathlib import Path
from statistics import mean
from typing import Any

import torch
from torch import Tensor

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks._machine import machine  # noqa: E402
from cae.config.command_line import load_config  # noqa: E402 (the script also runs without an installation)
from cae.data.lesions import marker_box  # noqa: E402
from cae.files import write_json  # noqa: E402
from cae.metrics.statistics import binomial_interval  # noqa: E402
from cae.runs.classifier_run import open_classifier  # noqa: E402
from explainers.caes import ClassStudy, ScoreSettings  # noqa: E402
from explainers.caes.cause_effect_pairs import draw_pairs  # noqa: E402
from explainers.caes.mask_sources import class_images  # noqa: E402
from explainers.caes.ncc import NeuralCausation, symmetrised_score  # noqa: E402

HELD_OUT_SEED, HELD_OUT = 2**41, 1000
POINTS, SUBSETS = 100, 20
SHOWN = ("necessity", "necessity_gain", "sufficiency", "caes_do", "s_o", "caes_obj", "caes_rank", "caes_lp")
LESION_MASKS = "data,dilated,shifted,swapped,occlusion,integrated_gradients,gradcam,random"
CHEST_MASKS = "centre,edges,random,occlusion,integrated_gradients,gradcam,pmi"


def main() -> None:
    """Measure the parts that were asked for."""
    arguments = _arguments()
    parts = {"pairs": _pairs, "lesions": _lesions, "shortcut": _shortcut, "pneumonia": _pneumonia}
    for name in arguments.only or [part for part in parts if part != "pneumonia" or arguments.pneumonia]:
        parts[name](arguments)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=["pairs", "lesions", "shortcut", "pneumonia"])
    parser.add_argument("--ncc", type=Path, help="other networks than those shipped")
    parser.add_argument("--tuebingen", type=Path, help="folder that holds Tuebingen_pairs.csv of the package cdt")
    parser.add_argument("--pneumonia", type=Path, help="path of pneumoniamnist.npz, which is not part of the project")
    parser.add_argument("--images", type=int, default=100, help="images of each class")
    parser.add_argument("--rolls", type=int, default=20, help="displaced copies of each mask")
    parser.add_argument("--fill", default="black", help="what stands where something is removed")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--runs", default="runs/benchmarks", help="folder of the runs; finished stages are reused")
    arguments = parser.parse_args()
    if "pneumonia" in (arguments.only or []) and arguments.pneumonia is None:
        parser.error("--only pneumonia needs --pneumonia PATH")
    return arguments


def _pairs(arguments: argparse.Namespace) -> None:
    ncc = NeuralCausation.load(arguments.ncc)
    figures: dict[str, float] = {}
    intervals: dict[str, list[float]] = {}
    pairs = draw_pairs(HELD_OUT, torch.Generator().manual_seed(HELD_OUT_SEED))
    synthetic = torch.stack([symmetrised_score(network, pairs.cause, pairs.effect) for network in ncc.networks])
    _count("synthetic", synthetic, figures, intervals)
    folder = arguments.tuebingen or _installed_pairs()
    if folder is None:
        print("note: no Tuebingen pairs; install cdt==0.6.0 (without its dependencies) or give --tuebingen")
    else:
        columns = [_pair_scores(ncc, a, b) for a, b in _read_pairs(folder / "Tuebingen_pairs.csv")]
        _count("tuebingen", torch.stack(columns, dim=1), figures, intervals)
    figures["networks"] = len(ncc.networks)
    _write("pairs", arguments, ncc.header.get("seeds", []), 0, figures, intervals)


def _installed_pairs() -> Path | None:
    found = importlib.util.find_spec("cdt")  # located, not imported: its dependencies are many
    if found is None or found.origin is None:
        return None
    return Path(found.origin).parent / "data" / "resources"


def _read_pairs(path: Path) -> list[tuple[Tensor, Tensor]]:
    csv.field_size_limit(10**8)
    with path.open(newline="", encoding="utf-8") as file:
        return [
            tuple(torch.tensor([float(v) for v in row[key].split()]) for key in "AB") for row in csv.DictReader(file)
        ]


def _pair_scores(ncc: NeuralCausation, a: Tensor, b: Tensor) -> Tensor:
    """Scores ``(M,)`` of one pair: the mean over 20 random subsets of 100 points where there are more."""
    rows = torch.arange(len(a))[None]
    if len(a) > POINTS:
        generator = torch.Generator().manual_seed(len(a))
        rows = torch.stack([torch.randperm(len(a), generator=generator)[:POINTS] for _ in range(SUBSETS)])
    return ncc.scores(a[rows], b[rows]).nanmean(1)


def _count(name: str, scores: Tensor, figures: dict[str, float], intervals: dict[str, list[float]]) -> None:
    """Share of pairs whose direction is told, by each network ``(M, N)``, by their mean score, and on average."""
    each = {f"network_{number}": row for number, row in enumerate(scores)}
    for label, row in {**each, "ensemble": scores.mean(0)}.items():
        right = int((row < 0.5).sum())
        figures[f"{name}/{label}"] = right / len(row)
        intervals[f"{name}/{label}"] = list(binomial_interval(right, len(row)))
    figures[f"{name}/mean"] = mean(figures[f"{name}/{label}"] for label in each)
    intervals[f"{name}/mean"] = [min(figures[f"{name}/{k}"] for k in each), max(figures[f"{name}/{k}"] for k in each)]
    figures[f"{name}/pairs"] = scores.shape[1]
    print(name, {key: round(value, 3) for key, value in figures.items() if key.startswith(name)}, flush=True)


def _lesions(arguments: argparse.Namespace) -> None:
    options = _classifier(arguments, "lesions", ["configs/lesions.yaml"])
    _scored("lesions", arguments, [*options, f"caes.masks=[{LESION_MASKS}]"], f"lesions-{arguments.seed}")


def _pneumonia(arguments: argparse.Namespace) -> None:
    recipe = ["configs/medmnist.yaml", f"data.path={arguments.pneumonia}"]
    options = _classifier(arguments, "pneumonia", recipe)
    _scored("pneumonia", arguments, [*options, f"caes.masks=[{CHEST_MASKS}]"], f"pneumonia-{arguments.seed}")


def _classifier(arguments: argparse.Namespace, name: str, recipe: list[str]) -> list[str]:
    """Train the classifier of a run, or reuse it; the options that name the run."""
    seed = arguments.seed
    options = [*recipe, f"name={name}-{seed}", f"runs={arguments.runs}", f"seed={seed}", f"data.seed={seed}"]
    options.append(f"oracle.seed={1000 + seed}")
    if not (ROOT / arguments.runs / f"{name}-{seed}" / "classifier.safetensors").exists():
        _call(["train.py", "classifier", *options, "resume=last"])
    return options


def _scored(part: str, arguments: argparse.Namespace, options: list[str], name: str) -> None:
    """One run of ``explain.py caes``; its table becomes the figures."""
    more = [f"caes.limit={arguments.images}", f"caes.rolls={arguments.rolls}", f"caes.fill={arguments.fill}"]
    more += [f"caes.ncc={arguments.ncc}"] if arguments.ncc else []
    folder = "caes" if arguments.fill == "black" else f"caes_{arguments.fill}"
    _call(["explain.py", "caes", *options, *more, f"caes.folder={folder}"])
    figures, intervals, images = {}, {}, 0
    path = ROOT / arguments.runs / name / "explanations" / folder / "scores.csv"
    with path.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            if row["name"] not in SHOWN or not row["value"]:
                continue
            key = f"{row['class']}/{row['source']}/{row['name']}"
            _keep(key, row["value"], row["low"], row["high"], figures, intervals)
            _keep(
                f"{key}/difference", *(row.get(f"difference_{x}") for x in ("value", "low", "high")), figures, intervals
            )
            for extra in ("excess", "p_roll", "p_link", "difference_p_swap"):
                _keep(f"{key}/{extra}", row.get(extra), None, None, figures, intervals)
            figures[f"{row['class']}/{row['source']}/area"] = float(row["area"])
    images = arguments.images
    suffix = "" if arguments.fill == "black" else f"_{arguments.fill}"
    _write(part + suffix, arguments, [arguments.seed], images, figures, intervals)


def _keep(
    key: str, value: Any, low: Any, high: Any, figures: dict[str, float], intervals: dict[str, list[float]]
) -> None:
    if value not in (None, "") and math.isfinite(float(value)):
        figures[key] = float(value)
        if low not in (None, "") and high not in (None, ""):
            intervals[key] = [float(low), float(high)]


def _shortcut(arguments: argparse.Namespace) -> None:
    """A classifier whose masses all carry a corner marker: does the marker's area score above the lesion's?"""
    extra = [
        "data.lesions.shortcut=1",
        "data.lesions.classes=[healthy,mass]",
        "data.lesions.train=1500",
        "classifier.epochs=4",
    ]
    options = _classifier(arguments, "shortcut", ["configs/lesions.yaml", *extra])
    run = open_classifier(load_config([ROOT / options[0]], options[1:]))
    found = class_images(run.data.test, 1, arguments.images)
    top, left, bottom, right = marker_box(run.data.image_shape[1])
    markers = torch.zeros_like(found.masks)
    markers[..., top:bottom, left:right] = True
    figures, intervals = {}, {}
    settings = ScoreSettings(fill=arguments.fill, rolls=arguments.rolls, seed=arguments.seed)
    study = ClassStudy(run.classifier, found.images, 1, settings)
    marker, lesion = study.removal_effects(markers), study.removal_effects(found.masks)
    for name, scores in (("marker", study.score(marker, lesion)), ("lesion", study.score(lesion))):
        for row in scores.terms:
            if row.name in SHOWN:
                _keep(f"{name}/{row.name}", row.value, row.low, row.high, figures, intervals)
                _keep(f"{name}/{row.name}/p_roll", row.p_roll, None, None, figures, intervals)
        for row in scores.differences:
            if row.name in SHOWN:
                _keep(f"marker minus lesion/{row.name}", row.value, row.low, row.high, figures, intervals)
                figures[f"marker minus lesion/{row.name}/p_swap"] = row.p_swap
        figures[f"{name}/area"] = scores.facts["area_mean"]
    print({key: round(value, 3) for key, value in figures.items() if "necessity" in key})
    _write("shortcut", arguments, [arguments.seed], len(found.images), figures, intervals)


def _call(command: list[str]) -> None:
    print("$ python", *command, flush=True)
    subprocess.run([sys.executable, *command], cwd=ROOT, check=True)


def _write(
    part: str, arguments: argparse.Namespace, seeds: list[int], images: int, figures: dict[str, float],
    intervals: dict[str, list[float]],
) -> None:  # fmt: skip
    base = part.removesuffix(f"_{arguments.fill}")
    places = {"pneumonia": " --pneumonia data/pneumoniamnist.npz", "pairs": " --tuebingen SITE/cdt/data/resources"}
    shown = f" --images {arguments.images} --rolls {arguments.rolls} --fill {arguments.fill}" if images else ""
    result = {
        "command": f"python benchmarks/caes.py --only {base}{places.get(base, '')}{shown} --seed {arguments.seed}",
        "machine": machine(),
        "seeds": list(seeds),
        "images": images,
        "figures": figures,
        "intervals": intervals,
    }
    write_json(ROOT / "benchmarks" / "results" / f"caes_{part}.json", result)


if __name__ == "__main__":
    main()
