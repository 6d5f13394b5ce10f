"""A target classifier from a bare network or function, whose classes nobody has named yet."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from cae.classifiers.identity import own_copy
from cae.classifiers.outputs import NAMES
from cae.classifiers.preprocessing import Numbers, Preprocessing, remedy
from cae.classifiers.target import TargetClassifier, input_channels
from cae.errors import UserError


def wrap_model(
    model: nn.Module | Callable[[np.ndarray], Any],
    image_shape: tuple[int, int, int],
    classes: Sequence[str] | Mapping[int, str] | str | Path | None = None,
    mean: Numbers = (),
    std: Numbers = (),
) -> TargetClassifier:
    """A classifier for images of this shape; without ``classes``, they are named ``class 0``, ``class 1``, …

    Args:
        model: an ``nn.Module`` from ``(B, C, H, W)`` to scores, or a function of NumPy images; it is not changed.
        image_shape: ``(C, H, W)`` of the images, in [0, 1].
        classes: names, in the order of the scores.
        mean: per-channel mean on [0, 1] that the model's inputs are normalised by.
        std: per-channel standard deviation for the same.

    Raises:
        UserError: if the model cannot take such images, or its scores cannot be told from its other outputs.

    >>> wrap_model(nn.Sequential(nn.Flatten(), nn.Linear(12, 3)), (3, 2, 2)).classes
    ('class 0', 'class 1', 'class 2')
    """
    if classes is None:
        classes = [f"class {number}" for number in range(max(_count_scores(model, image_shape, mean, std), 2))]
    return TargetClassifier(model, classes, image_shape=image_shape, mean=mean, std=std)


def _count_scores(model: Any, image_shape: tuple[int, int, int], mean: Numbers, std: Numbers) -> int:
    """How many scores a model gives for a blank image."""
    channels = dict.fromkeys([image_shape[0], input_channels(model) or image_shape[0]])
    problem: Exception | None = None
    for count in channels:
        try:
            blank = Preprocessing(count, (image_shape[1], image_shape[2]), mean, std)(
                torch.full((2, *image_shape), 0.5)
            )
            return _width(_called(model, blank))
        except UserError as error:
            problem = problem or error
        except Exception as error:  # whatever a foreign network raises, the user hears what it was given
            problem = error
    if problem is None or isinstance(problem, UserError):
        raise problem or ValueError("no number of channels to try")
    shape = (2, *image_shape)
    raise UserError(
        f"The classifier {type(model).__name__} failed on blank images of {shape}: {problem}.{remedy(problem, shape)}"
    )


@torch.no_grad()
def _called(model: Any, images: Tensor) -> Any:
    if not isinstance(model, nn.Module):
        return model(images.numpy())
    weight = next((weight for weight in model.parameters() if weight.is_floating_point()), images)
    return own_copy(model).eval()(images.to(weight))


def _width(output: Any) -> int:
    if isinstance(output, Mapping):
        output = next((output[name] for name in NAMES if name in output), output)
    output = next((getattr(output, name) for name in NAMES if hasattr(output, name)), output)
    if isinstance(output, (Mapping, tuple)):
        if len(output) != 1:
            raise UserError("The classifier gives several outputs: name its classes (`classes=[…]`), so that one fits.")
        output = next(iter(output.values() if isinstance(output, Mapping) else output))
    shape = output.shape if isinstance(output, Tensor) else np.asarray(output).shape
    return int(np.prod(shape[1:]))
