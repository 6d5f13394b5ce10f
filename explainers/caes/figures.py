"""Pictures of causal explanation scores: one for each class."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from torch import Tensor

from cae.canvas import FAINT, OKABE_ITO
from cae.files import atomic_path
from explainers.caes.causation import LEAST_AGREEMENT
from explainers.caes.result import CausalScores

EXAMPLES = 3
SHOWN = {
    "necessity": "necessity\n(nats lost without the area)",
    "necessity_gain": "necessity_gain\n(beyond displaced masks)",
    "sufficiency": "sufficiency\n(nats by the area alone)",
    "caes_do": "caes_do\n(nats per feature)",
    "s_o": "object ratio s_o",
    "caes_obj": "caes_obj\n(causal score, by NCC)",
}


def class_figure(
    images: Tensor, masks: Mapping[str, Tensor], found: Mapping[str, CausalScores], path: str | Path
) -> None:
    """Draw the features of the first source, examples of its object and context, and every source with its controls.

    Args:
        images: ``(N, C, H, W)`` in [0, 1].
        masks: ``(N, 1, H, W)`` by source.
        found: scores by source, of the same images.
        path: PNG file.
    """
    name, first = next(iter(found.items()))
    figure = Figure(figsize=(13, 4.6 + 2.4 + 0.28 * len(found)), layout="constrained")
    FigureCanvasAgg(figure)
    parts: Any = figure.subfigures(2, 1, height_ratios=[4.6, 2.4 + 0.28 * len(found)])
    top, bottom = parts
    left, right = np.ravel(top.subfigures(1, 2, width_ratios=[1.1, 1]))
    _features(left, first, name)
    _examples(right, images, masks[name], name)
    axes = bottom.subplots(1, len(SHOWN), sharey=True)
    for axis, term in zip(axes, SHOWN, strict=True):
        _forest(axis, found, term)
    axes[0].set_yticks(range(len(found)), list(found))
    axes[0].invert_yaxis()
    handles, labels = axes[0].get_legend_handles_labels()
    bottom.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False, fontsize=9)
    facts = first.facts
    figure.suptitle(
        f"{facts['class']}: {facts['images']} images, fill {facts['fill']}. {first.statement}",
        fontsize=11,
        x=0.01,
        ha="left",
    )
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=110)


def _features(figure: Figure, scores: CausalScores, name: str) -> None:
    axis = figure.subplots()
    arrays = scores.arrays
    has_ncc = "anticausal" in arrays
    x = 1 - arrays["anticausal"] if has_ncc else arrays["s_c"]
    effect = arrays.get("do_effect")
    limit = float(effect.abs().max()) or 1.0 if effect is not None else 1.0
    drawn = axis.scatter(
        x, arrays["s_o"], c=effect if effect is not None else "#444444", cmap="RdBu_r", vmin=-limit, vmax=limit, s=22,
        edgecolors="#333333", linewidths=0.4,
    )  # fmt: skip
    if effect is not None:
        figure.colorbar(drawn, ax=axis, label="drop of evidence by this feature alone (nats)")
    if has_ncc:
        axis.axvline(0.5, color=FAINT, lw=0.8, ls=":")
    axis.set_xlabel("causal score 1 − NCC (1: feature → evidence)" if has_ncc else "context ratio s_c")
    axis.set_ylabel("object ratio s_o")
    agreement = scores.facts["ncc_agreement"]
    words = "" if agreement is None else f"; agreement of the networks {agreement:.2f}"
    words += " (unstable)" if agreement is not None and agreement < LEAST_AGREEMENT else ""
    axis.set_title(f"features, masks: {name}{words}", fontsize=10)


def _examples(figure: Figure, images: Tensor, masks: Tensor, name: str) -> None:
    count = min(EXAMPLES, len(images))
    axes = figure.subplots(3, count, squeeze=False)
    for column in range(count):
        image, mask = images[column].cpu(), masks[column].cpu().float()
        for row, (words, shown) in enumerate(
            (("image", image), ("object alone", image * mask), ("context alone", image * (1 - mask)))
        ):
            axis = axes[row, column]
            axis.imshow(np.squeeze(shown.permute(1, 2, 0).numpy()), cmap="gray", vmin=0, vmax=1)
            axis.set_xticks([])
            axis.set_yticks([])
            if column == 0:
                axis.set_ylabel(words, fontsize=9)
    figure.suptitle(f"edits by the masks: {name}", fontsize=10)


def _forest(axis: Axes, found: Mapping[str, CausalScores], term: str) -> None:
    """One term of every source, with interval; displaced masks in grey, the complement as an open circle."""
    for place, scores in enumerate(found.values()):
        row = scores[term]
        if row.value is None:
            axis.text(0.5, place, "–", transform=axis.get_yaxis_transform(), ha="center", va="center", color=FAINT)
            continue
        first = place == 0
        if row.low is not None and row.high is not None:
            axis.plot(
                [row.low, row.high],
                [place, place],
                color=OKABE_ITO[0],
                lw=2.2,
                label="95 % interval" if first else None,
            )
        axis.plot(row.value, place, "o", color=OKABE_ITO[0], ms=5, label="value" if first else None)
        for value, marker, words in ((row.rolled, "x", "displaced masks"), (row.complement, "s", "complement")):
            if value is not None:
                axis.plot(value, place, marker, color=OKABE_ITO[1], ms=5, mfc="none", label=words if first else None)
    axis.set_title(SHOWN[term], fontsize=9)
    axis.grid(axis="x", color="#E4E4E4")
    axis.tick_params(labelsize=8)
