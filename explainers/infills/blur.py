"""The Gaussian blur that fills, orders and compositions share."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def gaussian_blur(planes: Tensor, sigma: float, radius: int, border: str = "replicate") -> Tensor:
    """Planes ``(..., H, W)`` under a Gaussian of standard deviation ``sigma`` pixels, of the same shape.

    Args:
        planes: any number of them, floating point.
        sigma: larger than 0.
        radius: pixels from its centre after which the kernel, which sums to 1, is cut off.
        border: what lies beyond: ``replicate`` the nearest pixel, ``reflect`` the image mirrored (the radius is then
            limited to the side less 1), ``constant`` zeros.
    """
    flat = planes.reshape(-1, 1, *planes.shape[-2:])
    for axis in (3, 2):
        reach = min(radius, flat.shape[axis] - 1) if border == "reflect" else radius
        offsets = torch.arange(-reach, reach + 1, dtype=planes.dtype, device=planes.device)
        kernel = torch.exp(-(offsets**2) / (2 * sigma**2))
        kernel = (kernel / kernel.sum()).reshape(1, 1, *((1, -1) if axis == 3 else (-1, 1)))
        padding = (reach, reach, 0, 0) if axis == 3 else (0, 0, reach, reach)
        flat = F.conv2d(F.pad(flat, padding, mode=border), kernel)
    return flat.reshape(planes.shape)
