"""How many disjoint explanations MultiReX finds in photographs, at which cost, beside the authors' tool.

    python benchmarks/multirex.py --photographs data/imagenet-sample
    python benchmarks/multirex.py --photographs … --images 10 --official /path/to/python-with-rex-xai

The photographs (``labels.csv``: file, class_index, class_name) that EfficientNet-Lite0 classifies right are explained;
the first ``--development`` of them were used while the method was made and are reported apart. Every output of the
classifier is kept in the folder ``--work``, so that a stopped run continues and further budgets cost little; the
evaluations are counted as if nothing were kept. Whether two disjoint explanations exist at all is found apart from the
method, by trying all sets of cells of a 3 x 3 grid. Results go to ``benchmarks/results/multirex.json``.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path
from statistics import mean, median
from typing import Any

import numpy as np
import torch
from torch import Tensor

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks._machine import machine  # noqa: E402
from benchmarks._multirex_runs import (  # noqa: E402
    SIDE,
    Remembering,
    explain,
    photographs,
    predicted,
    search_pairs,
)
from cae.classifiers import TargetClassifier, load_imagenet_classifier  # noqa: E402 (also runs without installation)
from cae.files import read_json, write_json  # noqa: E402
from cae.metrics.statistics import interval, midpoint_median  # noqa: E402
from cae.metrics.statistics import mean as weighted_mean  # noqa: E402

BUDGETS = (250, 500, 1000, 2000, 4000)
DEFAULT_BUDGET = 500
RESAMPLES = 2000
JUDGE = "cells"  # whose unions tell whether two disjoint explanations exist


def main() -> None:
    """Explain the photographs under every setting and write the figures."""
    arguments = _arguments()
    torch.set_num_threads(arguments.threads)
    arguments.work.mkdir(parents=True, exist_ok=True)
    if arguments.summarise:
        _write(sorted({path.stem for path in arguments.work.glob("*.json")} - {"predictions"}), arguments)
        return
    classifier = load_imagenet_classifier().compute_with_onnx()
    images = _photographs(arguments.photographs, classifier, arguments.work, arguments.images, arguments.skip)
    # the default budget and the published definition first, so that a stopped run has said the most important
    settings = [(t, b) for t in arguments.thresholds for b in arguments.budgets]
    for threshold, budget in sorted(settings, key=lambda pair: (pair[1] != DEFAULT_BUDGET, *pair)):
        for name in images if budget == DEFAULT_BUDGET else _curve_names(list(images), arguments):
            explain(
                arguments.work / f"{name}.json", f"{threshold:g}/{budget}", images[name], classifier,
                seed=arguments.seed, threshold=threshold, budget=budget, batch_size=arguments.batch_size,
            )  # fmt: skip
    for name, image in images.items():
        search_pairs(arguments.work / f"{name}.json", image, classifier, arguments.thresholds, [JUDGE])
    for name in list(images)[: arguments.timed]:
        _time(name, images[name], arguments)
    if arguments.official:
        chosen = _held_out_first(list(images), arguments)[: arguments.official_images]
        _run_official({name: images[name] for name in chosen}, classifier, arguments)
    _write(list(images), arguments)


def _held_out_first(names: list[str], arguments: argparse.Namespace) -> list[str]:
    seen = max(0, arguments.development - arguments.skip)
    return [*names[seen:], *names[:seen]]


def _curve_names(names: list[str], arguments: argparse.Namespace) -> list[str]:
    """The photographs on which budgets other than the default are tried."""
    return _held_out_first(names, arguments)[: arguments.curve_images]


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photographs", type=Path, required=True, help="folder with labels.csv")
    parser.add_argument("--images", type=int, default=30, help="how many of the rightly classified photographs")
    parser.add_argument("--skip", type=int, default=0, help="photographs left out at the beginning")
    parser.add_argument("--development", type=int, default=0, help="how many at the beginning count as development")
    parser.add_argument("--budgets", type=int, nargs="+", default=list(BUDGETS))
    parser.add_argument("--curve-images", type=int, default=6, help="photographs for budgets other than 500")
    parser.add_argument("--thresholds", type=float, nargs="+", default=[0.0, 0.9])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--batch-size", type=int, default=1, help="1 suits the caches of a CPU best")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--timed", type=int, default=3, help="photographs on which PyTorch and ONNX Runtime are timed")
    parser.add_argument("--official", type=Path, help="Python of an environment with rex-xai 0.4.1")
    parser.add_argument("--official-images", type=int, default=6)
    parser.add_argument("--work", type=Path, default=Path("runs/benchmarks/multirex"), help="scores kept between runs")
    parser.add_argument("--summarise", action="store_true", help="only write the figures of what is in --work")
    return parser.parse_args()


def _photographs(folder: Path, classifier: TargetClassifier, work: Path, count: int, skip: int) -> dict[str, Tensor]:
    """Photographs that are classified right, centre-cropped, by name, in the order of the list."""
    found: dict[str, Tensor] = {}
    for name, image, label in photographs(folder):
        if predicted(name, image, lambda: classifier, work) == label:
            found[name] = image
        if len(found) == skip + count:
            break
    return dict(list(found.items())[skip:])


def _time(name: str, image: Tensor, arguments: argparse.Namespace) -> None:
    """The share of the time that is not the classifier's, by PyTorch and by ONNX Runtime, at the default setting."""
    path = arguments.work / f"{name}.json"
    results = read_json(path)
    if "timed" in results:
        return
    results["timed"] = {}
    for runtime in ("torch", "onnx"):
        classifier = load_imagenet_classifier()
        explainer = Remembering(
            classifier.compute_with_onnx() if runtime == "onnx" else classifier, batch_size=arguments.batch_size
        )
        explainer.memory = {}
        started = time.perf_counter()
        explainer(image[None], seed=arguments.seed)
        seconds = time.perf_counter() - started
        results["timed"][runtime] = [seconds, explainer.forward_seconds]
    write_json(path, results)


