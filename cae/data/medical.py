"""DICOM and NIfTI images, through pydicom and nibabel (the extra ``medical``)."""

from __future__ import annotations

import math
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from cae.errors import UserError

DICOM_SUFFIXES = (".dcm", ".dicom", ".ima")  # the last is Siemens'
NIFTI_SUFFIXES = (".nii", ".nii.gz")
MOST_VALUES = 1 << 28  # of a volume that are looked at together, 1 GB
PERCENTILES = (0.5, 99.5)  # window of a file that brings none
FUNCTIONAL_GROUPS = {
    "PixelValueTransformationSequence": ("RescaleSlope", "RescaleIntercept"),
    "FrameVOILUTSequence": ("WindowCenter", "WindowWidth", "VOILUTFunction"),
}


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
    if not path.is_file():  # a pipe would be waited for
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


def _dataset(path: Path, **options: Any) -> Any:
    """What pydicom reads of a file.

    Raises:
        UserError: if it is no DICOM file, in words that need no knowledge of pydicom.
    """
    pydicom = _pydicom()
    try:
        return pydicom.dcmread(path, **options)
    except pydicom.errors.InvalidDicomError as error:
        raise UserError(
            f"cannot read the image '{path}': it is no DICOM file, as the mark DICM after its first 128 bytes is "
            "missing; write it anew as a DICOM file, or give it the suffix of what it is."
        ) from error


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
    header = _dataset(path, stop_before_pixels=True)
    if "Rows" not in header or "Columns" not in header:
        raise UserError(f"cannot read the image '{path}': the DICOM file holds no image.")
    _choose(path, frame, int(header.get("NumberOfFrames") or 1))
    colour = header.get("SamplesPerPixel", 1) == 3 or header.get("PhotometricInterpretation") == "PALETTE COLOR"
    return (3 if colour else 1, int(header.Rows), int(header.Columns))


def dicom_frame(path: Path, frame: int | None = None) -> tuple[Any, np.ndarray]:
    """The data set and the stored values of one frame, the middle one by default: ``(H, W)`` or ``(H, W, 3)``."""
    dataset = _dataset(path)
    index = _choose(path, frame, int(dataset.get("NumberOfFrames") or 1))
    _take_from_groups(dataset, index)
    from pydicom.pixels import pixel_array

    # alone: a small file may hold thousands of large compressed ones
    return dataset, pixel_array(dataset, index=index)


def _take_from_groups(dataset: Any, frame: int) -> None:
    """Bring rescaling and window of a frame to the top of an enhanced data set, where others have them.

    Reference: DICOM PS3.3 C.7.6.16.2.9 (pixel value transformation) and C.7.6.16.2.10 (frame VOI LUT).
    """
    each = dataset.get("PerFrameFunctionalGroupsSequence") or ()
    groups = [*(dataset.get("SharedFunctionalGroupsSequence") or ())[:1], *each[frame : frame + 1]]
    for sequence, names in FUNCTIONAL_GROUPS.items():
        for item in (group[sequence].value[0] for group in groups if group.get(sequence)):
            for name in names:
                if item.get(name) is not None:
                    setattr(dataset, name, item.get(name))


def patient(path: Path) -> str:
    """The PatientID of a DICOM file; empty where it brings none."""
    return str(_dataset(path, stop_before_pixels=True, specific_tags=["PatientID"]).get("PatientID") or "")


def read_dicom(path: Path, frame: int | None = None, levels: tuple[float, float] | None = None) -> np.ndarray:
    """One DICOM image after rescaling and windowing: ``(C, H, W)`` float32 in [0, 1].

    Modality LUT or rescaling come first, then the first window of the file or else its VOI LUT. Without either, 8-bit
    values are divided by 255 and others stretched between ``levels``, by default their 0.5 and 99.5 percentiles. What
    the file presents with its largest values black (MONOCHROME1, or an inverse presentation LUT) is inverted.

    Reference: DICOM PS3.3 C.11.1 (modality LUT and rescale), C.11.2.1.2 (window), C.11.6 (presentation LUT shape).
    """
    dataset, pixels = dicom_frame(path, frame)
    if dataset.get("PhotometricInterpretation") == "PALETTE COLOR":
        from pydicom.pixels import apply_color_lut

        pixels = apply_color_lut(pixels, dataset)
        return stretch(pixels, 0, np.iinfo(pixels.dtype).max).transpose(2, 0, 1)
    if pixels.ndim == 3:  # pydicom 3 has converted YBR to RGB
        return stretch(pixels, 0, 2 ** int(dataset.BitsStored) - 1).transpose(2, 0, 1)
    values = _window(_modality_values(pixels, dataset), dataset, levels)
    inverse = dataset.get("PhotometricInterpretation") == "MONOCHROME1"
    inverse = inverse or dataset.get("PresentationLUTShape") == "INVERSE"
    return (1 - values if inverse else values)[None]


