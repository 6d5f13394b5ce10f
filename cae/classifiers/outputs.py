"""What a classifier's outputs are: which of several holds the scores, and whether these are logits or probabilities."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from cae.errors import UserError

NAMES = ("logits", "out", "output")  # what the scores are called where a network gives several things
SMALLEST_PROBABILITY = 1e-12  # where probabilities become logits
TOLERANCE = 1e-3
COMPANY = 1e-2  # largest difference of an image's scores alone and in company, relative to their size
SAMENESS = 1e-6  # largest difference, relative to the scores, between answers that are the same
ROUNDED = 0.05  # how far the sums of rounded probabilities are from 1, at most
# operations that change the form of scores or pool them, not what they are
PASSING = (
    "View|UnsafeView|ReshapeAlias|Alias|Squeeze|Unsqueeze|Select|Slice|Clone|ToCopy|Clamp|ClampMin|ClampMax|Transpose"
    "|T|Permute|Expand|Mean|AdaptiveAvgPool2D"
)
SCALING = ("Add", "Sub", "Mul", "Div")  # by a constant, such as a temperature
ENDINGS = {"Sigmoid": "sigmoid", "Softmax": "softmax"} | dict.fromkeys(
    ("Addmm", "Mm", "Bmm", "Baddbmm", "Convolution", "LogSoftmax", "Relu"), "logits"
)


def choose_output(shapes: Mapping[str, tuple[int, ...]], classes: int) -> str:
    """The name of the output that holds the scores: by its name, else by its width.

    Args:
        shapes: ``(B, …)`` of each output, by name.
        classes: number of classes K; for two of them, a single score serves too.

    Raises:
        UserError: if none fits, or several do.

    >>> choose_output({"features": (4, 512), "head": (4, 10)}, 10)
    'head'
    """
    for name in (*NAMES, *(shapes if len(shapes) == 1 else ())):
        if name in shapes:
            return name
    listed = ", ".join(f"{name} {tuple(shape)}" for name, shape in shapes.items())
    for width in (classes, 1) if classes == 2 else (classes,):
        fitting = [name for name, shape in shapes.items() if int(np.prod(shape[1:])) == width]
        if len(fitting) > 1:
            raise UserError(
                f"The classifier gives several outputs ({listed}), of which {' and '.join(fitting)} fit {classes} "
                f"classes: return the scores alone, or in a dictionary under the name {NAMES[0]!r}."
            )
        if fitting:
            return fitting[0]
    raise UserError(
        f"The classifier gives several outputs ({listed}), none of which fits {classes} classes: return the scores "
        f"alone, or in a dictionary under the name {NAMES[0]!r}."
    )


def select_output(output: Any, classes: int) -> Any:
    """The scores inside what a network returns: itself, an attribute such as ``.logits``, or an entry of several.

    Raises:
        UserError: if several entries fit ``classes``, or none of them.
    """
    if isinstance(output, (Tensor, np.ndarray)):
        return output
    entries = _entries(output)
    if entries is None:
        return next((getattr(output, name) for name in NAMES if hasattr(output, name)), output)
    arrays = {name: value for name, value in entries.items() if getattr(value, "ndim", 0) > 0}
    if not arrays:
        return next(iter(entries.values()), output)
    return arrays[choose_output({name: tuple(value.shape) for name, value in arrays.items()}, classes)]


def _entries(output: Any) -> dict[str, Any] | None:
    if isinstance(output, Mapping):
        return {str(name): value for name, value in output.items()}
    if isinstance(output, (tuple, list)):
        names = getattr(output, "_fields", [str(place) for place in range(len(output))])
        return dict(zip(names, output, strict=True))
    return None


def scores_array(output: Any, classes: int, names: Sequence[str] = ()) -> np.ndarray:
    """Scores as float32 from what a Python function returns: arrays, tensors on any device, lists, tables, or several.

    Columns of a table that bear the names of the classes come in the order of ``names``.
    """
    columns = [str(column) for column in getattr(output, "columns", ())]
    if names and len(columns) == len(names) and {*columns} == {*names}:
        output = np.asarray(output)[:, [columns.index(name) for name in names]]
    several = isinstance(output, Mapping) or (
        isinstance(output, tuple) and all(getattr(item, "ndim", 0) > 1 for item in output)
    )
    chosen = select_output(output, classes) if several else output
    if isinstance(chosen, Tensor):
        chosen = chosen.detach().cpu().float().numpy()
    return np.require(chosen, np.float32, ["C", "W"])  # tables give arrays that must not be written to


def ending(output: Any) -> str:
    """``sigmoid``, ``softmax`` or ``logits`` after the last operation of differentiable scores; else ``unknown``.

    >>> ending(torch.nn.Linear(2, 3)(torch.zeros(1, 2)).softmax(1))
    'softmax'
    """
    node, scaled = getattr(output, "grad_fn", None), False
    while node is not None:
        operation = re.sub(r"Backward\d*$", "", node.name())
        if operation in ENDINGS:
            return "unknown" if scaled and ENDINGS[operation] != "logits" else ENDINGS[operation]
        inputs = [before for before, _ in node.next_functions if before is not None]
        scaled |= operation in SCALING
        if len(inputs) != 1 or not (operation in SCALING or re.fullmatch(PASSING, operation)):
            return "unknown"
        node = inputs[0]
    return "unknown"


def ending_of(network: nn.Module, inputs: Tensor, classes: int) -> str:
    """The ``ending`` of a network's scores of inputs ``(B, C, H, W)``; ``unknown`` where it gives no gradients."""
    with torch.enable_grad():
        try:
            return ending(select_output(network(inputs.detach().requires_grad_().clone()), classes))
        except Exception:  # whatever a foreign network raises: its values alone tell
            return "unknown"


