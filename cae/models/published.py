"""Preset `reference`: the published class association embedding, its losses and its training rules, as released.

It stands beside ours so that every claim can be measured against it. `ReferenceCAE.encode`, `decode` and `swap` take
and give images in [0, 1] like every public border; losses work in [-1, 1], as published. The one liberty: the
discriminator's step decodes without building graphs, which the released code builds and discards.

Reference: Xie et al. 2024, arXiv:2406.07961, with the authors' code.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cae.errors import UserError
from cae.files import write_tensors
from cae.models.cae import Codes, read_weights
from cae.models.published_networks import ReferenceDecoder, ReferenceDiscriminator, ReferenceEncoders

__all__ = [
    "DISCRIMINATOR_WEIGHTS",
    "GENERATOR_WEIGHTS",
    "Direction",
    "DiscriminatorScores",
    "ReferenceCAE",
    "ReferenceDecoder",
    "ReferenceDiscriminator",
    "ReferenceEncoders",
    "reference_directions",
    "reference_discriminator_loss",
    "reference_generator_loss",
    "reference_learning_rate",
    "reference_optimiser",
    "reference_pairs",
    "reference_scores",
]

GENERATOR_WEIGHTS = {
    "reconstruction": 10.0,
    "cycle": 10.0,
    "individual_code": 1.0,
    "class_code": 1.0,
    "adversarial": 1.0,
    "class_head": 1.0,
}
DISCRIMINATOR_WEIGHTS = {"fake": 1.0, "real": 1.0, "class_head": 2.0}
_FAKE, _REAL = 0, 1  # the first two logits of the discriminator; those of the classes follow


class ReferenceCAE(nn.Module):
    """The published encoders and decoder behind the interface of `cae.model.CAE`: images in [0, 1] at the border.

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
        _check_sizes(image_shape, blocks)
        self.image_shape = tuple(image_shape)
        self.class_dim = class_dim
        self.sizes = {"class_dim": class_dim, "width": width, "blocks": blocks}
        self.encoders = ReferenceEncoders(image_shape[0], class_dim, width, blocks)
        self.decoder = ReferenceDecoder(image_shape[0], class_dim, width, blocks)

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
        own = {"kind": "cae", "preset": "reference", "image_shape": list(self.image_shape), "model": self.sizes}
        header = {**own, **(metadata or {})}
        write_tensors(path, self.state_dict(), "cae", header)

    @classmethod
    def load(cls, path: str | Path) -> ReferenceCAE:
        """Read what ``save`` wrote; the model comes back in evaluation mode on the CPU.

        Raises:
            UserError: if the file is missing, unreadable, or not a CAE of this preset.
        """
        header, weights = read_weights(path)
        if header.get("preset") != "reference":
            raise UserError(f"'{path}' holds a CAE of another preset than `reference`; set cae.preset to its own.")
        cae = cls(tuple(header["image_shape"]), **header["model"])
        cae.load_state_dict(weights)
        return cae.eval()


def _check_sizes(image_shape: Sequence[int], blocks: int) -> None:
    problems = [
        f"preset `reference` takes images whose {side} is a multiple of 4 and at least 32, but got {size}: "
        "set data.image_size to such a number."
        for side, size in zip(("height", "width"), image_shape[1:], strict=True)
        if size < 32 or size % 4
    ]
    if blocks < 1:
        problems.append(f"preset `reference` needs a residual block or more, which carry the class code, got {blocks}.")
    if problems:
        raise UserError(problems)


# --- training ---------------------------------------------------------------------------------------------------------


