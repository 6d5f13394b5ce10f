"""Does MultiReX, by its default budget, find two disjoint explanations wherever two exist, and at which cost?

    python benchmarks/multirex_adaptive.py --photographs data/imagenet-sample --minutes 60

Photographs (``labels.csv``: file, class_index, class_name) are explained for the class that the network sees, right or
wrong, the last of the list first. The first ``--development`` of those that EfficientNet-Lite0 has right were used
while the method was made, and are left out. Two networks: Lite0 (extra ``imagenet``) and Lite1 (extra ``benchmarks``).

Two explanations are known to exist where the method finds two, each of whose masks keeps the class alone, and where one
of two judges shows it, who are asked where it finds fewer: all unions of nine superpixels, which the method never sees,
and all unions of the cells of a 3 x 3 grid, which it tries itself with what is left of its further budget.

What a network answers is kept in ``--work``, so that a stopped run continues; the evaluations are counted as if nothing
were kept. The most telling runs come first, and ``--minutes`` ends them. Results go to
``benchmarks/results/multirex_adaptive.json``.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks._machine import machine  # noqa: E402
from benchmarks._multirex_runs import SIDE, explain, photographs, predicted, search_pairs  # noqa: E402
from benchmarks._multirex_summary import ENOUGH, JUDGES, network_figures  # noqa: E402
from benchmarks._shearletx_measures import second_network  # noqa: E402
from cae.classifiers import TargetClassifier, load_imagenet_classifier  # noqa: E402 (also runs without installation)
from cae.files import read_json, write_json  # noqa: E402

NETWORKS: dict[str, Callable[[], TargetClassifier]] = {
    "lite0": load_imagenet_classifier,
    "lite1": lambda: second_network((3, SIDE, SIDE)),
}
THRESHOLDS = (0.0, 0.9)
# what is done, in this order: network, and the threshold that is explained, or judged where fewer than two were found
STEPS = (
    ("lite0", "0"), ("lite0", "judges at 0"), ("lite1", "0"), ("lite1", "judges at 0"), ("lite0", "0.9"),
    ("lite0", "judges at 0.9"), ("lite1", "0.9"), ("lite1", "judges at 0.9"),
)  # fmt: skip


def main() -> None:
    """Go through the steps as far as the time allows, and write the figures."""
    arguments = _arguments()
    torch.set_num_threads(arguments.threads)
    images = _images(arguments)
    ends = time.monotonic() + 60 * arguments.minutes
    for network, step in STEPS:
        for name, image in images.items():
            if time.monotonic() < ends:
                _do(step, arguments.work / network / f"{name}.json", image, _classifier(network), arguments.seed)
    _write(list(images), arguments)


@cache
def _classifier(network: str) -> TargetClassifier:
    return NETWORKS[network]().compute_with_onnx()


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photographs", type=Path, required=True, help="folder with labels.csv")
    parser.add_argument("--development", type=int, default=20, help="rightly classified ones that are left out")
    parser.add_argument("--images", type=int, help="photographs at most; all where left out")
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument(
        "--work", type=Path, default=Path("runs/benchmarks/multirex_adaptive"), help="kept between runs"
    )
    return parser.parse_args()


def _images(arguments: argparse.Namespace) -> dict[str, Tensor]:
    """The photographs that chose nothing, by name; which of them each network has right is kept in ``--work``."""
    found: dict[str, Tensor] = {}
    right = {}
    for name, image, label in photographs(arguments.photographs):
        found[name] = image
        right[name] = predicted(name, image, lambda: _classifier("lite0"), arguments.work / "lite0") == label
    development = [name for name in found if right[name]][: arguments.development]
    write_json(arguments.work / "right.json", right)
    others = [name for name in reversed(found) if name not in development]
    return {name: found[name] for name in others[: arguments.images]}


def _do(step: str, path: Path, image: Tensor, classifier: TargetClassifier, seed: int) -> None:
    """One step for one photograph."""
    judged, _, threshold = step.rpartition(" at ")
    if not judged:
        explain(path, threshold, image, classifier, seed=seed, threshold=float(threshold), batch_size=1)
    elif read_json(path).get(threshold, {}).get("count", ENOUGH) < ENOUGH:
        search_pairs(path, image, classifier, THRESHOLDS, JUDGES)


def _write(names: list[str], arguments: argparse.Namespace) -> None:
    """The figures of every network, and which photographs ran out."""
    figures, intervals, ran_out = {}, {}, {}
    right = read_json(arguments.work / "right.json")
    figures["photographs"] = len(names)
    figures["photographs_right"] = sum(right[name] for name in names)
    for network in NETWORKS:
        results = {name: read_json(arguments.work / network / f"{name}.json") for name in names}
        of_network, bounds, out = network_figures(results, [f"{threshold:g}" for threshold in THRESHOLDS])
        figures |= {f"{network}/{key}": value for key, value in of_network.items()}
        intervals |= {f"{network}/{key}": value for key, value in bounds.items()}
        ran_out |= {f"{network}/{key}": value for key, value in out.items()}
    result = {
        "command": "python benchmarks/multirex_adaptive.py --photographs data/imagenet-sample "
        + f"--development {arguments.development}"
        + (f" --images {arguments.images}" if arguments.images else ""),
        "machine": machine(arguments.threads),
        "seeds": [arguments.seed],
        "images": max(value for key, value in figures.items() if key.endswith("/explained")),
        "figures": figures,
        "intervals": intervals,
        "ran_out": ran_out,
    }
    write_json(ROOT / "benchmarks" / "results" / "multirex_adaptive.json", result)
    print("\n".join(f"{key}: {value}" for key, value in figures.items()))


if __name__ == "__main__":
    main()
