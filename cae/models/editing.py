"""Giving images other class codes while keeping all of them that the change does not touch."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from cae.models.cae import CAE, Base, Codes, Decoded


class ResidualEdit:
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
    """

    def __init__(self, cae: Any, images: Tensor, batch_size: int = 64):
        self.cae, self.images = cae, images
        parts = [cae.encode(part) for part in images.split(batch_size)]
        self.codes = Codes(
            torch.cat([part.class_code for part in parts]).float(),
            torch.cat([part.individual_code for part in parts]),
        )
        if isinstance(cae, CAE):
            self._base = Base.cat([cae.base(part.individual_code, part.class_code) for part in parts])
            self.reconstructions = cae.to_unit(self._base.image).clamp(0, 1).float()
        else:
            decoded = [cae.decode(part.class_code, part.individual_code) for part in parts]
            self.reconstructions = torch.cat(decoded).float()

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
