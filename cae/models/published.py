"""The published class association embedding, as released: preset `published`.

It stands beside ours so that every claim can be measured against it. `PublishedCAE.encode`, `decode` and `swap` take
and give images in [0, 1] like every public border; losses work in [-1, 1], as published. The one liberty: the
discriminator's step decodes without building graphs, which the released code builds and discards.

Reference: Xie et al. 2024, arXiv:2406.07961, with the authors' code.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from cae.errors import UserError
from cae.files import check_sizes, write_weights
from cae.models.cae import Codes, fitting, read_weights
from cae.models.published_networks import PublishedDecoder, PublishedEncoders


class PublishedCAE(nn.Module):
    """The published encoders and decoder behind the interface of `cae.models.cae.CAE`: images in [0, 1] at the border.

    Args:
        image_shape: ``(C, H, W)``; H and W are multiples of 4 and at least 32.
        class_dim: length of the class code (8 in the release, whatever its option said).
        width: channels of the first stage.
        blocks: residual blocks of the individual encoder and of the decoder.

    Raises:
        UserError: if the sizes cannot work.
    """

    def __init__(
        self, image_shape: tuple[int, int, int] = (3, 256, 256), class_dim: int = 8, width: int = 64, blocks: int = 6
    ):
        super().__init__()
        check_image_shape(image_shape, blocks)
        self.image_shape = tuple(image_shape)
        self.class_dim = class_dim
        self.sizes = {"class_dim": class_dim, "width": width, "blocks": blocks}
        self.encoders = PublishedEncoders(image_shape[0], class_dim, width, blocks)
        self.decoder = PublishedDecoder(image_shape[0], class_dim, width, blocks)

    def encode(self, images: Tensor) -> Codes:
        """Images ``(B, C, H, W)`` in [0, 1] to their codes: ``(B, D)`` and ``(B, 4 width, H / 4, W / 4)``."""
        return Codes(*self.encoders(2 * images - 1))

    def decode(self, class_code: Tensor, individual_code: Tensor) -> Tensor:
        """Codes to images ``(B, C, H, W)`` in [0, 1]."""
        return (self.decoder(class_code, individual_code) + 1) / 2

    def swap(self, recipients: Codes, donors: Codes) -> Tensor:
        """Images that keep the recipients' individual codes and take over the donors' class codes."""
        return self.decode(donors.class_code, recipients.individual_code)

    def save(self, path: str | Path, metadata: Mapping[str, Any] | None = None) -> None:
        """Write weights (safetensors) with sizes and ``metadata`` in the header, atomically."""
        own = {"kind": "cae", "preset": "published", "image_shape": list(self.image_shape), "model": self.sizes}
        header = {**own, **(metadata or {})}
        write_weights(path, self.state_dict(), "cae", header)

    @classmethod
    def load(cls, path: str | Path) -> PublishedCAE:
        """Read what ``save`` wrote; the model comes back in evaluation mode on the CPU.

        Raises:
            UserError: if the file is missing, unreadable, or not a CAE of this preset.
        """
        return cls.restored(*read_weights(path), path)

    @classmethod
    def restored(cls, header: Mapping[str, Any], weights: dict[str, Tensor], path: str | Path) -> PublishedCAE:
        """The model of what ``read_weights`` has read from ``path``; as ``load``."""
        if not is_published(header):
            raise UserError(f"'{path}' holds a CAE of another preset than `published`; set cae.preset to its own.")
        with fitting(path):
            check_sizes(header["model"], weights)
            cae = cls(tuple(header["image_shape"]), **header["model"])
            cae.load_state_dict(weights)
        return cae.eval()


def is_published(header: Mapping[str, Any]) -> bool:
    """Whether the header of a CAE's file is of this preset, which versions before 0.2 called ``reference``."""
    return header.get("preset") in ("published", "reference")


def check_image_shape(image_shape: Sequence[int], blocks: int) -> None:
    """Raise a UserError if the networks cannot be built for images ``(C, H, W)`` and so many residual blocks."""
    problems = [
        f"preset `published` takes images whose {side} is a multiple of 4 and at least 32, but got {size}: "
        "set data.image_size to such a number."
        for side, size in zip(("height", "width"), image_shape[1:], strict=True)
        if size < 32 or size % 4
    ]
    if blocks < 1:
        problems.append(f"preset `published` needs a residual block or more, which carry the class code, got {blocks}.")
    if problems:
        raise UserError(problems)
