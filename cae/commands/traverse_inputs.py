"""What a traversal explains, towards what, and everything that its results depend on."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch
from torch import Tensor

from cae.config import Config
from cae.counterfactuals.find import WORDS, targets_for
from cae.data.images import ImageRef, Reading, load_image
from cae.data.selection import Selection, image_ids, images_identity
from cae.errors import UserError, did_you_mean
from cae.runs.run_folder import RunFolder
from cae.runs.trained_run import TrainedRun


@dataclasses.dataclass(frozen=True, eq=False)
class Reference:
    """The user's own reference: class code ``(D,)`` and id."""

    code: Tensor
    id: str


def check_options(config: Config, classes: tuple[str, ...]) -> None:
    """Raise one UserError with what is wrong with the target and the folder of a traversal."""
    problems, target = list[str](), config.counterfactual.target
    try:
        RunFolder(config).check_explanations(config.traverse.folder, "traverse.folder")
    except UserError as error:
        problems += error.problems
    if target not in (*classes, *WORDS):
        try:
            targets_for(torch.zeros(1, len(classes)), target, classes)
        except UserError as error:
            problems += error.problems
    if problems:
        raise UserError(problems)


@torch.no_grad()
def open_reference(run: TrainedRun) -> Reference | None:
    """The class code of ``counterfactual.reference_image``, with ``counterfactual.reference=image``; else None.

    The image is looked for among the ids of the training split, then of the others, then as a file.

    Raises:
        UserError: if there is no such image, or it does not show the class that is to be reached.
    """
    options = run.config.counterfactual
    if options.reference != "image" or options.reference_image is None:
        return None
    name, image = options.reference_image, _reference_pixels(run, options.reference_image)
    batch = image[None].to(run.device)
    predicted = run.classes[int(run.classifier.probabilities(batch).argmax())]
    if options.target in run.classes and options.target != predicted:
        raise UserError(
            f"counterfactual.reference_image '{name}' is classified as {predicted}, but counterfactual.target is "
            f"{options.target}: choose another image, or counterfactual.target={predicted}."
        )
    if options.target not in run.classes:
        print(f"note: '{name}' is classified as {predicted}; towards other classes it will hardly lead")
    return Reference(run.cae.encode(batch).class_code[0].cpu(), name)


def identity(run: TrainedRun, chosen: Selection) -> dict[str, Any]:
    """Everything that a row of the index depends on, by name of the option or model."""
    config, traverse = run.config, run.config.traverse
    found: dict[str, Any] = {"seed": config.seed, "traverse.images": traverse.images}
    found["traverse.frames"] = traverse.frames
    files, search = traverse.images is not None, dataclasses.asdict(config.counterfactual)
    found |= {} if files else {"traverse.split": traverse.split}
    found |= images_identity(config.data, run.data, chosen.images)
    found |= {f"counterfactual.{name}": value for name, value in search.items() if name != "batch_size"}
    of_paths = ("neighbours", "density", "max_codes") if config.counterfactual.path == "graph" else ("max_codes",)
    found |= {f"manifold.{name}": getattr(config.manifold, name) for name in of_paths}
    return found | {f"fingerprint of the {name}": value for name, value in run.fingerprints.items()}


def _reference_pixels(run: TrainedRun, name: str) -> Tensor:
    everything: list[str] = []
    for split in ("train", "val", "test"):
        images = run.data.dataset(split)
        ids = image_ids(images)
        if name in ids:
            return images[ids.index(name)].image
        everything += ids
    ref = ImageRef.parse(name)
    if ref.path.is_file():
        data = run.config.data
        return load_image(ref, data.image_size, data.channels, data.crop, Reading.of(data))
    raise UserError(
        f"counterfactual.reference_image '{name}' is neither the id of an image of the data nor a file"
        f"{did_you_mean(name, everything)}."
    )
