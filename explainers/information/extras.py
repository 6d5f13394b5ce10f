"""What an information map tells beside the map: errors, coverage, cost, and the table of its windows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from explainers.information.pixel_maps import PixelMap, ScaleMap
from explainers.information.window_plan import OWN_EVALUATIONS

KEPT_CLASSES = 20  # of the table


def extras_of(
    maps: Sequence[ScaleMap], shown: PixelMap, sampler: Mapping[str, Any], refined_share: float
) -> dict[str, Any]:
    """The extras of one image; ``InformationMap`` documents their keys.

    Args:
        maps: of all scales, the refinement last.
        shown: what they were combined to.
        sampler: the in-fill's card.
        refined_share: share of the pixels that the refinement reached.
    """
    log_p, target = maps[0].table.log_p, maps[0].table.target
    classes = log_p.argsort(descending=True)[:KEPT_CLASSES]
    if target not in classes:
        classes = torch.cat([classes[:-1], torch.tensor([target])])
    return {
        "se": _plane(shown.se),
        "corrected": _plane(shown.corrected),
        "coverage": torch.stack([scale.coverage for scale in maps]).sum(0)[None],
        "forwards": OWN_EVALUATIONS + sum(scale.table.forwards for scale in maps),
        "sampler": sampler,
        "unreliable": sum(int(scale.estimate.unreliable.sum()) for scale in maps),
        "clamped": sum(scale.table.clamped for scale in maps),
        "scales": [scale.map.value.float()[None] for scale in maps] if len(maps) > 1 else [],
        "refined": refined_share,
        "table": [_of_table(scale, classes) for scale in maps],
    }


def _plane(values: Tensor | None) -> Tensor | None:
    return None if values is None else values.float()[None]


def _of_table(scale: ScaleMap, classes: Tensor) -> dict[str, Any]:
    table = scale.table
    return {
        "boxes": table.windows.boxes,
        "n_used": table.n_used,
        "value": scale.estimate.value,
        "se": scale.estimate.se,
        "classes": classes,
        "log_p": table.log_p[classes],
        "log_q": table.log_q[:, classes],
    }
