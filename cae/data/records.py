"""Image sets over files: what every source that names files shares."""

from __future__ import annotations

import copy
import math
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from cae.config import DataConfig
from cae.data import medical, pictures
from cae.data.file_listing import IMAGE_SUFFIXES, left_out_words, list_files, list_images, path_id, without_suffix
from cae.data.headers import Header, image_shape, read_header
from cae.data.images import AS_STORED, ImageRef, Reading, Size, load_image, load_mask, missing
from cae.data.splits import SHOWN_PROBLEMS, few, raise_problems
from cae.data.types import Sample
from cae.errors import UserError

LOOKED_FOR = " ".join(IMAGE_SUFFIXES)
MASKS = "masks"


@dataclass(frozen=True, slots=True)
class Record:
    """One image file with what the source says about it; ``group`` keeps images together when they are split."""

    image: ImageRef
    id: str
    label: int = -1
    mask: ImageRef | None = None
    group: str | None = None


class FileSet:
    """A split over image files, decoded when asked for.

    Args:
        records: one per image.
        image_size: side in pixels of the images given out, or their height and width.
        channels: 1 or 3.
        cache: keep decoded samples in memory.
        crop: share of the shorter side that is kept, centred.
        reading: what the stored values mean.
    """

    def __init__(
        self,
        records: Sequence[Record],
        image_size: Size,
        channels: int,
        cache: bool = False,
        crop: float = 1.0,
        reading: Reading = AS_STORED,
    ):
        self.records = list(records)
        self.labels = torch.tensor([record.label for record in self.records], dtype=torch.int64)
        self.ids = [record.id for record in self.records]
        self.image_size = image_size
        self.channels = channels
        self.crop = crop
        self.reading = reading
        self._cache: dict[int, Sample] | None = {} if cache else None

    def uncached(self) -> FileSet:
        """The same images, none of which is kept: for one pass over them, in memory that does not grow."""
        other = copy.copy(self)
        other._cache = None
        return other

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, index: int) -> Sample:
        """Decode one image.

        Raises:
            UserError: if its file cannot be decoded; the sentence names it.
        """
        index = range(len(self.records))[index]
        if self._cache is None:
            return self._read(self.records[index])
        if index not in self._cache:
            self._cache[index] = self._read(self.records[index])
        return self._cache[index]

    def _read(self, record: Record) -> Sample:
        image = load_image(record.image, self.image_size, self.channels, self.crop, self.reading)
        mask = None if record.mask is None else load_mask(record.mask, self.image_size, self.crop, self.reading.fit)
        return Sample(image, record.label, record.id, mask)


class ImageFiles(FileSet):
    """Images to explain, without labels (-1): one file, or a folder with all that lies below it.

    The id of an image is its path relative to the folder, with its suffix, so that no two are alike; of a single file
    (or one slice, ``scan.nii.gz#12``) it is the name. Grey and colour files may be mixed.

    Raises:
        UserError: if there is no image, or some cannot be read; all of them are listed.
    """

    def __init__(
        self, path: str | Path, image_size: Size, channels: int, crop: float = 1.0, reading: Reading = AS_STORED
    ):
        ref = ImageRef.parse(path)
        self.notes: list[str] = []  # what of the folder was not read
        if ref.path.is_dir():
            found = list_files(ref.path)
            records = [Record(ImageRef(file), path_id(file, ref.path)) for file in found.images]
            if not records:
                raise UserError(f"no image in '{ref.path}' (looked for {LOOKED_FOR}).")
            self.notes = left_out_words(ref.path, found.unread, found.skipped)
        else:
            records = [Record(ref, Path(str(ref)).name)]
        raise_problems(read_headers(records, mixed_channels=True, max_megapixels=reading.max_megapixels)[1])
        super().__init__(records, image_size, channels, crop=crop, reading=reading)


Headers = Mapping[str, Header]  # by the ids of images


def read_headers(
    records: Sequence[Record], *, mixed_channels: bool, max_megapixels: float = math.inf
) -> tuple[Headers, list[str]]:
    """The headers of a source's files, and everything wrong there: missing, damaged, doubled, mask of another size.

    Grey files among colour ones are a problem too, unless ``mixed_channels``: a class that comes as another kind of
    file would be told by that alone.
    """
    headers = dict[str, Header]()
    problems, kinds, seen = [], {1: list[str](), 3: list[str]()}, set()
    for record in records:
        if record.id in seen:
            problems.append(f"'{record.id}' appears more than once: keep one of them.")
        seen.add(record.id)
        if len(problems) >= SHOWN_PROBLEMS and not record.image.path.is_file():
            problems.append(f"no image file '{record.image.path}'")  # a search for its nearest name would not be shown
            continue
        try:
            headers[record.id] = header = read_header(record.image, max_megapixels)
            kinds[header.shape[0]].append(record.id)
            if record.mask is not None:
                problems += _mask_problems(record.image, record.mask, header.shape)
        except UserError as error:
            problems += error.problems
    if kinds[1] and kinds[3] and not mixed_channels:
        problems.append(
            f"grey and colour files are mixed: grey are {few(kinds[1])}; colour are {few(kinds[3])}. Convert them to "
            "one kind, or set `data.mixed_channels=true` to have all of them converted to `data.channels`."
        )
    return headers, problems


