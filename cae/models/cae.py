"""The class association embedding: encoders and decoder as one model, with images in [0, 1] at its border."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from torch import Tensor, nn

from cae.config import ModelConfig
from cae.config.former_options import present_values
from cae.errors import UserError
from cae.files import check_sizes, read_tensors, write_weights
from cae.models.feature_encoder import FeatureEncoder, FeatureReader
from cae.models.networks import ClassEncoder, Editor, Evidence, IndividualEncoder, Trunk, channels_at, fixed_statistics
from cae.models.resampling import surroundings
from cae.models.sizes import network_sizes


@dataclass(frozen=True)
class Codes:
    """What an image is taken apart into: ``class_code (B, D)`` and ``individual_code (B, S, h, w)``."""

    class_code: Tensor
    individual_code: Tensor

    def to(self, device: torch.device | str) -> Codes:
        """The same codes on another device."""
        return Codes(self.class_code.to(device), self.individual_code.to(device))

    def __len__(self) -> int:
        return len(self.class_code)

    def __getitem__(self, index: Tensor | slice) -> Codes:
        return Codes(self.class_code[index], self.individual_code[index])


@dataclass(frozen=True)
class Base:
    """What follows from individual codes alone, however many class codes they are then joined with.

    Attributes:
        image: ``(B, C, H, W)`` in [-1, 1], unbounded, padded.
        features: ``(B, ..., h, w)`` maps for the editor, one for each resolution.
        class_code: ``(B, D)`` of what the image shows already.
    """

    image: Tensor
    features: tuple[Tensor, ...]
    class_code: Tensor

    def __getitem__(self, index: Tensor | slice) -> Base:
        features = tuple(level[index] for level in self.features)
        return Base(self.image[index], features, self.class_code[index])

    @staticmethod
    def cat(parts: Sequence[Base]) -> Base:
        """Several batches as one."""
        levels = zip(*(part.features for part in parts), strict=True)
        return Base(
            torch.cat([part.image for part in parts]),
            tuple(torch.cat(level) for level in levels),
            torch.cat([part.class_code for part in parts]),
        )


@dataclass(frozen=True)
class Decoded:
    """A decoding, not yet clamped to [0, 1]. All images are ``(B, C, H, W)``.

    Attributes:
        image: the decoder's image.
        paint: what the class code paints where the mask is; without a mask, what it adds everywhere.
        mask: ``(B, 1, H, W)`` in [0, 1]; None for a model without one.
        logits: ``(B, 1, H, W)`` of the mask, before the factor for the distance of the codes; None without a mask.
    """

    image: Tensor
    paint: Tensor
    mask: Tensor | None
    logits: Tensor | None

    def onto(self, images: Tensor) -> Tensor:
        """Images ``(B, C, H, W)`` in place of the base image, with what the class code changes; not clamped.

        With a mask, the paint is laid over them, so that it also covers details that the codes have lost.
        """
        return images + (self.paint if self.mask is None else self.mask * (self.paint - images))


class CAE(nn.Module):
    """Encoders E_c, E_s and decoder G.

    The decoder is a trunk, which draws a base image from the individual code alone, and an editor, which paints over
    it what the class code asks for, within a mask. It compares that code with the image's own: what the image shows
    already is not painted again. A swap therefore changes the image only where the editor acts.

    The class code is read in the frozen classifier's own features by ``FeatureEncoder``, where ``reader`` gives them,
    else by a class encoder that learns from the images.

    Args:
        image_shape: ``(C, H, W)``.
        model: sizes.
        reader: of the classifier; None for a class encoder of its own.

    Reference: Xie et al. 2024, arXiv:2406.07961 (encoder and decoder differ: see docs/methods).
    """

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        model: ModelConfig | None = None,
        reader: FeatureReader | None = None,
    ):
        super().__init__()
        self.image_shape = image_shape[0], image_shape[1], image_shape[2]
        code = "encoder" if reader is None else "classifier"
        model = model or ModelConfig()
        sizes = network_sizes(model, image_shape)
        self.model = model = replace(model, class_code=code, **sizes._asdict())
        levels, class_depth, code_channels = sizes
        self.unit = 2**levels  # pixels a side for each place of the individual code
        channels, width = image_shape[0], model.width
        self.class_encoder: ClassEncoder | FeatureEncoder
        if reader is None:
            self.class_encoder = ClassEncoder(channels, model.class_dim, width, class_depth)
            class_levels = list(range(1, class_depth + 1))
            class_channels = [channels_at(width, level) for level in class_levels]
        else:
            self.class_encoder = FeatureEncoder(reader, model.class_dim)
            class_levels = [_level(image_shape[1:], size) for _, *size in reader.map_shapes]
            class_channels = [shape[0] for shape in reader.map_shapes]
        self.individual_encoder = IndividualEncoder(channels, code_channels, width, levels, model.residual_blocks)
        self.trunk = Trunk(channels, code_channels, width, levels, model.residual_blocks)
        self.trunk.start_from(self.individual_encoder)
        self.evidence: Evidence | None = None
        if model.evidence:
            self.evidence = Evidence(
                class_channels, class_levels, [channels_at(width, level) for level in range(levels, 0, -1)]
            )
        self.editor = Editor(channels, model.class_dim, width, levels, model.mask)
        # few channels on large maps: this order of memory makes training a quarter faster on CPUs
        self.to(memory_format=torch.channels_last)

    @property
    def class_dim(self) -> int:
        """Length of the class code."""
        return self.model.class_dim

    def encode(self, images: Tensor) -> Codes:
        """Images ``(B, C, H, W)`` in [0, 1] to their codes."""
        return Codes(self.encode_class(images), self.encode_individual(images))

    def encode_class(self, images: Tensor) -> Tensor:
        """Images ``(B, C, H, W)`` in [0, 1] to class codes ``(B, D)``."""
        return self.class_encoder(self._to_class_encoder(images))

    def class_code_of(self, features: Tensor) -> Tensor:
        """The classifier's features ``(B, F)`` to class codes ``(B, D)``, where these are read in them.

        Raises:
            ValueError: of a model with a class encoder of its own.
        """
        if not isinstance(self.class_encoder, FeatureEncoder):
            raise ValueError("The class encoder of this model reads images, not the classifier's features.")
        return self.class_encoder.code(features)

    def encode_individual(self, images: Tensor) -> Tensor:
        """Images ``(B, C, H, W)`` in [0, 1] to individual codes ``(B, S, h, w)``."""
        return self.individual_encoder(self._pad(2 * images - 1))

    def decode(self, class_code: Tensor, individual_code: Tensor) -> Tensor:
        """Codes ``(B, D)`` and ``(B, S, h, w)`` to images ``(B, C, H, W)`` in [0, 1].

        What the individual codes' images showed is not known here, but read in the base images.
        """
        return self.join(class_code, self.base(individual_code)).image.clamp(0, 1)

    def swap(self, recipients: Codes, donors: Codes) -> Tensor:
        """Images that keep the recipients' individual codes and take over the donors' class codes."""
        base = self.base(recipients.individual_code, recipients.class_code)
        return self.join(donors.class_code, base).image.clamp(0, 1)

    def base(self, individual_code: Tensor, class_code: Tensor | None = None) -> Base:
        """The base image of ``individual_code (B, S, h, w)``, with what the editor needs.

        ``class_code (B, D)`` is that of the image which the individual code is from, to which nothing will be changed;
        without it, it is read in the base image, which shows nearly the same.
        """
        image, features = self.trunk(individual_code)
        # the base is not to learn to hide its class from the encoder: no gradient
        with torch.no_grad(), fixed_statistics(self.class_encoder):
            own, evidence = self.class_encoder.read(self._to_class_encoder(self.to_unit(image).clamp(0, 1)))
        if self.evidence is not None:
            features = self.evidence(features, evidence)
        return Base(image, tuple(features), own if class_code is None else class_code.detach())

    def join(self, class_code: Tensor, base: Base) -> Decoded:
        """Decode; not clamped, because a clamp in the loss stops gradients for good."""
        paint, mask, logits = self.editor(base.features, class_code, base.class_code.to(class_code))
        if mask is None or logits is None:
            return Decoded(self.to_unit(base.image + paint), self._crop(paint / 2), None, None)
        # over what surrounds the mask: where the paint adds nothing, the mask erases
        paint = paint + surroundings(base.image, mask)
        edited = base.image + mask * (paint - base.image)
        return Decoded(self.to_unit(edited), self.to_unit(paint), self._crop(mask), self._crop(logits))

    def to_unit(self, x: Tensor) -> Tensor:
        """Decoder's images, padded and in [-1, 1], to ``(B, C, H, W)`` in [0, 1]; not clamped."""
        return self._crop((x + 1) / 2)

    def _to_class_encoder(self, images: Tensor) -> Tensor:
        """Images in [0, 1] as the class encoder takes them: a classifier wants them as they are."""
        return images if isinstance(self.class_encoder, FeatureEncoder) else self._pad(2 * images - 1)

    def _pad(self, x: Tensor) -> Tensor:
        """Pad by reflection to a size that all halvings of the individual code divide."""
        bottom, right = -x.shape[-2] % self.unit, -x.shape[-1] % self.unit
        x = F.pad(x, (0, right, 0, bottom), mode="reflect") if bottom or right else x
        return x.contiguous(memory_format=torch.channels_last)

    def _crop(self, x: Tensor) -> Tensor:
        return x[..., : self.image_shape[1], : self.image_shape[2]]

    def save(self, path: str | Path, metadata: Mapping[str, Any] | None = None) -> None:
        """Write weights (safetensors) with sizes and ``metadata`` in the header, atomically."""
        header = {"kind": "cae", "image_shape": list(self.image_shape), "model": asdict(self.model), **(metadata or {})}
        write_weights(path, self.state_dict(), "cae", header)

    @classmethod
    def load(cls, path: str | Path, reader: FeatureReader | None = None) -> CAE:
        """Read what ``save`` wrote; the model comes back in evaluation mode on the CPU.

        Args:
            path: the file.
            reader: of the classifier that it was trained against; one with a class encoder of its own needs none.

        Raises:
            UserError: if the file is missing, unreadable, or not a CAE, or if it needs the reader and has none.
        """
        return cls.restored(*read_weights(path), path, reader)

    @classmethod
    def restored(
        cls, header: Mapping[str, Any], weights: dict[str, Tensor], path: str | Path, reader: FeatureReader | None
    ) -> CAE:
        """The model of what ``read_weights`` has read from ``path``; as ``load``."""
        if header.get("preset", "default") != "default":
            raise UserError(f"'{path}' holds a CAE of the preset `{header['preset']}`; set cae.preset to it.")
        with fitting(path):
            check_sizes(header["model"], weights)
        own = reads_itself(header)
        if not own and reader is None:
            raise UserError(
                f"'{path}' reads the class code in its classifier's features, and no classifier was given that shows "
                "them: open the run with `cae.load_run`, or give `load_cae` the classifier."
            )
        with fitting(path):
            model = ModelConfig(**present_values("cae.model", header["model"]))
            cae = cls(tuple(header["image_shape"]), model, None if own else reader)
            cae.load_state_dict(weights)
        return cae.eval()