def checked_rows(output: Any, batch: int, classes: Sequence[str], name: str) -> Tensor:
    """Scores as ``(B, K)`` or ``(B, 1)`` floats.

    Args:
        output: what the classifier gave.
        batch: for how many images.
        classes: names of the K classes.
        name: of the classifier, for errors.

    Raises:
        UserError: for another form, or another number of classes.
    """
    if isinstance(output, Tensor) and batch == 1 and output.ndim < 2 and output.numel() in (1, len(classes)):
        output = output.reshape(1, -1)  # squeezed
    if not isinstance(output, Tensor) or output.ndim == 0 or len(output) != batch:
        shape = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
        raise UserError(f"The classifier {name} must give {batch} rows of scores, but gave {shape}.")
    rows = output.flatten(1) if output.ndim > 1 else output[:, None]
    count, wanted = rows.shape[1], len(classes)
    if count != wanted and not (count == 1 and wanted == 2):
        raise UserError(
            f"The classifier gives {count} score(s), but the data has {wanted} classes ({', '.join(classes)}): "
            "use one trained on these classes."
        )
    return rows if rows.dtype in (torch.float32, torch.float64) else rows.float()


def look_like_shares(rows: Tensor) -> Tensor:
    """Whether scores are all in [0, 1] (a scalar tensor)."""
    return ((rows >= -TOLERANCE) & (rows <= 1 + TOLERANCE)).all()


def output_kind(rows: Tensor, end: str, black_box: bool) -> tuple[str, str]:
    """What scores of several images are, and what is doubtful about that (empty where nothing is).

    Args:
        rows: ``(B, K)`` or ``(B, 1)``, as the classifier gives them.
        end: what ``ending`` says of them.
        black_box: whether the classifier is a function or a file, whose single score in [0, 1] counts as a
            probability.

    Returns:
        ``logits`` or ``probabilities``, and a sentence.

    Raises:
        UserError: for percentages.
    """
    if end == "logits":
        return "logits", ""
    if not bool(look_like_shares(rows)):
        _refuse_percent(rows)
        return "logits", ""
    if rows.shape[1] == 1:
        return _single_share(rows, end, black_box)
    return _several_shares(rows)