def _modality_values(pixels: np.ndarray, dataset: Any) -> np.ndarray:
    """Stored values of a grey image as the modality means them, float32 (DICOM PS3.3 C.11.1)."""
    if dataset.get("ModalityLUTSequence"):
        from pydicom.pixels import apply_modality_lut

        return np.asarray(apply_modality_lut(pixels, dataset), dtype=np.float32)
    pixels = _without_padding(pixels, dataset)
    slope, intercept = float(dataset.get("RescaleSlope", 1) or 1), float(dataset.get("RescaleIntercept", 0) or 0)
    return pixels.astype(np.float32) * slope + intercept


def _without_padding(pixels: np.ndarray, dataset: Any) -> np.ndarray:
    """Stored values in which those that only fill up the picture are what shows as black: they mean no level.

    Reference: DICOM PS3.3 C.7.5.1.1.2 (pixel padding value and its range limit).
    """
    value = dataset.get("PixelPaddingValue")
    if value in (None, ""):
        return pixels
    low, high = sorted((int(value), int(dataset.get("PixelPaddingRangeLimit", value))))
    padded = (pixels >= low) & (pixels <= high)
    if not padded.any() or padded.all():
        return pixels
    least = dataset.get("PhotometricInterpretation") != "MONOCHROME1"
    kept = pixels[~padded]
    return np.where(padded, kept.min() if least else kept.max(), pixels)


def dicom_percentiles(path: Path, frame: int | None = None) -> tuple[float, float] | None:
    """The window that is read from the values of a DICOM file which brings none; None for every other file."""
    dataset, pixels = dicom_frame(path, frame)
    if pixels.ndim == 3 or dataset.get("PhotometricInterpretation") == "PALETTE COLOR":
        return None
    values = _modality_values(pixels, dataset)
    return None if _has_window(dataset) or _is_plain(values, dataset) else _percentile_window(values)


def _has_window(dataset: Any) -> bool:
    centre_and_width = [dataset.get(name) not in (None, "") for name in ("WindowCenter", "WindowWidth")]
    return all(centre_and_width) or bool(dataset.get("VOILUTSequence"))


def _is_plain(values: np.ndarray, dataset: Any) -> bool:
    """Whether values are 8-bit ones that mean 0 for black and 255 for white."""
    return dataset.BitsStored == 8 and dataset.get("PixelRepresentation", 0) == 0 and values.max(initial=0) <= 255


def _first(value: Any) -> float:
    """The first of a DICOM value of one or more parts."""
    return float(value) if not hasattr(value, "__len__") or isinstance(value, str) else float(value[0])


def _window(values: np.ndarray, dataset: Any, levels: tuple[float, float] | None) -> np.ndarray:
    """Map modality values to [0, 1] by the file's window (DICOM PS3.3 C.11.2.1.2 and C.11.2.1.3), LUT or levels."""
    if not _has_window(dataset):
        if _is_plain(values, dataset):
            return stretch(values, 0, 255)
        return stretch(values, *(levels or _percentile_window(values)))
    if dataset.get("WindowCenter") in (None, "") or dataset.get("WindowWidth") in (None, ""):
        from pydicom.pixels import apply_voi

        bits = int(dataset.VOILUTSequence[0].LUTDescriptor[2])
        return stretch(apply_voi(values.astype(np.int64), dataset), 0, 2**bits - 1)
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
    axes = _canonical_axes(path, volume)
    _choose(path, index, _depth(volume, axes))
    width, height = (volume.shape[axis] for axis, _ in axes[:2])
    return (3 if volume.get_data_dtype().names else 1, height, width)


def _canonical_axes(path: Path, volume: Any) -> list[tuple[int, bool]]:
    """Which stored axis runs to the patient's right, front and top, and whether it is stored the other way round.

    A volume whose header tells no orientation, and a single image, are taken as they are stored.
    """
    if len(volume.shape) < 2 or 0 in volume.shape:
        raise UserError(f"cannot read the image '{path}': a NIfTI file of shape {volume.shape} holds no image.")
    if len(volume.shape) == 2 or not _is_oriented(volume):
        return [(axis, False) for axis in range(min(len(volume.shape), 3))]
    found = _nibabel().orientations.io_orientation(volume.affine)
    if not np.isfinite(found).all():
        return [(axis, False) for axis in range(3)]
    axes = {int(canonical): (stored, bool(flip < 0)) for stored, (canonical, flip) in enumerate(found)}
    return [axes[canonical] for canonical in range(3)]


def _is_oriented(volume: Any) -> bool:
    return any(int(volume.header[code]) > 0 for code in ("sform_code", "qform_code"))


def _depth(volume: Any, axes: list[tuple[int, bool]]) -> int:
    return volume.shape[axes[2][0]] if len(axes) > 2 else 1


