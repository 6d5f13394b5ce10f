"""Is the path through the graph of codes better than the straight line? Both are followed for the same images."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cae.config import CounterfactualConfig
from cae.counterfactuals.find import find_counterfactuals
from cae.counterfactuals.result import Counterfactual
from cae.devices import device_of
from cae.manifold.class_manifold import ClassManifold
from cae.manifold.code_paths import path_length
from cae.metrics.smoothness import monotone_share
from cae.metrics.statistics import interval

CHUNK = 16  # images searched together
Figure = Callable[[Counterfactual], float | None]


@torch.no_grad()
def compare_paths(
    cae: Any,
    classifier: Any,
    oracle: Any | None,
    manifold: ClassManifold,
    images: Tensor,
    config: CounterfactualConfig,
    seed: int = 0,
) -> dict[str, float]:
    """Counterfactual paths along the line and along the graph, measured for the same images.

    Args:
        cae: the trained model.
        classifier: the target classifier.
        oracle: a classifier that no training followed, or None.
        manifold: codes of the training split.
        images: ``(N, C, H, W)`` in [0, 1].
        config: options of the search; its path is not looked at, and targets are the runner-up classes.
        seed: of the bootstrap over images.

    Returns:
        ``paths/line_<figure>``, ``paths/graph_<figure>`` and ``paths/graph_minus_line_<figure>``, the paired
        difference, each with ``_low`` and ``_high``: ``found``; ``gap``, the largest distance of the path's codes to a
        training code in median neighbour distances; ``length``, in standard deviations; ``monotone``, the share of
        steps in which the target's probability does not fall; ``change``, the mean absolute change at the boundary;
        ``oracle``, whether the oracle sees the target at the boundary.
    """
    results = {
        kind: _results(cae, classifier, manifold, images, dataclasses.replace(config, **_SAME, path=kind), seed)
        for kind in ("line", "graph")
    }
    figures: dict[str, Figure] = {
        "found": lambda result: float(result.found),
        "gap": lambda result: manifold.gap(result.path_codes) if result.has_path else None,
        "length": lambda result: path_length(result.path_codes, manifold.std) if result.has_path else None,
        "monotone": _monotone,
        "change": lambda result: float(result.difference.abs().mean()) if result.difference is not None else None,
    }
    if oracle is not None:
        figures["oracle"] = lambda result: _oracle_agrees(oracle, result)
    metrics: dict[str, float] = {"paths/images": len(images)}
    for name, figure in figures.items():
        pairs = [(figure(a), figure(b)) for a, b in zip(results["line"], results["graph"], strict=True)]
        metrics |= _compared(name, pairs, seed)
    return metrics


_SAME: dict[str, Any] = {"target": "runner-up", "average": 1}


def _results(
    cae: Any, classifier: Any, manifold: ClassManifold, images: Tensor, config: CounterfactualConfig, seed: int
) -> list[Counterfactual]:
    if config.reference == "image":
        config = dataclasses.replace(config, reference="prototype")
    parts = images.split(CHUNK)
    several = [find_counterfactuals(cae, classifier, manifold, part, config=config, seed=seed) for part in parts]
    return [result for some in several for result in some]


def _monotone(result: Counterfactual) -> float | None:
    return float(monotone_share(result.path_probabilities[:, result.target])) if result.has_path else None


def _oracle_agrees(oracle: Any, result: Counterfactual) -> float | None:
    if result.counterfactual is None:
        return None
    probabilities = oracle.probabilities(result.counterfactual[None].to(device_of(oracle)))
    return float(int(probabilities.argmax()) == result.target)


def _compared(name: str, pairs: Sequence[tuple[float | None, float | None]], seed: int) -> dict[str, float]:
    """Means over the images that both paths have a figure for, and of the difference."""
    both = [(a, b) for a, b in pairs if a is not None and b is not None]
    if not both:
        return {}
    line, graph = np.array(both, dtype=float).T
    metrics: dict[str, float] = {}
    groups = [str(number) for number in range(len(line))]
    for kind, values in (("line", line), ("graph", graph), ("graph_minus_line", graph - line)):
        low, high = interval(values, groups, seed=seed)
        if kind == "graph_minus_line" and not values.any():
            low = -high  # all equal: as far as so few images can tell, to either side
        metrics |= {f"paths/{kind}_{name}": float(values.mean())}
        metrics |= {f"paths/{kind}_{name}_low": low, f"paths/{kind}_{name}_high": high}
    return metrics
