"""Scores of explanations that are pictures: invented edges, conciseness for the precision kept, expected precision.

All scores read the picture as it is. The published code divides it by its maximum first, which makes edges of what
nobody sees; a caller who wants that divides before.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from cae.errors import UserError, did_you_mean
from explainers.transforms.representation import energy_entropy
from explainers.transforms.shearlet import ShearletSystem, default_levels, default_scales, half_spectrum
from explainers.transforms.wavelet import wavelet_system

CONTRAST = 0.035  # height of the least step that counts as an edge, of an image in [0, 1]
_RADIUS = 4  # pixels, of the Gaussian of standard deviation 1
_PHASE_SCALES = 3  # octaves that must agree on an edge


def gradient_edges(grey: Tensor, contrast: float = CONTRAST) -> Tensor:
    """Edges by the derivative of a Gaussian of 1 pixel, thinned to its ridges.

    Args:
        grey: ``(H, W)`` in [0, 1].
        contrast: a step of this height passes the threshold in the continuous limit.

    Returns:
        ``(H, W)`` bool.

    Reference: Canny 1986, "A computational approach to edge detection", without hysteresis.
    """
    places = torch.arange(-_RADIUS, _RADIUS + 1, dtype=grey.dtype, device=grey.device)
    smooth = (-places.square() / 2).exp()
    smooth = smooth / smooth.sum()
    slope = places * smooth
    slope = slope / (slope * places).sum()  # a ramp of slope 1 answers 1
    padded = F.pad(grey[None, None], (_RADIUS,) * 4, mode="replicate")
    across = F.conv2d(padded, (smooth[:, None] * slope)[None, None])[0, 0]
    down = F.conv2d(padded, (slope[:, None] * smooth)[None, None])[0, 0]
    strength = torch.hypot(across, down)
    return _ridges(strength, across, down) & (strength > contrast / math.sqrt(2 * math.pi))


def _ridges(strength: Tensor, across: Tensor, down: Tensor) -> Tensor:
    """Pixels whose strength is not exceeded by their neighbours up and down the slope, in one of four directions."""
    height, width = strength.shape
    padded = F.pad(strength[None, None], (1, 1, 1, 1))[0, 0]
    octant = (torch.atan2(down, across) / (math.pi / 4)).round().long().remainder(4)
    ridge = torch.zeros_like(strength, dtype=torch.bool)
    for direction, (y, x) in enumerate(((0, 1), (1, 1), (1, 0), (1, -1))):
        ahead = padded[1 + y : 1 + y + height, 1 + x : 1 + x + width]
        behind = padded[1 - y : 1 - y + height, 1 - x : 1 - x + width]
        # a step between two pixels answers alike on both: the strict side takes one of them, up to rounding
        top = (strength >= ahead) & (strength > behind * (1 + 1e-5))
        ridge |= top & (octant == direction)
    return ridge


def canny_edges(grey: Tensor, contrast: float = CONTRAST) -> Tensor:
    """Edges ``(H, W)`` bool of a picture ``(H, W)`` by scikit-image's Canny, hysteresis included."""
    from skimage.feature import canny

    # a step of 1 under a Gaussian of 1 pixel and the unscaled Sobel filter
    height = 2.5 * contrast
    picture = grey.detach().cpu().double().numpy()
    found = canny(picture, sigma=1, low_threshold=height / 2, high_threshold=height)
    return torch.from_numpy(found).to(grey.device)


def shearlet_edges(grey: Tensor, contrast: float = CONTRAST) -> Tensor:
    """Edges by phase: where odd shearlets of three scales agree in one direction, and even ones stay silent.

    Our own detector after the idea of the published one, on the undecimated system of this project.

    Args:
        grey: ``(H, W)`` in [0, 1].
        contrast: least height of a step, relative to a straight one of height 1.

    Returns:
        ``(H, W)`` bool, lines of one to three pixels. Blurred edges need two to three times the contrast.

    Reference: Reisenhofer and King 2019, "Edge, ridge, and blob detection with symmetric molecules", arXiv:1901.09723.
    """
    height, width = grey.shape
    # mirrored, so that opposite borders do not meet in an edge
    mirrored = torch.cat([grey, grey.flip(0)], 0)
    mirrored = torch.cat([mirrored, mirrored.flip(1)], 1)
    system, odd = _molecules(2 * height, 2 * width, grey.dtype, grey.device)
    return (_congruency(mirrored, system, odd)[:height, :width] / _unit_step(grey.dtype)) > contrast