def _single_share(rows: Tensor, end: str, black_box: bool) -> tuple[str, str]:
    if end == "sigmoid":
        return "probabilities", ""
    if not black_box:
        return "logits", (
            "its single score was in [0, 1] for every image tried, but is taken for a logit: set "
            "`classifier.scores=probabilities` if it is a probability"
        )
    return "probabilities", _decisions(rows)


def _several_shares(rows: Tensor) -> tuple[str, str]:
    sums = rows.sum(1)
    if bool(((sums - 1).abs() < TOLERANCE).all()):
        return "probabilities", _decisions(rows)
    cut = bool((rows == 0).any()) and bool((sums > TOLERANCE).all()) and bool((sums <= 1 + TOLERANCE).all())
    if cut or bool(((sums - 1).abs() < ROUNDED).all()):
        return "probabilities", (
            f"its answers look like rounded or incomplete probabilities (they sum to {sums.min():.3g} to "
            f"{sums.max():.3g}) and are scaled to sum to 1: give all classes unrounded, or set `classifier.scores`"
        )
    if not bool(rows.any()):
        return "logits", ""
    return "logits", (
        f"its answers are in [0, 1] but sum to {sums.min():.3g} to {sums.max():.3g}, as those of a network of several "
        "labels do, and are taken for logits: give the scores before the sigmoid, or set `classifier.scores`"
    )


def _decisions(rows: Tensor) -> str:
    if bool(((rows == 0) | (rows == 1)).all()):
        return (
            "its answers are only 0 and 1, as of decisions, not of probabilities: nothing can be measured between "
            "them; give its scores before the decision"
        )
    return ""


def _refuse_percent(rows: Tensor) -> None:
    positive, sums = bool((rows >= 0).all()), rows.sum(1)
    if positive and rows.shape[1] > 1 and bool(((sums - 100).abs() <= 1).all()):
        raise UserError(
            "The classifier's answers are percentages (from 0 up, summing to 100): divide them by 100, or set "
            "`classifier.scores=logits` if they are logits all the same."
        )


def doubt_of_probabilities(rows: Tensor) -> str:
    """What is doubtful about scores that the user calls probabilities."""
    sums = rows.sum(1)
    if rows.shape[1] > 1 and bool(((sums - 1).abs() > ROUNDED).any()):
        return f"its probabilities sum to {sums.min():.3g} to {sums.max():.3g} and are scaled to sum to 1"
    return ""


def doubt_of_company(together: Tensor, alone: Tensor) -> str:
    """What is doubtful about scores ``(1, K)`` of one image, among others and alone."""
    if not bool(((together - alone).abs() > COMPANY * (1 + alone.abs())).any()):
        return ""
    return (
        "it scores the same image differently alone and in company: its answers depend on the rest of the batch, or "
        "on chance, so no explanation can be trusted"
    )


def doubt_of_sameness(rows: Tensor) -> str:
    """What is doubtful about scores ``(B, K)`` of images that have nothing in common."""
    if bool(((rows - rows[:1]).abs() > SAMENESS * rows.abs().max()).any()) or not bool(rows.any()):
        return ""
    return (
        f"it gives one and the same answer to {len(rows)} images that have nothing in common: does it expect bytes, or "
        "another normalisation? It is given floats in [0, 1], normalised by `classifier.mean` and `classifier.std`"
    )


def log_probabilities(rows: Tensor) -> Tensor:
    """Logits ``(B, K)`` of probabilities ``(B, K)`` or, for two classes, of ``(B, 1)`` that of the second."""
    rows = torch.cat([1 - rows, rows], 1) if rows.shape[1] == 1 else rows
    rows = rows.clamp_min(SMALLEST_PROBABILITY)
    return (rows / rows.sum(1, keepdim=True)).log()
