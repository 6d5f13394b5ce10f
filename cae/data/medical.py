"""DICOM and NIfTI images, through pydicom and nibabel (the extra ``medical``)."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from cae.errors import UserError

DICOM_SUFFIXES = (".dcm", ".dicom")
NIFTI_SUFFIXES = (".nii", ".nii.gz")
PERCENTILES = (0.5, 99.5)  # window of a file that brings none


def is_nifti(path: Path) -> bool:
    """Whether the file is a NIfTI one, by its suffix."""
    return path.name.lower().endswith(NIFTI_SUFFIXES)


def is_dicom(path: Path) -> bool:
    """Whether the file is a DICOM one: by its suffix, or by ``DICM`` after the 128 bytes of preamble.

    DICOM files are often named by a number with dots, so that only known suffixes of other kinds settle it.
    """
    if path.name.lower().endswith(DICOM_SUFFIXES):
        return True
    suffix = path.suffix.lower()
    if suffix and not suffix[1:].isdecimal():
        return False
    try:
        with path.open("rb") as file:
            return file.read(132)[128:] == b"DICM"
    except OSError:
        return False


def stretch(values: np.ndarray, low: float | None = None, high: float | None = None) -> np.ndarray:
    """Map ``[low, high]`` (by default the least and largest finite value) to [0, 1], clipped; flat becomes 0."""
    finite = values[np.isfinite(values)]
    low = float(finite.min(initial=np.inf)) if low is None else low
    high = float(finite.max(initial=-np.inf)) if high is None else high
    if not high > low:
        return np.zeros(values.shape, dtype=np.float32)
    scaled = (np.nan_to_num(values, nan=low, posinf=high, neginf=low) - low) / (high - low)
    return np.clip(scaled, 0, 1).astype(np.float32)


def _pydicom() -> ModuleType:
    try:
        import pydicom
    except ImportError as error:
        raise UserError('reading DICOM files needs pydicom: pip install "cae-explain[medical]"') from error
    return pydicom


def _nibabel() -> ModuleType:
    try:
        import nibabel
    except ImportError as error:
        raise UserError('reading NIfTI files needs nibabel: pip install "cae-explain[medical]"') from error
    return nibabel


def _choose(path: Path, index: int | None, count: int) -> int:
    """The slice or frame to read: the wanted one, else the middle."""
    if index is None:
        return count // 2
    if index >= count:
        raise UserError(f"'{path}#{index}': the file has {count} slice(s), 0 to {count - 1}.")
    return index


def dicom_shape(path: Path, frame: int | None = None) -> tuple[int, int, int]:
    """``(C, H, W)`` of a DICOM image, from its header."""
    header = _pydicom().dcmread(path, stop_before_pixels=True)
    if "Rows" not in header or "Columns" not in header:
        raise UserError(f"cannot read the image '{path}': the DICOM file holds no image.")
    _choose(path, frame, int(header.get("NumberOfFrames") or 1))
    colour = header.get("SamplesPerPixel", 1) == 3 or header.get("PhotometricInterpretation") == "PALETTE COLOR"
    return (3 if colour else 1, int(header.Rows), int(header.Columns))


def dicom_frame(path: Path, frame: int | None = None) -> tuple[Any, np.ndarray]:
    """The data set and the stored values of one frame, the middle one by default: ``(H, W)`` or ``(H, W, 3)``."""
    dataset = _pydicom().dcmread(path)
    pixels = dataset.pixel_array
    frames = int(dataset.get("NumberOfFrames") or 1)
    index = _choose(path, frame, frames)
    return dataset, pixels[index] if frames > 1 else pixels


def read_dicom(path: Path, frame: int | None = None) -> np.ndarray:
    """One DICOM image after rescaling and windowing: ``(C, H, W)`` float32 in [0, 1].

    The first window of the file is used; without one, 8-bit values are divided by 255 and others stretched between
    their 0.5 and 99.5 percentiles. MONOCHROME1, whose largest values are black, is inverted.

    Reference: DICOM PS3.3 C.11.1 (rescale) and C.11.2.1.2 (window).
    """
    dataset, pixels = dicom_frame(path, frame)
    if dataset.get("PhotometricInterpretation") == "PALETTE COLOR":
        from pydicom.pixels import apply_color_lut

        pixels = apply_color_lut(pixels, dataset)
        return stretch(pixels, 0, np.iinfo(pixels.dtype).max).transpose(2, 0, 1)
    if pixels.ndim == 3:  # pydicom 3 has converted YBR to RGB
        return stretch(pixels, 0, 2 ** int(dataset.BitsStored) - 1).transpose(2, 0, 1)
    slope, intercept = float(dataset.get("RescaleSlope", 1) or 1), float(dataset.get("RescaleIntercept", 0) or 0)
    values = _window(pixels.astype(np.float32) * slope + intercept, dataset)
    return (1 - values if dataset.get("PhotometricInterpretation") == "MONOCHROME1" else values)[None]


def _first(value: Any) -> float:
    """The first of a DICOM value of one or more parts."""
    return float(value) if not hasattr(value, "__len__") or isinstance(value, str) else float(value[0])


def _window(values: np.ndarray, dataset: Any) -> np.ndarray:
    """Map rescaled values to [0, 1] by the file's window (DICOM PS3.3 C.11.2.1.2 and C.11.2.1.3)."""
    if dataset.get("WindowCenter") in (None, "") or dataset.get("WindowWidth") in (None, ""):
        if dataset.BitsStored == 8 and dataset.get("PixelRepresentation", 0) == 0 and values.max(initial=0) <= 255:
            return stretch(values, 0, 255)
        return stretch(values, *_percentile_window(values))
    centre, width = _first(dataset.WindowCenter), _first(dataset.WindowWidth)
    function = dataset.get("VOILUTFunction", "LINEAR") or "LINEAR"
    if function == "SIGMOID":
        return 1 / (1 + np.exp(-4 * (values - centre) / width))
    if function == "LINEAR_EXACT":
        return stretch(values, centre - width / 2, centre + width / 2)
    if width <= 1:  # the standard's window of one value is a threshold
        return (values > centre - 0.5).astype(np.float32)
    return stretch(values, centre - 0.5 - (width - 1) / 2, centre - 0.5 + (width - 1) / 2)