def nifti_slice(path: Path, index: int | None = None) -> np.ndarray:
    """Stored values (scaled by the header) of an axial slice, the middle one by default: ``(H, W)`` or ``(H, W, 3)``.

    Whatever the order in which a volume is stored, its slices are counted from the feet up, the patient's right side is
    on the right, the front up; of a time series the first volume is taken.
    """
    volume = _nibabel().load(path)
    axes = _canonical_axes(path, volume)
    chosen = _choose(path, index, _depth(volume, axes))
    where: list[slice | int] = [slice(None)] * min(len(volume.shape), 3) + [0] * (len(volume.shape) - 3)
    if len(axes) > 2:
        axis, flipped = axes[2]
        where[axis] = volume.shape[axis] - 1 - chosen if flipped else chosen
    if volume.get_data_dtype().kind == "c":
        raise UserError(
            f"cannot read the image '{path}': it holds complex numbers; save their magnitude as a volume of its own."
        )
    values = np.asarray(volume.dataobj[tuple(where)])
    if values.dtype.names:
        values = np.stack([values[name] for name in values.dtype.names[:3]], axis=-1)
    (first, first_flipped), (second, second_flipped) = axes[:2]
    if first > second:
        values = values.swapaxes(0, 1)
    values = values[:: -1 if first_flipped else 1, :: -1 if second_flipped else 1]
    return np.rot90(values)


def nifti_misfit(image: Path, mask: Path) -> str:
    """Why the voxels of a mask do not lie on those of its image, as the end of a sentence; empty where they do."""
    volumes = [_nibabel().load(path) for path in (image, mask)]
    if any(len(volume.shape) < 3 for volume in volumes):
        return ""
    orders = [_canonical_axes(path, volume) for path, volume in zip((image, mask), volumes, strict=True)]
    oriented = [_is_oriented(volume) for volume in volumes]
    if oriented[0] != oriented[1]:
        if orders[0] == orders[1]:
            return ""  # what tells no orientation is taken as stored, which is here the order of the other
        return f"the header of the {'mask' if oriented[0] else 'image'} tells no orientation, the other one does"
    if not oriented[0]:
        return ""
    frames = [_nibabel().as_closest_canonical(volume).affine for volume in volumes]
    spacing = np.linalg.norm(frames[0][:3, :3], axis=0)
    corners = np.array([[0, 0, 0, 1], [*(volumes[0].shape[axis] - 1 for axis, _ in orders[0]), 1]], dtype=float)
    distance = np.abs((corners @ (frames[0] - frames[1]).T)[:, :3]).max(initial=0) / max(spacing.min(), 1e-9)
    return f"they lie {distance:.3g} voxels apart in space" if distance > 0.5 else ""


def read_nifti(path: Path, index: int | None = None, levels: tuple[float, float] | None = None) -> np.ndarray:
    """One NIfTI slice after windowing: ``(C, H, W)`` float32 in [0, 1].

    The window is the header's ``cal_min`` to ``cal_max`` or, without them, ``levels``, by default the 0.5 and 99.5
    percentiles of the whole volume (of one that would fill memory, of slices spread over it), so that its slices stay
    comparable.
    """
    values = nifti_slice(path, index)
    if values.ndim == 3:
        return stretch(values, 0, 255).transpose(2, 0, 1)
    window = _nifti_calibration(path) or levels or nifti_percentiles(path)
    return stretch(values.astype(np.float32), *(window or ()))[None]


def _nifti_calibration(path: Path) -> tuple[float, float] | None:
    """The window that the header brings."""
    header = _nibabel().load(path).header
    low, high = float(header["cal_min"]), float(header["cal_max"])
    return (low, high) if high > low else None


def nifti_percentiles(path: Path) -> tuple[float, float] | None:
    """The window that is read from the values of a grey volume which brings none; None for every other."""
    if _nibabel().load(path).get_data_dtype().names or _nifti_calibration(path):
        return None
    state = path.stat()
    return _volume_window(path, state.st_mtime_ns, state.st_size)


@lru_cache(maxsize=4096)
def _volume_window(path: Path, changed: int, size: int) -> tuple[float, float]:
    """Window of a volume's values; ``changed`` and ``size`` tell a rewritten file from the one remembered."""
    volume = _nibabel().load(path)
    depth, most = volume.shape[-1], max(1, MOST_VALUES // math.prod(volume.shape[:-1]))
    if len(volume.shape) < 3 or depth <= most:
        return _percentile_window(np.asarray(volume.dataobj, dtype=np.float32))
    chosen = np.linspace(0, depth - 1, most).round().astype(int).tolist()
    return _percentile_window(np.stack([np.asarray(volume.dataobj[..., k], dtype=np.float32) for k in chosen]))


def _percentile_window(values: np.ndarray) -> tuple[float, float]:
    """The 0.5 and 99.5 percentiles, or the whole range where almost all values are the same."""
    finite = values[np.isfinite(values)]
    if not finite.size:
        return 0.0, 1.0
    low, high = np.percentile(finite, PERCENTILES)
    return (float(low), float(high)) if high > low else (float(finite.min()), float(finite.max()))