def _run_official(images: dict[str, Tensor], classifier: TargetClassifier, arguments: argparse.Namespace) -> None:
    """The official tool on the same tensors, in its own environment."""
    folder = arguments.work / "official"
    folder.mkdir(exist_ok=True)
    normalised = {name: classifier.preprocess(image[None])[0].numpy() for name, image in images.items()}
    np.savez(folder / "images.npz", **normalised)
    blank = torch.zeros(1, 3, SIDE, SIDE)
    torch.onnx.export(classifier.network, (blank,), folder / "network.onnx", input_names=["images"], dynamo=False)
    driver = ROOT / "benchmarks" / "multirex_official.py"
    command = [str(arguments.official), "-W", "ignore", str(driver), str(folder), "--seed", str(arguments.seed)]
    subprocess.run(command, check=True, env={**os.environ, "OMP_NUM_THREADS": str(arguments.threads)})


def _write(names: list[str], arguments: argparse.Namespace) -> None:
    """Means, shares and medians with bootstrap intervals over photographs; development and held-out ones apart."""
    results = {name: read_json(arguments.work / f"{name}.json") for name in names}
    results = {name: result for name, result in results.items() if result}
    development = set(names[: max(0, arguments.development - arguments.skip)])
    groups = {
        "all": list(results),
        "held_out": [name for name in results if name not in development],
        "development": [name for name in results if name in development],
        "curve": [name for name in _curve_names(names, arguments) if name in results],
    }
    figures: dict[str, Any] = {}
    intervals: dict[str, list[float]] = {}
    for group, members in groups.items():
        figures[f"{group}/images"] = len(members)
        for threshold in arguments.thresholds:
            for budget in arguments.budgets if group == "curve" else [DEFAULT_BUDGET]:
                runs = [
                    results[n][f"{threshold:g}/{budget}"] for n in members if f"{threshold:g}/{budget}" in results[n]
                ]
                _summarise(f"{group}/threshold_{threshold:g}/budget_{budget}", runs, figures, intervals)
    _pairs(results, arguments, figures)
    timed = [result["timed"] for result in results.values() if "timed" in result]
    figures["timed/images"] = len(timed)
    for runtime in ("torch", "onnx") if timed else ():
        beyond = [1 - run[runtime][1] / run[runtime][0] for run in timed]
        figures[f"timed/{runtime}/time_beyond_forward_passes"] = median(beyond)
        figures[f"timed/{runtime}/seconds"] = median(run[runtime][0] for run in timed)
    beside = _beside_official(results, development, arguments)
    _summarise_official(beside, figures)
    result = {
        "command": _command(arguments),
        "machine": machine(arguments.threads),
        "seeds": [arguments.seed],
        "images": len(results),
        "figures": figures,
        "intervals": intervals,
        "beside_official": beside,
    }
    write_json(ROOT / "benchmarks" / "results" / "multirex.json", result)


