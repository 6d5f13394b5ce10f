"""Giving images other class codes while keeping all of them that the change does not touch."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from cae.model import CAE, Base, Codes, Decoded


class Transfer:
    """The change from their own class codes to others, brought into images themselves (``output=residual``).

    Our CAE paints within a mask, over the image itself; of any other model the difference of two decodings is added,
    ``x + G(c, s) - G(c_x, s)``. What follows from the individual codes alone is computed once.

    Args:
        cae: ``encode(images) -> Codes`` and ``decode(class_code, individual_code) -> images``.
        images: ``(N, C, H, W)`` in [0, 1], on the device of the model.
        batch_size: images encoded or decoded at once, at most.

    Attributes:
        codes: of the images.
        reconstructions: ``(N, C, H, W)`` in [0, 1].
        own_edits: ``(N, C, H, W)`` what their own class codes change in them; small, where the base images are good.
    """

    def __init__(self, cae: Any, images: Tensor, batch_size: int = 64):
        self.cae, self.images = cae, images
        parts = [cae.encode(part) for part in images.split(batch_size)]
        self.codes = Codes(
            torch.cat([part.class_code for part in parts]).float(),
            torch.cat([part.individual_code for part in parts]),
        )
        if isinstance(cae, CAE):
            bases = [cae.base(part.individual_code) for part in parts]
            own = [cae.join(part.class_code, base) for part, base in zip(parts, bases, strict=True)]
            self._base = Base.cat(bases)
            self.reconstructions = torch.cat([decoded.image for decoded in own]).clamp(0, 1).float()
            edited = [decoded.onto(part) for decoded, part in zip(own, images.split(batch_size), strict=True)]
            self.own_edits = torch.cat(edited).float() - images
        else:
            decoded = [cae.decode(part.class_code, part.individual_code) for part in parts]
            self.reconstructions = torch.cat(decoded).float()
            self.own_edits = torch.zeros_like(images)

    def onto(self, rows: Tensor, class_codes: Tensor) -> Tensor:
        """The images of ``rows (R,)`` with the change to ``class_codes (R, D)``: ``(R, C, H, W)``, not clamped."""
        images = self.images[rows]
        if isinstance(self.cae, CAE):
            return self._joined(rows, class_codes).onto(images)
        return images + self.decoded(rows, class_codes) - self.reconstructions[rows]

    def decoded(self, rows: Tensor, class_codes: Tensor) -> Tensor:
        """The decoder's own images ``(R, C, H, W)`` in [0, 1] of the same."""
        if isinstance(self.cae, CAE):
            return self._joined(rows, class_codes).image.clamp(0, 1).float()
        return self.cae.decode(class_codes, self.codes.individual_code[rows]).float()

    def _joined(self, rows: Tensor, class_codes: Tensor) -> Decoded:
        return self.cae.join(class_codes, self._base[rows])
