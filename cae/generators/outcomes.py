"""What a comparison of generators leaves in its folder: one outcome for each image and arm, and a list of both.

Below ``explanations/generators`` of the run, or another ``generators.folder``::

    generators.json           the list (below); written before the first image is explained
    images/FILE.png           the originals, 8 bits, at their own size; FILE is ``cae.files.file_name(id)``
    masks/FILE.png            where the class is known to show, white; of images of which that is known
    arms/ARM/FILE.json        the figures of one image; written last, so that an outcome with it is complete
    arms/ARM/FILE.png         its counterfactual; where none was found, the arm's nearest attempt
    arms/ARM/FILE-end.png     the end of the arm's path, well beyond the boundary; of arms with a path
    arms/ARM/FILE-base.png    what the change is seen against, such as a reconstruction; where it is not the original
    arms/ARM/FILE-evidence.png  where the change is, as for our own counterfactuals: a map whose largest value is white
    arms/ARM/FILE.safetensors   what the figures of whole sets are computed from (features)
    models/ARM/               what a trained arm has learnt, with its checkpoints and logs
    table.csv, table.json, table.md, rows.csv, generators.png    figures over all images, and the picture to look at

``generators.json``::

    {"format": "generators-1", "classes": [NAME, …], "margin": 0.05, "baseline": "ours",
     "images": [{"id": ID, "file": FILE, "label": NAME or null, "source": NAME, "target": NAME, "mask": true}, …],
     "arms": [{"name": ARM, "folder": FOLDER below arms, "words": TEXT, "control": false, "has_path": true,
               "training_seconds": 12.3 or null}, …]}

``FILE.json`` holds ``probabilities`` and ``oracle_probabilities`` of the counterfactual, ``end_probabilities`` and
``end_oracle_probabilities`` of the end (each a list over the classes; null without an oracle or a path), ``found``
(true or false) and ``values``: numbers by the names of ``cae.generators.measures.WORDS``, null where undefined.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from cae.canvas import save_png
from cae.counterfactuals.export import picture_of
from cae.errors import UserError
from cae.files import read_json, read_saved, write_json, write_tensors
from cae.generators.measures import Made, Values

LIST, FORMAT, FEATURES = "generators.json", "generators-1", "generator_outcome"


@dataclass(frozen=True, eq=False)
class Explained:
    """One image of a comparison: what it is, and towards which class it goes.

    Attributes:
        id: of the image.
        file: its id as the name of a file.
        image: ``(C, H, W)`` in [0, 1].
        mask: ``(1, H, W)`` bool, or None.
        label: of the data; None where unknown.
        source: class predicted.
        target: class to be reached.
        others: up to three classes but ``source``, the most probable first, for the diversity.
    """

    id: str
    file: str
    image: Tensor
    mask: Tensor | None
    label: int | None
    source: int
    target: int
    others: tuple[int, ...]


def write_images(folder: Path, images: list[Explained]) -> None:
    """Write the originals, and where the class is known to show."""
    for one in images:
        save_png(picture_of(one.image), folder / "images" / f"{one.file}.png")
        if one.mask is not None:
            save_png(picture_of(one.mask.float()), folder / "masks" / f"{one.file}.png")


def write_list(
    folder: Path, classes: tuple[str, ...], margin: float, images: list[Explained], arms: list[dict[str, Any]]
) -> None:
    """Write ``generators.json``; ``arms`` as the module's docstring says, the baseline first."""
    rows = [
        {"id": one.id, "file": one.file, "label": None if one.label is None else classes[one.label],
         "source": classes[one.source], "target": classes[one.target], "mask": one.mask is not None}
        for one in images
    ]  # fmt: skip
    facts = {"format": FORMAT, "classes": list(classes), "margin": margin, "baseline": arms[0]["name"]}
    write_json(folder / LIST, {**facts, "images": rows, "arms": arms})


def write_outcome(
    folder: Path, file: str, made: Made, values: Values, features: dict[str, Tensor], end_probabilities: Tensor | None
) -> None:
    """Write all files of one image below the folder of an arm; its figures come last.

    Args:
        folder: ``arms/ARM``.
        file: name of the image's files.
        made: what the generator made of it.
        values: by the names of ``cae.generators.measures.WORDS``.
        features: ``(3, F)`` of original, counterfactual and end, by whose they are (``classifier``, ``oracle``).
        end_probabilities: ``(K,)`` of the classifier for the end; None without a path.
    """
    save_png(picture_of(made.image), folder / f"{file}.png")
    if made.end is not None:
        save_png(picture_of(made.end), folder / f"{file}-end.png")
    if not torch.equal(made.base, made.original):
        save_png(picture_of(made.base), folder / f"{file}-base.png")
    largest = float(made.evidence.max())
    save_png(picture_of(made.evidence / (largest or 1.0)), folder / f"{file}-evidence.png", maximum=repr(largest))
    write_tensors(folder / f"{file}.safetensors", features, FEATURES, {"format": FORMAT})
    seen = {
        "probabilities": made.probabilities, "oracle_probabilities": made.oracle,
        "end_probabilities": end_probabilities, "end_oracle_probabilities": made.end_oracle,
    }  # fmt: skip
    lists = {name: None if row is None else [round(p, 6) for p in row.tolist()] for name, row in seen.items()}
    write_json(folder / f"{file}.json", {**lists, "found": bool(values["found"]), "values": values})


def is_complete(folder: Path, file: str) -> bool:
    """Whether the outcome of an image is there, with all of its files."""
    return all((folder / f"{file}{suffix}").exists() for suffix in (".json", ".safetensors", ".png", "-evidence.png"))


def read_values(folder: Path, file: str) -> Values:
    """The values of an outcome.

    Raises:
        UserError: if its file is damaged.
    """
    path = folder / f"{file}.json"
    values = read_json(path).get("values")
    if not isinstance(values, dict) or not all(isinstance(value, float | int | None) for value in values.values()):
        raise UserError(f"'{path}' is damaged, it holds no values: remove it, and the same command makes it anew.")
    return values


def read_features(folder: Path, file: str) -> dict[str, Tensor]:
    """The features of an outcome, by name.

    Raises:
        UserError: if its file is damaged.
    """
    return read_saved(folder / f"{file}.safetensors", FEATURES, FORMAT)[1]
