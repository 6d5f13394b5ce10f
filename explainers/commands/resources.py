"""What a run gives to its explainers: images that in-fills are made from, and its folder."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from cae.config import DataConfig
from cae.data.fingerprint import files_fingerprint
from cae.data.images import Reading
from cae.data.records import ImageFiles
from cae.data.selection import evenly_spread, image_files
from cae.data.types import ImageSet
from cae.runs.classifier_run import ClassifierRun
from explainers.base import Explainer
from explainers.registry import explainer_class, get_explainer

BACKGROUND = 2000  # training images that samplers may look at, at most


def background_images(run: ClassifierRun) -> Tensor | None:
    """Images ``(N, C, H, W)`` of ``explain.background``, or of the training split; at most ``BACKGROUND``.

    Spread over all there are; None without either.
    """
    images: ImageSet
    if run.config.explain.background is not None:
        images = image_files(run.config.data, run.config.explain.background)
    elif run.data is not None:
        images = run.data.train
    else:
        return None
    return evenly_spread(images, BACKGROUND)


def background_fingerprint(config: DataConfig, path: str) -> dict[str, list[int]]:
    """What tells the images of ``explain.background`` from others."""
    return files_fingerprint(ImageFiles(path, config.image_size, config.channels, config.crop, Reading.of(config)))


def build_explainers(run: ClassifierRun, options: Mapping[str, Mapping[str, Any]]) -> dict[str, Explainer]:
    """Explainers by their registered names, each with its options and all that the run can give it.

    Raises:
        UserError: for an unknown name or option, or if the run lacks what a method needs.
    """
    wanted = {name: explainer_class(name).resources for name in options}
    given: dict[str, Any] = {"folder": run.folder.path, "background": None}
    if any("background" in resources for resources in wanted.values()):
        given["background"] = background_images(run)
    return {
        name: get_explainer(name, run.classifier, **{key: given[key] for key in wanted[name]}, **options[name])
        for name in options
    }
