"""Options of the data: where images lie, and how they are read, split and brought to one size."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from cae.config.data_sources import SOURCES
from cae.config.declaration import option


@dataclass
class LesionsConfig:
    """The embedded data: head-like slices with exact lesion masks."""

    train: int = option(4000, "images of the training split", low=1)
    val: int = option(600, "images of the validation split", low=1)
    test: int = option(600, "images of the test split", low=1)
    classes: list[str] = option(
        ["healthy", "mass", "cyst"], "which classes to draw", choices=("healthy", "mass", "cyst")
    )
    noise: float = option(0.02, "standard deviation of the grey-value noise, on [0, 1]", low=0, high=0.5)
    contrast: float = option(1.0, "factor on the contrast of the lesions; smaller is harder", low=0.05, high=3)
    shortcut: float | None = option(
        None,
        "plant a corner marker that goes with `shortcut_class` this strongly: 0 at random, 1 always",
        low=0,
        high=1,
    )
    shortcut_class: str = option("mass", "class that the planted marker goes with", choices=("healthy", "mass", "cyst"))


@dataclass
class DataConfig:
    """Which images, and how they are split and resized."""

    source: str = option("lesions", "where images come from", choices=tuple(SOURCES))
    path: str | None = option(None, "root folder (folder, paired), CSV or Parquet file (table), .npz file (medmnist)")
    image_size: Any = option(
        64,
        "side in pixels of the squares that images become (see `fit`); of rectangles [height, width]",
        low=8,
        high=4096,
        or_pair=True,
    )
    fit: str = option(
        "auto",
        "how image files come to that shape: crop the ends of the long side, pad the short one with the image's mean, "
        "or stretch it; auto: crop where that costs little of the training images, else stretch",
        choices=("auto", "crop", "pad", "stretch"),
    )
    max_megapixels: float = option(
        64.0, "files of more pixels are refused before they are decoded, in millions", low=0.001
    )
    crop: float = option(
        1.0, "share of the shorter side that image files keep, centred, before resizing", low=0.1, high=1
    )
    channels: int = option(1, "1 for grey, 3 for RGB", choices=(1, 3))
    mixed_channels: bool = option(False, "accept grey beside colour files (all are converted to `channels`)")
    batch_size: int = option(64, "images in one training batch", low=1)
    workers: int = option(0, "processes that load images; 0 loads in the main process", low=0)
    seed: int = option(0, "seed of the splits and of drawn images", low=0)
    val_share: float = option(0.15, "share split off for validation where the source brings no split", low=0, high=0.9)
    test_share: float = option(0.15, "share split off for testing where the source brings no split", low=0, high=0.9)
    group: str | None = option(
        None,
        "images kept in one split: `folder` (by the folder below that of the class), `patient` (DICOM PatientID), or a "
        "regular expression on the id, whose first group (or whole match) names them",
    )
    levels: list[float] = option(
        [],
        "stored values that become 0 and 1 in files of more than 8 bits without a window; by default the range of the "
        "kind of file or, where it has none, that of the training split, which is then saved with the run",
    )
    scale: str = option(
        "set",
        "set: one scale for all files without a range of their own; file: each is stretched alone",
        choices=("set", "file"),
    )
    ground: str = option(
        "white", "what lies behind transparent pixels of image files", choices=("white", "grey", "black")
    )
    check: str = option(
        "all",
        "what is read of every file before a training: all of it, so that damaged ones are told at once, or its header",
        choices=("all", "headers"),
    )
    max_gigabytes: float = option(
        4.0, "what a single .npz or Parquet file may take in memory; a small one may hold more than the machine", low=0
    )
    cache: bool = option(True, "keep decoded images in memory (each is read once)")
    flip: bool = option(False, "mirror training images at random, left to right")
    columns: dict[str, str] = option(
        {"path": "path", "label": "label", "split": "split", "mask": "mask"}, "column names of a table source"
    )
    lesions: LesionsConfig = field(default_factory=LesionsConfig)

    @property
    def sides(self) -> tuple[int, int]:
        """Height and width of every image, in pixels."""
        height, width = self.image_size if isinstance(self.image_size, list) else [self.image_size] * 2
        return height, width
