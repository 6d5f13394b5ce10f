"""Latent shift: the code of an auto-encoder is moved along the gradient of the classifier, as far as it takes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from cae.data.selection import evenly_spread
from cae.generators.base import Generated, Generator
from cae.generators.search import real_change, smallest_share
from cae.metrics.log_odds import log_odds_of_each
from cae.models.cae import CAE

FIRST = 0.01  # length of the first shift that is tried, in lengths of the code itself
DOUBLINGS = 14
HALVINGS = 8
REAL_PAIRS = 500  # training images that tell by how much real ones differ

Codes = tuple[Tensor, ...]  # each (B, …)
Decode = Callable[[Codes], Tensor]


def shift_direction(decode: Decode, log_odds_of: Callable[[Tensor], Tensor], codes: Codes) -> Codes:
    """``∂f_t(D(z)) / ∂z`` at the codes of B images, scaled for each to the length of its code.

    Args:
        decode: D, of codes to images ``(B, C, H, W)``.
        log_odds_of: differentiable, of images to ``(B,)``, whose gradient points where f_t's does.
        codes: z, in one part or several.

    Returns:
        one tensor for each part of the code; zero where the gradient is.

    Reference: Cohen et al. 2021, arXiv:2102.09475.
    """
    with torch.enable_grad():
        leaves = [part.detach().clone().requires_grad_() for part in codes]
        gradients = torch.autograd.grad(log_odds_of(decode(tuple(leaves))).sum(), leaves)
    lengths, slopes = (
        torch.stack([part.flatten(1).norm(dim=1) for part in parts]).norm(dim=0) for parts in (codes, gradients)
    )
    scale = torch.where(slopes > 0, lengths / slopes.clamp_min(1e-30), torch.zeros_like(slopes))
    return tuple(gradient * _as_column(scale, gradient) for gradient in gradients)


def shifted(codes: Codes, direction: Codes, shares: Tensor) -> Codes:
    """``z + λ d``, with ``shares (B,)`` for λ."""
    return tuple(z + _as_column(shares, z) * d for z, d in zip(codes, direction, strict=True))


def _as_column(values: Tensor, like: Tensor) -> Tensor:
    return values.view(-1, *[1] * (like.ndim - 1)).to(like)


class LatentShift(Generator):
    """``D(z + λ ∂f_t(D(z))/∂z)``, the smallest λ found whose image reaches the margin, by doubling and bisection.

    The search ends where the image has changed by more than 95 % of pairs of training images differ. The auto-encoder
    is the run's own: of our embedding, z is the individual code and D the trunk, which draws without any class code; of
    the published one, z is both codes. The paper's auto-encoder knows no classes either.

    Reference: Cohen et al. 2021, arXiv:2102.09475 (Gifsplanation).
    """

    words = "latent shift of the run's auto-encoder"
    needs_gradients = True

    @property
    def parameters(self) -> dict[str, Any]:
        """The search, and whose auto-encoder it is."""
        search = {"first": FIRST, "doublings": DOUBLINGS, "halvings": HALVINGS, "real_pairs": REAL_PAIRS}
        return {**search, "cae": self.run.fingerprints["cae"]}

    def prepare(self, folder: Path) -> None:
        """Measure by how much real images differ."""
        self.bound = real_change(evenly_spread(self.run.data.train, REAL_PAIRS), seed=self.seed)

    def generate(self, images: Tensor, targets: Tensor) -> Generated:
        """Shifted reconstructions; their change is against the reconstructions."""
        codes, passes = self._codes(images), torch.full((len(images),), 2)  # D of z, and its gradient
        bases = self._decode(codes)
        direction = shift_direction(
            self._decode, lambda x: log_odds_of_each(self.run.classifier.logits(x), targets), codes
        )

        def image(shares: Tensor, rows: Tensor) -> Tensor:
            passes.scatter_add_(0, rows.cpu(), torch.ones(len(rows), dtype=torch.int64))
            return self._decode(shifted(tuple(z[rows] for z in codes), tuple(d[rows] for d in direction), shares))

        def reached(shares: Tensor, rows: Tensor) -> Tensor:
            return self.reached(image(shares, rows), targets[rows])

        high, hit = self._doubled(image, bases, targets)
        high[~hit] /= 2  # the last that was tried without reaching, or without changing too much
        rows = hit.nonzero()[:, 0]
        if len(rows):
            some = smallest_share(lambda a, part: reached(a, rows[part]), high[rows] / 2, high[rows], HALVINGS)
            high[rows] = some
        return Generated(image(high, torch.arange(len(images), device=high.device)), bases=bases, passes=passes)

    def _doubled(
        self, image: Callable[[Tensor, Tensor], Tensor], bases: Tensor, targets: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The first λ ``(B,)`` among doubled ones at which each image is reached or changed too much; which were."""
        shares = torch.full((len(bases),), FIRST, device=bases.device)
        hit, left = torch.zeros(len(bases), dtype=torch.bool, device=bases.device), torch.arange(len(bases))
        left = left.to(bases.device)
        for step in range(DOUBLINGS):
            shares[left] = FIRST * 2**step
            found = image(shares[left], left)
            hit[left] = self.reached(found, targets[left])
            far = (found - bases[left]).abs().flatten(1).mean(1) > self.bound
            hit[left] &= ~far
            left = left[~(hit[left] | far)]
            if not len(left):
                break
        return shares, hit

    def _codes(self, images: Tensor) -> Codes:
        codes = self.run.cae.encode(images)
        whole = (codes.class_code.float(), codes.individual_code.float())
        return whole[1:] if isinstance(self.run.cae, CAE) else whole

    def _decode(self, codes: Codes) -> Tensor:
        cae = self.run.cae
        drawn = cae.to_unit(cae.trunk(codes[0])[0]) if isinstance(cae, CAE) else cae.decode(codes[0], codes[1])
        return drawn.clamp(0, 1)
