"""Images on straight lines between the class codes of representative images, computed once to be looked at later."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from cae.files import damaged, read_tensors, write_tensors
from cae.manifold.class_manifold import ClassManifold
from cae.manifold.image_codes import reduced
from cae.manifold.latent_shift import LatentShift

ENDS = 12  # representative images, which are 132 lines
STEPS = 9  # images on a line, both ends among them
KIND = "lines between class codes"


@dataclass(frozen=True, eq=False)
class CodeLines:
    """Lines between R representative images: the first keeps its individual code and takes on the other's class code.

    Attributes:
        ids: of the R images.
        pairs: ``(P, 2)`` numbers of the images at which each line begins and ends.
        images: ``(P, S, C, h, w)`` uint8, the frames of each line at equal steps, the first the image as it is.
        probabilities: ``(P, S, K)`` of the classifier for the frames at full size.
    """

    ids: Sequence[str]
    pairs: Tensor
    images: Tensor
    probabilities: Tensor

    def save(self, path: str | Path) -> None:
        """Write the lines to a safetensors file."""
        ids = torch.frombuffer(bytearray(json.dumps(list(self.ids)), "utf-8"), dtype=torch.uint8)
        tensors = {"ids": ids, "pairs": self.pairs, "images": self.images, "probabilities": self.probabilities}
        write_tensors(path, tensors, KIND, {})

    @classmethod
    def load(cls, path: str | Path) -> CodeLines:
        """What ``save`` wrote.

        Raises:
            UserError: if the file is damaged.
        """
        with damaged(Path(path), "lines between codes", "`explain.py manifold` makes them anew"):
            tensors = read_tensors(path, KIND)[1]
            ids = json.loads(bytes(tensors["ids"].tolist()))
            return cls(ids, tensors["pairs"], tensors["images"], tensors["probabilities"])


def representatives(manifold: ClassManifold, count: int = ENDS) -> list[int]:
    """At most ``count`` rows that stand for the codes: classes in turn, each from its medoid to ever further codes."""
    queues = []
    for target in range(len(manifold.classes)):
        members = (manifold.predictions == target).nonzero()[:, 0]
        prototypes = manifold.prototypes(target)
        if prototypes is not None:
            first = int((members == prototypes.medoid).nonzero()[0, 0])
            queues.append(members[farthest_first(manifold.points[members], first, count)].tolist())
    rounds = max(map(len, queues), default=0)
    return [queue[turn] for turn in range(rounds) for queue in queues if turn < len(queue)][:count]


def farthest_first(points: Tensor, first: int, count: int) -> list[int]:
    """Rows of ``points (N, D)`` from ``first`` on, each the furthest from all before it; ``min(count, N)`` at most."""
    chosen, gaps = [first], (points - points[first]).norm(dim=1)
    while len(chosen) < min(count, len(points)) and float(gaps.max()) > 0:
        chosen.append(int(gaps.argmax()))
        gaps = torch.minimum(gaps, (points - points[chosen[-1]]).norm(dim=1))
    return chosen


@torch.no_grad()
def code_lines(shift: LatentShift, ids: Sequence[str], side: int) -> CodeLines:
    """All lines between the images of ``shift``, both ways.

    Args:
        shift: of R images, with the target classifier.
        ids: of the images.
        side: of a kept frame in pixels, at most.
    """
    count = len(ids)
    pairs = torch.tensor([(a, b) for a in range(count) for b in range(count) if a != b], dtype=torch.long)
    shares = torch.linspace(0, 1, STEPS)[:, None]
    frames, probabilities = [], []
    for start, end in pairs.tolist():
        codes = torch.lerp(shift.codes[start], shift.codes[end], shares)
        images = shift.images(torch.full((STEPS,), start), codes)
        images[0] = shift.originals[start].cpu()
        probabilities.append(shift.probabilities(images))
        frames.append((reduced(images, side).clamp(0, 1) * 255).round().byte())
    return CodeLines(list(ids), pairs, torch.stack(frames), torch.stack(probabilities).float())