@contextmanager
def fitting(path: str | Path) -> Iterator[None]:
    """Within the block, a header or weights that fit no network are said to be of another version, or altered."""
    try:
        yield
    except (KeyError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        raise UserError(
            f"'{path}' was written by another version of this program, or altered ({error}); train the CAE anew "
            "with `python train.py cae … overwrite=true`."
        ) from error


def reads_itself(header: Mapping[str, Any]) -> bool:
    """Whether the CAE of this file's header has a class encoder of its own, as all former ones have."""
    return header.get("model", {}).get("class_code") != "classifier"


def _level(side: Sequence[int], size: Sequence[int]) -> int:
    """Halvings of the image side down to a map's, at least 1: nothing is painted from finer maps."""
    return max(1, round(math.log2(max(long / short for long, short in zip(side, size, strict=True)))))


def read_weights(path: str | Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Header and tensors of a file that a CAE was saved to."""
    path = Path(path)
    if not path.exists():
        raise UserError(f"no CAE at '{path}'; train one with `python train.py cae …`.")
    try:
        header, weights = read_tensors(path, "cae")
    except (SafetensorError, OSError, ValueError) as error:
        raise UserError(f"'{path}' is not a readable safetensors file ({error}).") from error
    if not header or header.get("kind") != "cae":
        raise UserError(f"'{path}' holds other weights than those of a CAE; expected cae.safetensors of a run folder.")
    return header, weights
