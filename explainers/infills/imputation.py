"""Removed pixels as weighted means of their neighbours: one sparse linear system, solved exactly.

Every removed pixel is the mean of its 8 neighbours with weights 1/6 (edge) and 1/12 (corner), renormalised at the
border of the image, all of them at once. The matrix is the same for all channels.

Reference: Rong et al. 2022 (ROAD), arXiv:2202.00449, noisy linear imputation.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from scipy import sparse
from scipy.sparse import linalg
from torch import Tensor
from torch.nn import functional as F

from cae.errors import UserError

EDGE, CORNER = 1 / 6, 1 / 12
NOISE = 0.01  # standard deviation, of images in [0, 1]
WEIGHTS = ((CORNER, EDGE, CORNER), (EDGE, 0.0, EDGE), (CORNER, EDGE, CORNER))
STEPS = [(dy, dx, WEIGHTS[dy + 1][dx + 1]) for dy in (-1, 0, 1) for dx in (-1, 0, 1) if (dy, dx) != (0, 0)]
TOLERANCE = 1e-4  # of the residual, relative to the right-hand side
MOST_ITERATIONS = 2000


def linear_imputation(image: Tensor, removed: Tensor, noise: Tensor | None = None) -> Tensor:
    """Fill in removed pixels; direct on the CPU, by conjugate gradients on an accelerator.

    Args:
        image: ``(C, H, W)`` in [0, 1].
        removed: ``(N, 1, H, W)`` bool, of each of N fillings.
        noise: ``(N, C, H, W)`` added in removed pixels, before the result is clipped; none by default.

    Returns:
        ``(N, C, H, W)`` in [0, 1]; known pixels as they are.

    Raises:
        UserError: if nothing is left to fill in from.
    """
    if bool(removed.flatten(1).all(1).any()):
        raise UserError("Imputation needs at least one known pixel, but all pixels of an image are removed.")
    if image.device.type == "cpu":
        filled = torch.stack([direct(image, mask[0]) for mask in removed])
    else:
        filled = conjugate_gradients(image, removed)
    if noise is not None:
        filled = filled + noise.to(filled) * removed
    return torch.where(removed, filled.clamp(0, 1), image)


def linear(images: Tensor, removed: Tensor) -> Tensor:
    """``linear_imputation`` without noise, as a fill of any mask: of N images, or of one with N masks."""
    if len(images) == 1:
        return linear_imputation(images[0], removed)
    return torch.cat([linear_imputation(image, mask[None]) for image, mask in zip(images, removed, strict=True)])


def direct(image: Tensor, removed: Tensor) -> Tensor:
    """Solve by sparse factorisation on the CPU: ``(C, H, W)`` for an image of that form and a mask ``(H, W)`` bool."""
    mask = removed.numpy()
    if not mask.any():
        return image.clone()
    pixels = image.double().numpy()
    order = _dissection(*mask.shape)
    unknown = order[mask.ravel()[order]]  # flat places of the unknowns, in the order of elimination
    matrix, right = _system(pixels, mask, unknown)
    # the order is given and the matrix symmetric, positive definite: no pivoting, no other permutation
    factors = linalg.splu(matrix, permc_spec="NATURAL", diag_pivot_thresh=0.0, options={"SymmetricMode": True})
    filled = pixels.reshape(len(pixels), -1).copy()
    filled[:, unknown] = factors.solve(right).T
    return torch.from_numpy(filled.reshape(pixels.shape)).to(image.dtype)


def _system(pixels: np.ndarray, mask: np.ndarray, unknown: np.ndarray) -> tuple[sparse.csc_matrix, np.ndarray]:
    """Matrix ``(n, n)`` (neighbours' weight minus weights) and right-hand sides ``(n, C)``: known neighbours."""
    height, width = mask.shape
    size = len(unknown)
    number = np.full(mask.size, -1)
    number[unknown] = np.arange(size)
    y, x = np.divmod(unknown, width)
    weight = np.zeros(size)
    right = np.zeros((size, len(pixels)))
    rows, columns, values = [np.arange(size)], [np.arange(size)], []
    for dy, dx, share in STEPS:
        inside = np.flatnonzero((y + dy >= 0) & (y + dy < height) & (x + dx >= 0) & (x + dx < width))
        neighbour = (y[inside] + dy) * width + x[inside] + dx
        weight[inside] += share
        known = number[neighbour] < 0
        right[inside[known]] += share * pixels.reshape(len(pixels), -1)[:, neighbour[known]].T
        rows.append(inside[~known])
        columns.append(number[neighbour[~known]])
        values.append(np.full(len(rows[-1]), -share))
    places = (np.concatenate(rows), np.concatenate(columns))
    return sparse.csc_matrix((np.concatenate([weight, *values]), places), shape=(size, size)), right


@lru_cache(maxsize=8)
def _dissection(height: int, width: int) -> np.ndarray:
    """Flat places of a grid by nested dissection: halves first, what separates them last.

    With this order the factors have about half the entries of those under SuperLU's own orders.

    Reference: George 1973, Nested dissection of a regular finite element mesh.
    """

    def ordered(block: np.ndarray) -> list[np.ndarray]:
        if block.size <= 16 or min(block.shape) < 3:
            return [block.ravel()]
        tall = block if block.shape[0] >= block.shape[1] else block.T
        middle = len(tall) // 2
        return [*ordered(tall[:middle]), *ordered(tall[middle + 1 :]), tall[middle]]

    return np.concatenate(ordered(np.arange(height * width).reshape(height, width)))


def conjugate_gradients(image: Tensor, removed: Tensor, tolerance: float = TOLERANCE) -> Tensor:
    """Solve all fillings at once by conjugate gradients with a diagonal preconditioner, started from a pooled pyramid.

    Args:
        image: ``(C, H, W)``.
        removed: ``(N, 1, H, W)`` bool.
        tolerance: of the residual's norm, relative to that of the right-hand side.

    Returns:
        ``(N, C, H, W)``.
    """
    unknown = removed.to(image.dtype)
    kernel = image.new_tensor(WEIGHTS)[None, None]

    def neighbours(values: Tensor) -> Tensor:
        flat = values.reshape(-1, 1, *values.shape[2:])
        return F.conv2d(flat, kernel, padding=1).view_as(values)

    weight = neighbours(torch.ones_like(image[None, :1]))
    right = unknown * neighbours(image * (1 - unknown))
    solution = unknown * pooled_start(image, removed)
    residual = right - unknown * (weight * solution - neighbours(solution))
    scaled = residual / weight
    direction, product = scaled, _dot(residual, scaled)
    limit = tolerance * _dot(right, right).sqrt()
    for _ in range(MOST_ITERATIONS):
        if bool((_dot(residual, residual).sqrt() <= limit).all()):
            break
        moved = unknown * (weight * direction - neighbours(direction))
        # finished systems have a residual of 0: no step, rather than 0/0
        step = product / _dot(direction, moved).clamp_min(1e-30)
        solution = solution + step * direction
        residual = residual - step * moved
        scaled = residual / weight
        following = _dot(residual, scaled)
        direction = scaled + following / product.clamp_min(1e-30) * direction
        product = following
    return torch.where(removed, solution, image)


def _dot(one: Tensor, other: Tensor) -> Tensor:
    """Inner product ``(N, C, 1, 1)`` over the pixels."""
    return (one * other).sum((2, 3), keepdim=True)


def pooled_start(image: Tensor, removed: Tensor) -> Tensor:
    """Each removed pixel as the mean of the known pixels of the smallest pyramid block around it that has any.

    Args:
        image: ``(C, H, W)``.
        removed: ``(N, 1, H, W)`` bool.

    Returns:
        ``(N, C, H, W)``.
    """
    known = (~removed).to(image.dtype)
    height, width = image.shape[1:]
    filled, still_open, side = image * known, removed, 1
    while bool(still_open.any()):
        side *= 2
        margin = (0, -width % side, 0, -height % side)
        total, count = (
            F.interpolate(
                F.avg_pool2d(F.pad(part, margin), side, divisor_override=1), scale_factor=float(side), mode="nearest"
            )[..., :height, :width]
            for part in (image * known, known)
        )
        filled = torch.where(still_open & (count > 0), total / count.clamp_min(1), filled)
        still_open = still_open & (count == 0)
    return filled
