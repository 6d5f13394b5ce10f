"""In-fills by name: what stands in a window's place while the classifier is asked how it matters."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from torch import Tensor

from cae.errors import UserError, did_you_mean
from explainers.infills.base import Sampler
from explainers.infills.gaussian import Gaussian
from explainers.infills.simple import Blur, FunctionSampler, Gray, Marginal, MaskedBlur

__all__ = [
    "SAMPLERS",
    "Blur",
    "FunctionSampler",
    "Gaussian",
    "Gray",
    "Marginal",
    "MaskedBlur",
    "Sampler",
    "build_sampler",
]

SAMPLERS = {
    "gray": "the middle grey",
    "mean_colour": "the mean colour of the training images",
    "blur": "the image itself, blurred",
    "masked_blur": "a smooth mean of what surrounds the window",
    "marginal": "the same place in training images",
    "gaussian": "draws from a Gaussian given the surroundings, fitted to training images",
    "gaussian_diagonal": "the same, every pixel drawn independently",
    "learned": "draws from a network trained by `train.py sampler`",
}


def build_sampler(
    sampler: str | Sampler | Callable, background: Tensor | None = None, folder: Path | None = None
) -> Sampler:
    """The in-fill of a name, an in-fill object, or a function of the user.

    Args:
        sampler: one of ``SAMPLERS``, a ``Sampler``, or a function as ``FunctionSampler`` takes.
        background: training images ``(N, C, H, W)`` in [0, 1], for those that are made from data.
        folder: run folder, for the learned one.

    Raises:
        UserError: for an unknown name, or if what the in-fill is made from is missing.
    """
    if isinstance(sampler, Sampler):
        return sampler
    if callable(sampler):
        return FunctionSampler(sampler, getattr(sampler, "__name__", "callable"))
    if sampler in ("gray", "blur", "masked_blur"):
        return {"gray": Gray, "blur": Blur, "masked_blur": MaskedBlur}[sampler]()
    if sampler == "learned":
        return _learned(folder)
    if sampler not in SAMPLERS:
        near = did_you_mean(str(sampler), SAMPLERS)
        raise UserError(f"`sampler` must be one of {', '.join(SAMPLERS)}, but is {sampler!r}{near}.")
    if background is None:
        raise UserError(f"`sampler={sampler}` is made from training images: give them as `background`.")
    background = background.detach().cpu().float()
    if sampler == "mean_colour":
        return Gray(background.mean((0, 2, 3)).tolist())
    if sampler == "marginal":
        return Marginal(background)
    return Gaussian(background, diagonal=sampler == "gaussian_diagonal")


def _learned(folder: Path | None) -> Sampler:
    from explainers.infills.learned import LearnedSampler

    if folder is None:
        raise UserError("`sampler=learned` is read from a run folder: give it as `folder`.")
    return LearnedSampler.load(Path(folder))