def _mask_problems(image: ImageRef, mask: ImageRef, shape: tuple[int, int, int]) -> list[str]:
    mask_shape, shape = _turned_late(mask, image_shape(mask)), _turned_late(image, shape)
    if medical.is_nifti(image.path) and medical.is_nifti(mask.path):
        misfit = medical.nifti_misfit(image.path, mask.path)
        if misfit:
            return [f"mask '{mask}' does not lie over its image '{image}': {misfit}. Resample it to its image."]
    if mask_shape[1:] == shape[1:]:
        return []
    sizes = [f"{width} × {height}" for _, height, width in (mask_shape, shape)]
    turned = " Is it turned by its EXIF orientation, and its mask not?" if mask_shape[1:] == shape[:0:-1] else ""
    return [f"mask '{mask}' has {sizes[0]} pixels, but its image '{image}' has {sizes[1]}.{turned}"]


def _turned_late(ref: ImageRef, shape: tuple[int, int, int]) -> tuple[int, int, int]:
    """The shape of a file that may tell its orientation after its pixels, where its header is not looked for it."""
    if ref.path.suffix.lower() != ".png" or pictures.late_orientation(ref.path) < 5:
        return shape
    return shape[0], shape[2], shape[1]


def is_masks_folder(name: str) -> bool:
    """Whether a folder of this name holds masks, and is no class."""
    return name.lower() == MASKS


def find_masks(root: Path, images: Sequence[Path]) -> tuple[dict[Path, ImageRef], list[str]]:
    """Masks of the parallel tree ``root/masks``: same relative path as the image, any image suffix.

    Returns:
        the mask of each image that has one, and problems: masks that belong to no image.
    """
    folders = [entry for entry in root.iterdir() if is_masks_folder(entry.name) and entry.is_dir()]
    if not folders:
        return {}, []
    if len(folders) > 1:
        return {}, [f"{' and '.join(repr(str(one)) for one in folders)} are both taken for masks: keep one of them."]
    folder = folders[0]
    images_by_stem: dict[str, list[Path]] = {}
    for image in images:
        images_by_stem.setdefault(_stem(image, root), []).append(image)
    masks: dict[Path, ImageRef] = {}
    problems = []
    files = list_images(folder)
    for mask in files:
        owners = images_by_stem.get(_stem(mask, folder), [])
        same_name = [image for image in owners if image.name == mask.name]
        if not owners:
            problems.append(f"mask '{mask}' belongs to no image: its image must have the same path outside '{folder}'.")
        for image in same_name or owners:
            masks.setdefault(image, ImageRef(mask))
    if files and not masks:
        return {}, [
            f"'{folder}' is taken for the masks of the images, but none of its {len(files)} files has the path of an "
            f"image: if '{folder.name}' is a class, call its folder otherwise; else name the masks as their images."
        ]
    return masks, problems


def _stem(path: Path, root: Path) -> str:
    """Relative path without its image suffix, in one form of Unicode: macOS writes ``é`` as two characters."""
    return unicodedata.normalize("NFC", without_suffix(path.relative_to(root).as_posix()))


def make_records(root: Path, labelled: Sequence[tuple[Path, int]], masks: dict[Path, ImageRef]) -> list[Record]:
    """Records of image files with their labels; the id is the path relative to the root."""
    mask_of: Callable[[Path], ImageRef | None] = masks.get if masks else lambda path: None  # to hash a path takes time
    return [Record(ImageRef(path), path_id(path, root), label, mask_of(path)) for path, label in labelled]


def root_folder(config: DataConfig) -> Path:
    """The folder that ``data.path`` names.

    Raises:
        UserError: if it is not set, or is no folder.
    """
    return _data_path(config, "the root folder of the images", "folder", Path.is_dir)


def data_file(config: DataConfig, what: str) -> Path:
    """The file that ``data.path`` names; ``what`` it should be stands in the error.

    Raises:
        UserError: if it is not set, or is no file.
    """
    return _data_path(config, what, "file", Path.is_file)


def check_size(file: Path, size: int, gigabytes: float) -> None:
    """Raise a UserError if a file would take more memory than ``data.max_gigabytes`` allows; ``size`` is in bytes."""
    if size > gigabytes * 1e9:
        raise UserError(
            f"'{file}' takes {size / 1e9:.1f} GB in memory, but data.max_gigabytes allows {gigabytes:g}: raise it if "
            "that is what you expect of this file."
        )


def _data_path(config: DataConfig, what: str, kind: str, is_kind: Callable[[Path], bool]) -> Path:
    if config.path is None:
        raise UserError(f"`data.source={config.source}` needs `data.path`: {what}.")
    path = Path(config.path).expanduser()
    if not is_kind(path):
        raise UserError(f"`data.path`: {missing(path, kind)}")
    return path