def nifti_shape(path: Path, index: int | None = None) -> tuple[int, int, int]:
    """``(C, H, W)`` of a NIfTI slice, from its header."""
    volume = _nibabel().load(path)
    _choose(path, index, _depth(path, volume))
    width, height = volume.shape[:2]
    return (3 if volume.get_data_dtype().names else 1, height, width)


def _depth(path: Path, volume: Any) -> int:
    if len(volume.shape) < 2 or 0 in volume.shape:
        raise UserError(f"cannot read the image '{path}': a NIfTI file of shape {volume.shape} holds no image.")
    return volume.shape[2] if len(volume.shape) > 2 else 1


def nifti_slice(path: Path, index: int | None = None) -> np.ndarray:
    """Stored values (scaled by the header) of a slice, the middle one by default: ``(H, W)`` or ``(H, W, 3)``.

    Slices are counted on the third axis as stored, which is the last of a volume; of a time series the first volume is
    taken. The first axis runs to the right and the second upwards, as viewers show it.
    """
    volume = _nibabel().load(path)
    chosen = _choose(path, index, _depth(path, volume))
    extra = (0,) * (len(volume.shape) - 3)
    where = (slice(None), slice(None), chosen, *extra)[: len(volume.shape)]
    values = np.asarray(volume.dataobj[where])
    if values.dtype.names:
        values = np.stack([values[name] for name in values.dtype.names[:3]], axis=-1)
    return np.rot90(values)


def read_nifti(path: Path, index: int | None = None) -> np.ndarray:
    """One NIfTI slice after windowing: ``(C, H, W)`` float32 in [0, 1].

    The window is the header's ``cal_min`` to ``cal_max`` or, without them, the 0.5 and 99.5 percentiles of the whole
    volume, so that the slices of one volume stay comparable.
    """
    values = nifti_slice(path, index)
    if values.ndim == 3:
        return stretch(values, 0, 255).transpose(2, 0, 1)
    state = path.stat()
    return stretch(values.astype(np.float32), *_nifti_window(path, state.st_mtime_ns, state.st_size))[None]


@lru_cache(maxsize=4096)
def _nifti_window(path: Path, changed: int, size: int) -> tuple[float, float]:
    """Window of a volume; ``changed`` and ``size`` tell a rewritten file from the one remembered."""
    volume = _nibabel().load(path)
    low, high = float(volume.header["cal_min"]), float(volume.header["cal_max"])
    if high > low:
        return low, high
    return _percentile_window(np.asarray(volume.dataobj, dtype=np.float32))


def _percentile_window(values: np.ndarray) -> tuple[float, float]:
    """The 0.5 and 99.5 percentiles, or the whole range where almost all values are the same."""
    finite = values[np.isfinite(values)]
    if not finite.size:
        return 0.0, 1.0
    low, high = np.percentile(finite, PERCENTILES)
    return (float(low), float(high)) if high > low else (float(finite.min()), float(finite.max()))
