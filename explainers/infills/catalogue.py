"""Every in-fill by its name: in words, and how it is made."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import torch
from torch import Tensor

from cae.errors import UserError, did_you_mean
from explainers.infills.base import Sampler
from explainers.infills.fills import Fill, blurred, constant, image_mean, image_minimum, masked_blur, uniform_noise
from explainers.infills.gaussian import Gaussian
from explainers.infills.learned import LearnedSampler
from explainers.infills.simple import Blur, FunctionSampler, Gray, Marginal, MaskedBlur


@dataclass(frozen=True, eq=False)
class Material:
    """What an in-fill may be made from, as far as it is at hand.

    Attributes:
        asked: the option that asks for it, in words: ``sampler=gaussian``.
        background: training images ``(N, C, H, W)`` in [0, 1].
        colour: ``(C,)``, or an image ``(C, H, W)``, in the place of the training images' mean.
        folder: run folder.
        generator: of noise, on the CPU; by default one seeded with 0.
    """

    asked: str
    background: Tensor | None = None
    colour: Tensor | None = None
    folder: Path | None = None
    generator: torch.Generator | None = None

    def training_images(self) -> Tensor:
        """``(N, C, H, W)`` float32 on the CPU."""
        if self.background is None:
            raise UserError(f"`{self.asked}` is made from training images: give them as `background`.")
        return self.background.detach().cpu().float()

    def mean_colour(self) -> Tensor:
        """``(C,)``, or an image ``(C, H, W)``."""
        if self.colour is not None:
            return self.colour
        if self.background is None:
            raise UserError(
                f"`{self.asked}` needs the mean of the data set: give training images as `background`, or the mean "
                "itself as `mean`."
            )
        return self.training_images().mean((0, 2, 3))

    def noise(self) -> torch.Generator:
        """Where noise comes from."""
        return torch.Generator().manual_seed(0) if self.generator is None else self.generator

    def run_folder(self) -> Path:
        """Where the trained one is."""
        if self.folder is None:
            raise UserError(f"`{self.asked}` is read from a run folder: give it as `folder`.")
        return Path(self.folder)


@dataclass(frozen=True)
class InFill:
    """One in-fill: in words, and how it is made as a fill of any mask and as a sampler of windows, where it can be."""

    words: str
    fill: Callable[[Material], Fill] | None = None
    sampler: Callable[[Material], Sampler] | None = None


def _linear(_: Material) -> Fill:
    from explainers.infills.imputation import linear  # scipy's solvers take a while to load

    return linear


INFILLS: dict[str, InFill] = {
    "black": InFill("zeros, before any normalisation", fill=lambda _: constant(0.0)),
    "gray": InFill("the middle grey", fill=lambda _: constant(0.5), sampler=lambda _: Gray()),
    "mean_colour": InFill(
        "the mean colour of the training images",
        fill=lambda given: constant(given.mean_colour()),
        sampler=lambda given: Gray(given.mean_colour().tolist()),
    ),
    "image_mean": InFill("the mean colour of the image itself", fill=lambda _: image_mean),
    "image_minimum": InFill("the lowest value of the image in each channel", fill=lambda _: image_minimum),
    "noise": InFill("independent uniform noise", fill=lambda given: uniform_noise(given.noise())),
    "blur": InFill("the image itself, blurred", fill=lambda _: blurred(5 / 224), sampler=lambda _: Blur()),
    "wide_blur": InFill("the image itself, blurred by a tenth of its short side", fill=lambda _: blurred(1 / 10, int)),
    "masked_blur": InFill(
        "a smooth mean of what surrounds it", fill=lambda _: masked_blur, sampler=lambda _: MaskedBlur()
    ),
    "linear": InFill("weighted means of the neighbours, of all removed pixels at once", fill=_linear),
    "marginal": InFill("the same place in training images", sampler=lambda given: Marginal(given.training_images())),
    "gaussian": InFill(
        "draws from a Gaussian given the surroundings, fitted to training images",
        sampler=lambda given: Gaussian(given.training_images()),
    ),
    "gaussian_diagonal": InFill(
        "the same, every pixel drawn independently",
        sampler=lambda given: Gaussian(given.training_images(), diagonal=True),
    ),
    "learned": InFill(
        "draws from a network trained by `train.py sampler`",
        sampler=lambda given: LearnedSampler.load(given.run_folder()),
    ),
}

SAMPLERS = {name: infill.words for name, infill in INFILLS.items() if infill.sampler is not None}


def build_sampler(
    sampler: str | Sampler | Callable, background: Tensor | None = None, folder: Path | None = None
) -> Sampler:
    """The in-fill that draws windows: by its name, an object as it is, or from a function of the user.

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
    make = INFILLS[sampler].sampler if sampler in INFILLS else None
    if make is None:
        refuse("sampler", sampler, SAMPLERS)
    return make(Material(f"sampler={sampler}", background, folder=folder))


def build_fill(
    fill: str | Fill,
    names: Mapping[str, str],
    *,
    background: Tensor | None = None,
    colour: Tensor | None = None,
    generator: torch.Generator | None = None,
    option: str = "fill",
) -> Fill:
    """The in-fill of any mask: by its name, or a function as it is.

    Args:
        fill: one of ``names``, or a function.
        names: what an option calls its in-fills, each with its name in ``INFILLS``.
        background: training images ``(N, C, H, W)`` in [0, 1], for those that are made from data.
        colour: ``(C,)`` or ``(C, H, W)``, in the place of the training images' mean.
        generator: of noise, on the CPU; by default one seeded with 0.
        option: name of the option, for messages.

    Raises:
        UserError: for an unknown name, or if what the in-fill is made from is missing.
    """
    if not isinstance(fill, str):
        return fill
    make = INFILLS[names[fill]].fill if fill in names else None
    if make is None:
        refuse(option, fill, names, "or a function")
    return make(Material(f"{option}={fill}", background, colour, generator=generator))


def refuse(option: str, given: object, names: Iterable[str], others: str = "") -> NoReturn:
    """Say which in-fills an option knows.

    Raises:
        UserError: always.
    """
    names = list(names)
    known = f"one of {', '.join(names)}" if len(names) > 1 else f"'{names[0]}'"
    known += f" {others}" if others else ""
    raise UserError(f"`{option}` must be {known}, but is {given!r}{did_you_mean(str(given), names)}.")