def _command(arguments: argparse.Namespace) -> str:
    """What to type for the same figures, without places that differ between machines."""
    words = ["python benchmarks/multirex.py --photographs data/imagenet-sample"]
    words += [f"--images {arguments.images}"] + [f"--skip {arguments.skip}"] * bool(arguments.skip)
    words += ["--budgets " + " ".join(map(str, arguments.budgets))]
    words += ["--thresholds " + " ".join(f"{value:g}" for value in arguments.thresholds)]
    words += [f"--curve-images {arguments.curve_images}"] * (len(arguments.budgets) > 1)
    words += [f"--development {arguments.development}"] * bool(arguments.development)
    if arguments.official:
        words.append(f"--official PYTHON --official-images {arguments.official_images}")
    return " ".join(words)


def _summarise(name: str, runs: list[dict], figures: dict[str, Any], intervals: dict[str, list[float]]) -> None:
    if not runs:
        return
    masks = [place for run in runs for place in run["finest"]]
    figures[f"{name}/images"] = len(runs)
    per_image = {
        "explanations": [run["count"] for run in runs],
        "two_or_more": [float(run["count"] >= 2) for run in runs],
        "evaluations": [run["evaluations"] for run in runs],
    }
    for key, values in per_image.items():
        statistic = midpoint_median if key == "evaluations" else weighted_mean
        figures[f"{name}/{key}"] = median(values) if key == "evaluations" else mean(values)
        bounds = interval(np.array(values), range(len(values)), statistic, resamples=RESAMPLES)
        intervals[f"{name}/{key}"] = list(bounds)
    figures[f"{name}/certified"] = mean([float(finest is not None) for finest in masks]) if masks else None
    figures[f"{name}/certified_at_16_pixels"] = mean([float((place or 99) <= 16) for place in masks]) if masks else None
    figures[f"{name}/certified_at_8_pixels"] = mean([float(finest == 8) for finest in masks]) if masks else None
    figures[f"{name}/verified_alone"] = mean([float(held) for run in runs for held in run["holds"]]) if masks else None
    figures[f"{name}/disjoint"] = mean([float(run["disjoint"]) for run in runs])


def _pairs(results: dict[str, dict], arguments: argparse.Namespace, figures: dict[str, Any]) -> None:
    """Photographs where two disjoint explanations exist by the exhaustive coarse search, and how many are found."""
    for threshold in arguments.thresholds:
        key = f"{threshold:g}/{DEFAULT_BUDGET}"
        tried = [result for result in results.values() if key in result and JUDGE in result.get("pairs", {})]
        exist = [result for result in tried if result["pairs"][JUDGE][f"{threshold:g}"]]
        name = f"pairs/threshold_{threshold:g}"
        figures[f"{name}/searched"] = len(tried)
        figures[f"{name}/exist"] = len(exist)
        figures[f"{name}/found"] = sum(result[key]["count"] >= 2 for result in exist)
        figures[f"{name}/found_elsewhere"] = sum(
            result[key]["count"] >= 2 for result in tried if not result["pairs"][JUDGE][f"{threshold:g}"]
        )


def _beside_official(
    results: dict[str, dict], development: set[str], arguments: argparse.Namespace
) -> dict[str, dict[str, Any]]:
    """Both methods on each photograph that the official tool has explained, those of the development left out."""
    beside = {}
    for name, result in results.items():
        path = arguments.work / "official" / f"{name}-{arguments.seed}.npz"
        ours = result.get(f"0/{DEFAULT_BUDGET}")
        if name not in development and path.exists() and ours:
            with np.load(path) as theirs:
                beside[name] = {
                    "explanations_ours": ours["count"],
                    "explanations": len(theirs["chosen"]),
                    "evaluations_ours": ours["evaluations"],
                    "evaluations": int(theirs["evaluations"]),
                }
    return beside


def _summarise_official(beside: dict[str, dict[str, Any]], figures: dict[str, Any]) -> None:
    rows = list(beside.values())
    figures["official/ran"] = bool(rows)
    figures["official/images"] = len(rows)
    for key in ("explanations", "explanations_ours") if rows else ():
        figures[f"official/{key}"] = mean(row[key] for row in rows)
    for key in ("evaluations", "evaluations_ours") if rows else ():
        figures[f"official/{key}"] = median(row[key] for row in rows)
    if rows:
        figures["official/never_fewer_ours"] = mean(
            float(row["explanations_ours"] >= row["explanations"]) for row in rows
        )


if __name__ == "__main__":
    main()
