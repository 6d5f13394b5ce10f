"""What the pixels of a source are like: levels of its training split, empty masks, constant images."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import median
from typing import TypeVar

from torch import Tensor

from cae.config import DataConfig
from cae.data.headers import orientation
from cae.data.images import Size, centre, fit_mask, is_soft_mask, kept_by_crop, read_mask, unscaled_range
from cae.data.records import FileSet, Headers, Record
from cae.data.splits import few

LEVEL_FILES = 200  # files whose values are read for the levels of a set
MASK_FILES = 1000  # masks that are looked at when a source is opened
IMAGE_FILES = 32  # images that are looked at
MOST_CROPPED = 0.1  # share of an image whose loss does not matter
FULL = 65535
DARK = 0.1  # an image whose largest value is below shows next to nothing
FLAT = 1e-3  # an image whose values differ by less is of one value: half a step of 8 bits, for what resizing adds
Item = TypeVar("Item")


def spread(items: Sequence[Item], most: int) -> list[Item]:
    """At most so many of the items, evenly spread."""
    if len(items) <= most:
        return list(items)
    return [items[place * len(items) // most] for place in range(most)]


def find_levels(config: DataConfig, train: Sequence[Record]) -> list[str]:
    """Read ``data.levels`` from the training split where its files need them; tell what was found.

    Files without a range of their own (floats, 32-bit integers, DICOM and NIfTI without a window) get one scale for the
    whole set: from the least to the largest value of the files that are looked at. It is written into ``config``, and
    so saved with the run. 16-bit files have a range; where they hardly use it, a note says so.
    """
    if config.levels or config.scale == "file":
        return []
    looked_at = [unscaled_range(record.image) for record in spread(train, LEVEL_FILES)]
    ranges = [found for found in looked_at if found is not None]
    if not ranges:
        return []
    low, high = min(found[0] for found in ranges), max(found[1] for found in ranges)
    if not any(found[2] for found in ranges):
        return _narrow_note(high)
    if not high > low:
        return []
    config.levels = [low, high]
    notes = [
        f"files without a range of their own: values from {low:.6g} to {high:.6g}, those of the training split, "
        "become 0 to 1 in all of them (`data.levels`; `data.scale=file` stretches each file alone)."
    ]
    usual = median(found[1] - found[0] for found in ranges)
    if high - low > 10 * usual:
        notes.append(
            f"the files of the set disagree in their levels: half of them span less than {usual:.4g} of "
            f"{high - low:.4g}. Set `data.levels` to what they have in common, or `data.scale=file`."
        )
    return notes


def find_fit(config: DataConfig, train: Sequence[Record], headers: Headers) -> list[str]:
    """Settle ``data.fit=auto``: crop, or stretch where a crop would take much of most training images; tell the latter.

    What is found is written into ``config``, and so saved with the run. A ``data.crop`` below 1 wants a crop.
    """
    if config.fit != "auto":
        return []
    shapes = [headers[record.id].shape[1:] for record in train]
    shares = [math.prod(kept_by_crop(*shape, config.image_size)) / math.prod(shape) for shape in shapes]
    lost = 1 - median(shares) if shares else 0.0
    config.fit = "crop" if lost <= MOST_CROPPED or config.crop < 1 else "stretch"
    if config.fit == "crop":
        return []
    height, width = config.sides
    return [
        f"a crop to {height} × {width} would take {lost:.0%} of the median training image: all are stretched "
        "to it (`data.fit`; set crop or pad instead, or give data.image_size=[height,width] the shape of the images)."
    ]


def _narrow_note(largest: float) -> list[str]:
    """What to say of 16-bit files whose largest value is this."""
    if largest >= FULL / 4:
        return []
    bits = next((bits for bits in (8, 10, 12, 14) if largest < 2**bits), 14)
    return [
        f"the 16-bit files hold no value above {largest:.0f} of {FULL}, so that their images are nearly black: set "
        f"`data.levels=[0,{2**bits - 1}]` if they are of {bits} bits."
    ]


def mask_notes(config: DataConfig, records: Sequence[Record]) -> list[str]:
    """How many masks are empty, become so, lose pixels to the crop, or cover almost everything."""
    masked = [record for record in records if record.mask is not None]
    looked_at = spread(masked, MASK_FILES)
    found = mask_fates(config, looked_at)
    of = f"of {len(looked_at)} masks" + (" looked at" if len(looked_at) < len(masked) else "")
    notes = [f"{len(found[fate])} {of} {words}: {few(found[fate])}." for fate, words in FATES.items() if fate in found]
    return notes + soft_mask_notes(masked)


def soft_mask_notes(masked: Sequence[Record]) -> list[str]:
    """How many masks of some have a soft or noisy rim, all of which counts as inside."""
    looked_at = spread(masked, IMAGE_FILES)
    soft = [record.id for record in looked_at if record.mask is not None and is_soft_mask(record.mask)]
    if not soft:
        return []
    return [
        f"{len(soft)} of {len(looked_at)} masks looked at hold many grey levels, from faint to bright, of which every "
        f"one but 0 counts as inside: {few(soft)}. If they are soft, or were JPEGs once, save them as 0 and 255."
    ]


def mask_fates(config: DataConfig, records: Sequence[Record]) -> dict[str, list[str]]:
    """Ids of records by what becomes of their masks (``mask_fate``); those without a mask are left out.

    Raises:
        UserError: if one of the masks cannot be decoded.
    """
    found: dict[str, list[str]] = {}
    for record in records:
        if record.mask is not None:
            fate = mask_fate(read_mask(record.mask), config.image_size, config.crop, config.fit)
            found.setdefault(fate, []).append(record.id)
    return found


FATES = {
    "empty": "are empty in their files",
    "outside": "become empty, as what they mark is cropped away",
    "small": "become empty, as what they mark is smaller than a pixel of `data.image_size`",
    "cut": "lose more than a tenth of their pixels to the crop",
    "full": "cover more than nine tenths of their image (inverted?)",
}


def mask_fate(mask: Tensor, image_size: Size, crop: float, mode: str = "crop") -> str:
    """What becomes of a mask ``(1, H, W)`` bool: ``empty``, ``outside``, ``small``, ``cut``, ``full`` or ``kept``."""
    total = int(mask.sum())
    if not total:
        return "empty"
    height, width = mask.shape[-2:]
    whole = kept_by_crop(height, width, image_size) if mode == "crop" else (height, width)
    inside = int(centre(mask, *(max(1, round(crop * side)) for side in whole)).sum())
    if not inside:
        return "outside"
    if not bool(fit_mask(mask, image_size, crop, mode).any()):
        return "small"
    if inside < 0.9 * total:
        return "cut"
    return "full" if total > 0.9 * height * width else "kept"


def image_notes(images: FileSet) -> list[str]:
    """How many of some images of a set are of one grey value everywhere, and whether most are nearly black.

    Raises:
        UserError: if one of them cannot be decoded.
    """
    places = spread(range(len(images)), IMAGE_FILES)
    looks = {images.ids[place]: images[place].image for place in places}
    constant = [id for id, image in looks.items() if _is_constant(image)]
    dark = [id for id, image in looks.items() if id not in constant and float(image.max()) < DARK]
    dark = dark if 2 * len(dark) > len(places) else []  # one class may well be dark
    kinds = {"of one colour everywhere": constant, f"nearly black (no value above {DARK:g} of 1)": dark}
    return [
        f"{len(ids)} of {len(places)} images looked at are {kind}: {few(ids)}." for kind, ids in kinds.items() if ids
    ]


def turn_notes(records: Sequence[Record]) -> list[str]:
    """How many images of some are turned by an orientation in their file that their mask does not bring."""
    masked = spread([record for record in records if record.mask is not None], MASK_FILES)
    odd = [one.id for one in masked if one.mask and orientation(one.image) != orientation(one.mask)]
    if not odd:
        return []
    return [
        f"{len(odd)} of {len(masked)} masks looked at have another EXIF orientation than their images: {few(odd)}. "
        "Images are turned upright; look at the contact sheet of `check` whether their masks lie over them."
    ]


def _is_constant(image: Tensor) -> bool:
    return bool((image.amax((-2, -1)) - image.amin((-2, -1)) < FLAT).all())


def page_notes(records: Sequence[Record], headers: Headers) -> list[str]:
    """How many files are stacks or animations, of which one picture is taken because none was named."""
    several = [record for record in records if record.image.slice is None and headers[record.id].pages > 1]
    moving = [record.id for record in several if not record.image.path.suffix.lower().startswith(".tif")]
    stacks = [record.id for record in several if record.id not in set(moving)]
    kinds = {"stacks of pages, of which the middle one": stacks, "animations, of which the first picture": moving}
    return [f"{len(ids)} files are {kind} is taken: {few(ids)}." for kind, ids in kinds.items() if ids]