def _congruency(grey: Tensor, system: ShearletSystem, odd: Tensor) -> Tensor:
    """How well the finest scales agree on an edge ``(H, W)``, the best direction's.

    The weakest odd response, where all have one sign, less the even ones. A sum instead of the weakest would show the
    ringing of each scale beside strong edges.
    """
    height, width = system.shape
    spectrum = torch.fft.rfft2(grey, norm="ortho")
    best = torch.full_like(grey, -math.inf)
    finest = 4 * 2 ** system.levels[-1]
    first = [1 + sum(4 * 2**level for level in system.levels[:j]) for j in range(len(system.levels))]
    filters = torch.cat([group.filters for group in system.groups])
    for k in range(finest):
        # the band of each scale whose window holds this direction
        bands = [start + k * 4 * 2**level // finest for start, level in zip(first, system.levels, strict=True)]
        chosen = spectrum * filters[bands[-_PHASE_SCALES:]]
        even = torch.fft.irfft2(chosen, (height, width), norm="ortho")
        odds = torch.fft.irfft2(torch.complex(chosen.imag, -chosen.real) * odd[k], (height, width), norm="ortho")
        agree = odds.sign().sum(0).abs() == len(odds)
        best = torch.maximum(best, agree * len(odds) * odds.abs().amin(0) - even.abs().sum(0))
    return best


@lru_cache(maxsize=2)
def _molecules(height: int, width: int, dtype: torch.dtype, device: torch.device) -> tuple[ShearletSystem, Tensor]:
    """The undecimated system, and for each finest direction the sign of frequencies along its normal."""
    levels = default_levels(default_scales(height, width))
    system = ShearletSystem(height, width, levels, False, dtype, device)
    sx, sy = half_spectrum(height, width)
    count = 4 * 2 ** levels[-1]
    signs = []
    for k in range(count):
        slope = 4 * k / count
        slope = slope - 4 if slope > 3 else slope
        normal = (1.0, slope) if slope <= 1 else (2 - slope, 1.0)
        signs.append((normal[0] * sx + normal[1] * sy).sign())
    return system, torch.stack(signs).to(device, dtype)


@lru_cache(maxsize=2)
def _unit_step(dtype: torch.dtype) -> float:
    """What a straight step of height 1 answers."""
    step = torch.zeros(128, 128, dtype=dtype)
    step[:, 64:] = 1
    system, odd = _molecules(256, 256, dtype, torch.device("cpu"))
    wide = torch.cat([step, step.flip(0)], 0)
    return float(_congruency(torch.cat([wide, wide.flip(1)], 1), system, odd)[32:96, 48:80].max())


DETECTORS: dict[str, Callable[..., Tensor]] = {
    "gradient": gradient_edges,
    "shearlet": shearlet_edges,
    "canny": canny_edges,
}


def edges(picture: Tensor, detector: str = "gradient", contrast: float = CONTRAST) -> Tensor:
    """Edges ``(H, W)`` bool of a picture ``(C, H, W)`` by the detector of a name: gradient, shearlet or canny.

    Raises:
        UserError: for an unknown name.
    """
    if detector not in DETECTORS:
        raise UserError(
            f"`detector` must be one of {', '.join(DETECTORS)}, but is {detector!r}{did_you_mean(detector, DETECTORS)}."
        )
    return DETECTORS[detector](picture.mean(0), contrast)


def hallucinated_edges(of_explanation: Tensor, of_image: Tensor) -> Tensor:
    """Edges ``(H, W)`` of the explanation that are more than one pixel away from every edge of the image."""
    near = F.max_pool2d(of_image[None, None].float(), 3, 1, 1)[0, 0] > 0
    return of_explanation & ~near


def hallucination_score(of_explanation: Tensor, of_image: Tensor) -> float | None:
    """Edge pixels that the explanation invents, over those of the image; None for an image without edges.

    Args:
        of_explanation: ``(H, W)`` bool.
        of_image: ``(H, W)`` bool, by the same detector.

    Reference: Kolek et al. 2023, arXiv:2211.12857, section 4.
    """
    count = int(of_image.sum())
    return int(hallucinated_edges(of_explanation, of_image).sum()) / count if count else None


def conciseness_preciseness(retained: float, kept: float, capped: bool = False) -> float:
    """Share of the probability retained over share of the information kept; grows with ``retained`` unless capped at 1.

    >>> conciseness_preciseness(0.9, 0.3)
    3.0

    Reference: Kolek et al. 2023, arXiv:2211.12857, CP score.
    """
    return (min(1.0, retained) if capped else retained) / max(kept, 1e-12)


def expected_precision(probabilities: Tensor, image_probability: float) -> float:
    """Mean probability of the target over fresh fills of what was removed, relative to the image's.

    Args:
        probabilities: ``(S,)``, one per fill.
        image_probability: in (0, 1].
    """
    return float(probabilities.mean()) / max(image_probability, 1e-12)


def wavelet_yardstick(explanation: Tensor, image: Tensor) -> tuple[float, float]:
    """Shares that a picture ``(C, H, W)`` has of an image's l1 norm and energy entropy in wavelets.

    One yardstick for all methods, whatever they mask: orthonormal periodised db3 where the size allows.
    """
    system = wavelet_system(*image.shape[-2:], dtype=image.dtype, device=image.device)
    mine, whole = system.analyse(explanation), system.analyse(image)
    entropy = float(energy_entropy(whole))
    share = float(mine.abs().sum() / whole.abs().sum().clamp_min(1e-12))
    return share, float(energy_entropy(mine)) / entropy if entropy > 0 else 1.0