def reference_pairs(labels: Tensor, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
    """Pair images of class 0 (normal) with images of any other class, both shuffled; the shorter side ends the pass.

    Args:
        labels: ``(N,)`` labels of a data set or batch, or verdicts of the classifier.
        generator: source of randomness, on any device.

    Returns:
        Indices ``(n,)`` of normal images and ``(n,)`` of their partners, each at most once;
        n = min(#class 0, #others), which is 0 where one side is missing.
    """

    def shuffled(indices: Tensor) -> Tensor:
        device = generator.device if generator is not None else indices.device
        return indices[torch.randperm(len(indices), generator=generator, device=device).to(indices.device)]

    known = labels >= 0  # -1 is an image without a label
    normal, abnormal = shuffled(torch.nonzero(labels == 0)[:, 0]), shuffled(torch.nonzero(known & (labels != 0))[:, 0])
    count = min(len(normal), len(abnormal))
    return normal[:count], abnormal[:count]


@dataclass(frozen=True)
class Direction:
    """One recipient-donor direction (i, j) of the generator's step; images in [-1, 1], gradients everywhere."""

    original: Tensor  # x_i (B, C, H, W)
    reconstruction: Tensor  # G(c_i, s_i)
    cycle: Tensor  # G(c_i, E_s(x_ij))
    individual_code: Tensor  # s_i
    individual_read: Tensor  # E_s(x_ij)
    class_code: Tensor  # c_j
    class_read: Tensor  # E_c(x_ij)
    scores: Tensor  # D(x_ij) (B, 2 + K)
    labels: Tensor  # y_j (B,)


@dataclass(frozen=True)
class DiscriminatorScores:
    """One direction of the discriminator's step: logits ``(B, 2 + K)`` of real x_j and of sg(x_ij), labels y_j."""

    real: Tensor
    fake: Tensor
    labels: Tensor


def reference_directions(
    cae: ReferenceCAE, discriminator: nn.Module, images: tuple[Tensor, Tensor], labels: tuple[Tensor, Tensor]
) -> tuple[Direction, Direction]:
    """What the generator's step needs, for (a, b) and (b, a).

    Args:
        cae: encoders and decoder.
        discriminator: D; the caller keeps this step's gradients out of its parameters.
        images: those of class 0 and their partners (``reference_pairs``), each ``(B, C, H, W)`` in [0, 1].
        labels: their labels (published) or the classifier's verdicts, each ``(B,)`` int64.
    """
    originals = [2 * image - 1 for image in images]
    codes = [cae.encoders(x) for x in originals]

    def direction(i: int, j: int) -> Direction:
        (own_class, individual), donor_class = codes[i], codes[j][0]
        swap = cae.decoder(donor_class, individual)
        class_read, individual_read = cae.encoders(swap)
        return Direction(
            original=originals[i],
            reconstruction=cae.decoder(own_class, individual),
            cycle=cae.decoder(own_class, individual_read),  # the original class code, not one read again
            individual_code=individual,
            individual_read=individual_read,
            class_code=donor_class,
            class_read=class_read,
            scores=discriminator(swap),
            labels=labels[j],
        )

    return direction(0, 1), direction(1, 0)


def reference_scores(
    cae: ReferenceCAE, discriminator: nn.Module, images: tuple[Tensor, Tensor], labels: tuple[Tensor, Tensor]
) -> tuple[DiscriminatorScores, DiscriminatorScores]:
    """What the discriminator's step needs, for (a, b) and (b, a); arguments as for ``reference_directions``."""
    with torch.no_grad():
        originals = [2 * image - 1 for image in images]
        codes = [cae.encoders(x) for x in originals]
        swaps = [cae.decoder(codes[j][0], codes[i][1]) for i, j in ((0, 1), (1, 0))]
    first, second = (
        DiscriminatorScores(discriminator(originals[j]), discriminator(swap), labels[j])
        for swap, j in zip(swaps, (1, 0), strict=True)
    )
    return first, second


def _verdict(scores: Tensor, is_real: int) -> Tensor:
    """Cross-entropy of the fake/real logits, mean over the batch."""
    target = torch.full((len(scores),), is_real, dtype=torch.int64, device=scores.device)
    return F.cross_entropy(scores[:, :2].float(), target)


def _class_head(scores: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy of the class logits, mean over the batch."""
    return F.cross_entropy(scores[:, 2:].float(), labels)


def _weighted_sums(per_direction: Iterable[Mapping[str, Tensor]], weights: Mapping[str, float]) -> dict[str, Tensor]:
    """Weight times the sum over directions of each term."""
    directions = list(per_direction)
    return {name: weight * torch.stack([d[name] for d in directions]).sum() for name, weight in weights.items()}


def reference_generator_loss(
    directions: Sequence[Direction], weights: Mapping[str, float] = GENERATOR_WEIGHTS
) -> dict[str, Tensor]:
    """The published loss of encoders and decoder, summed over directions; the terms' sum is L_G.

    ``L_G = 10 mean|G(c_i,s_i) - x_i| + 10 mean|G(c_i,E_s(x_ij)) - x_i| + mean|E_s(x_ij) - s_i| + mean|E_c(x_ij) - c_j|
    + CE(D_rf(x_ij), real) + CE(D_cls(x_ij), y_j)``, images in [-1, 1], gradients on both sides of each difference.

    Args:
        directions: of ``reference_directions``.
        weights: of the terms; all ones give the raw terms.

    Returns:
        Weighted scalars named as in ``GENERATOR_WEIGHTS``.
    """

    def terms(d: Direction) -> dict[str, Tensor]:
        return {
            "reconstruction": (d.reconstruction - d.original).abs().mean(),
            "cycle": (d.cycle - d.original).abs().mean(),
            "individual_code": (d.individual_read - d.individual_code).abs().mean(),
            "class_code": (d.class_read - d.class_code).abs().mean(),
            "adversarial": _verdict(d.scores, _REAL),
            "class_head": _class_head(d.scores, d.labels),
        }

    return _weighted_sums((terms(d) for d in directions), weights)


def reference_discriminator_loss(
    scores: Sequence[DiscriminatorScores], weights: Mapping[str, float] = DISCRIMINATOR_WEIGHTS
) -> dict[str, Tensor]:
    """The published loss of the discriminator, summed over directions; the terms' sum is L_D.

    ``L_D = CE(D_rf(sg x_ij), fake) + CE(D_rf(x_j), real) + 2 CE(D_cls(x_j), y_j)``: the class head sees no swap.

    Args:
        scores: of ``reference_scores``.
        weights: of the terms; all ones give the raw terms.

    Returns:
        Weighted scalars named as in ``DISCRIMINATOR_WEIGHTS``.
    """

    def terms(s: DiscriminatorScores) -> dict[str, Tensor]:
        return {
            "fake": _verdict(s.fake, _FAKE),
            "real": _verdict(s.real, _REAL),
            "class_head": _class_head(s.real, s.labels),
        }

    return _weighted_sums((terms(s) for s in scores), weights)


def reference_learning_rate(iteration: int, max_steps: int, base: float = 1e-4) -> float:
    """Learning rate ``base * 0.5^floor(iteration / (max_steps / 10))``: halved ten times over the training."""
    return base * 0.5 ** (10 * iteration // max_steps)


def reference_optimiser(parameters: Iterable[nn.Parameter]) -> torch.optim.Adam:
    """The published optimiser of either side: Adam 1e-4, betas (0.5, 0.999), L2 weight decay 1e-4."""
    return torch.optim.Adam(parameters, lr=1e-4, betas=(0.5, 0.999), weight_decay=1e-4)
