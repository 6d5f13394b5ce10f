"""Decoding, judging and walking: the batched work behind ``find_counterfactuals``."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from cae.devices import device_of
from cae.manifold.code_paths import Polylines
from cae.models.editing import ResidualEdit


def target_margin(probabilities: Tensor, targets: Tensor) -> Tensor:
    """By how much ``(...)`` the target's probability exceeds the largest other one, in [-1, 1].

    Args:
        probabilities: ``(..., K)``.
        targets: ``(...)`` indices of classes.
    """
    index = targets[..., None]
    others = probabilities.scatter(-1, index, -torch.inf).amax(-1)
    return probabilities.gather(-1, index)[..., 0] - others


def round_to_8_bits(images: Tensor) -> Tensor:
    """Images in [0, 1] as they come back from a file with 256 levels."""
    return (images.clamp(0, 1) * 255).round() / 255


@dataclass(frozen=True, eq=False)
class TargetCriterion:
    """What every image is to become: class ``targets (B,)``, or without them any class but ``sources (B,)``."""

    sources: Tensor
    targets: Tensor | None
    margin: float

    def margins(self, probabilities: Tensor, rows: Tensor) -> Tensor:
        """Margin ``(R, G)`` of the goal's class in ``probabilities (R, G, K)`` of the images ``rows (R,)``."""
        shape = probabilities.shape[:-1]
        if self.targets is None:
            return -target_margin(probabilities, self.sources[rows, None].expand(shape))
        return target_margin(probabilities, self.targets[rows, None].expand(shape))

    def reached(self, probabilities: Tensor, rows: Tensor) -> Tensor:
        """Whether ``(R, G)`` the verdict and its margin are as asked for."""
        verdicts = probabilities.argmax(-1)
        right = verdicts != self.sources[rows, None] if self.targets is None else verdicts == self.targets[rows, None]
        return right & (self.margins(probabilities, rows) >= self.margin)


class CandidateDecoder:
    """Decodes class codes into the images that are judged and returned, and counts what that costs each image.

    At most ``batch_size`` images are encoded, decoded or judged at once. Individual codes stay on the device of the
    model; everything that is returned lies on the CPU. With ``output="residual"`` the decoder's change is added to
    the original, which keeps the detail that reconstruction loses (``cae.models.editing``).
    """

    def __init__(self, cae, classifier, images: Tensor, *, output: str, batch_size: int, quantise: bool):
        self.cae, self.classifier = cae, classifier
        self.residual, self.batch_size, self.quantise = output == "residual", batch_size, quantise
        self.images = images.detach().float().to(device_of(cae))
        self.classifier_images = torch.zeros(len(images), dtype=torch.int64)
        self.decoder_images = torch.zeros(len(images), dtype=torch.int64)
        self._transfer = ResidualEdit(cae, self.images, batch_size)
        self.class_codes = self._transfer.codes.class_code.cpu()
        self.reconstructions = self._transfer.reconstructions
        self.decoder_images += 1
        everything = torch.arange(len(images))
        self.probabilities = self.judge(everything, self.images)
        self.start_images, self.start_probabilities = self._start(everything)

    def _start(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """The images at the start of every path, with their probabilities."""
        if self.residual:
            # the original itself: the rounding of another batch or of 8 bits must not change it
            return self.images.cpu(), self.probabilities
        images = self.rounded(self.reconstructions)
        return images.cpu(), self.judge(rows, images)

    def rounded(self, images: Tensor) -> Tensor:
        """Images as they are returned: in [0, 1], of 256 levels unless ``quantise`` is off."""
        return round_to_8_bits(images) if self.quantise else images.clamp(0, 1)

    def judge(self, rows: Tensor, images: Tensor) -> Tensor:
        """Class probabilities ``(R, K)`` of images on any device; ``rows (R,)`` says on whose account."""
        self.classifier_images += torch.bincount(rows, minlength=len(self.images))
        device = device_of(self.classifier)
        chunks = [self.classifier.probabilities(chunk.to(device)) for chunk in images.split(self.batch_size)]
        return torch.cat(chunks).float().cpu()

    def unrounded(self, rows: Tensor, codes: Tensor) -> Tensor:
        """Images ``(R, C, H, W)`` of class codes ``(R, D)``, differentiable; R at most ``batch_size``."""
        self.decoder_images += torch.bincount(rows, minlength=len(self.images))
        place = self.images.device
        rows, codes = rows.to(place), codes.to(place, torch.float32)
        if not self.residual:
            return self._transfer.decoded(rows, codes).clamp(0, 1)
        return self._transfer.onto(rows, codes).clamp(0, 1)

    def render(self, rows: Tensor, codes: Tensor) -> tuple[Tensor, Tensor]:
        """Returned images ``(R, C, H, W)`` of class codes ``(R, D)``, with their probabilities ``(R, K)``."""
        images, probabilities = [], []
        for part in torch.arange(len(rows)).split(self.batch_size):
            image = self.rounded(self.unrounded(rows[part], codes[part]))
            probabilities.append(self.judge(rows[part], image))
            images.append(image.cpu())
        return torch.cat(images), torch.cat(probabilities)


@dataclass(frozen=True, eq=False)
class PathTrace:
    """One image's walk towards one reference: what was decoded and judged at every ``tau (G,)``.

    ``codes (G, D)``, ``images (G, C, H, W)``, ``probabilities (G, K)``, ``margins (G,)``, ``reached (G,)`` bool.
    """

    tau: Tensor
    codes: Tensor
    images: Tensor
    probabilities: Tensor
    margins: Tensor
    reached: Tensor

    @property
    def first(self) -> int | None:
        """The first point after the start at which the goal is reached."""
        points = self.reached[1:].nonzero()[:, 0]
        return int(points[0]) + 1 if len(points) else None

    @property
    def sign_changes(self) -> int:
        """How often the goal is reached or lost again from one point to the next; 1 for a clean path."""
        return int((self.reached[1:] != self.reached[:-1]).sum())

    @property
    def best(self) -> int:
        """The point after the start with the largest margin."""
        return int(self.margins[1:].argmax()) + 1 if len(self.margins) > 1 else 0


@dataclass(frozen=True, eq=False)
class BoundaryPoint:
    """Where a walk reaches its goal: position, image ``(C, H, W)``, probabilities ``(K,)`` and margin there."""

    tau: float
    image: Tensor
    probabilities: Tensor
    margin: float
    margin_on_grid: float


def walk(
    renderer: CandidateDecoder, goal: TargetCriterion, rows: Tensor, paths: Polylines, steps: int
) -> list[PathTrace]:
    """Decode and judge ``steps`` points of every path; the start is known already and costs nothing.

    Args:
        renderer: of the images.
        goal: of the images.
        rows: ``(R,)`` the image that each path belongs to.
        paths: R polylines from the image's class code to a reference.
        steps: G, the start and the end included.
    """
    tau = torch.linspace(0, 1, steps, dtype=torch.float64)
    codes = paths.at(tau.expand(len(rows), -1))
    images, answers = renderer.render(rows.repeat_interleave(steps - 1), codes[:, 1:].flatten(0, 1))
    images = images.unflatten(0, (len(rows), steps - 1))
    images = torch.cat([renderer.start_images[rows, None], images], dim=1)
    answers = torch.cat([renderer.start_probabilities[rows, None], answers.unflatten(0, (len(rows), steps - 1))], dim=1)
    margins, reached = goal.margins(answers, rows), goal.reached(answers, rows)
    parts = zip(codes.float(), images, answers, margins, reached, strict=True)
    return [PathTrace(tau, *part) for part in parts]


def bisect(
    renderer: CandidateDecoder,
    goal: TargetCriterion,
    rows: Tensor,
    paths: Polylines,
    walks: list[PathTrace],
    halvings: int,
) -> list[BoundaryPoint]:
    """Halve the step in which each walk first reaches its goal; what is returned always reaches it.

    Args:
        renderer: of the images.
        goal: of the images.
        rows: ``(R,)`` the image that each walk belongs to.
        paths: R polylines.
        walks: R walks along them, each with a point that reaches the goal.
        halvings: how often; the position is exact to a step divided by ``2 ** halvings``.
    """
    first = [walk.first or 0 for walk in walks]
    low = torch.stack([walk.tau[k - 1] for walk, k in zip(walks, first, strict=True)])
    high = torch.stack([walk.tau[k] for walk, k in zip(walks, first, strict=True)])
    images = torch.stack([walk.images[k] for walk, k in zip(walks, first, strict=True)])
    answers = torch.stack([walk.probabilities[k] for walk, k in zip(walks, first, strict=True)])
    on_grid = goal.margins(answers[:, None], rows)[:, 0]
    for _ in range(halvings):
        middle = (low + high) / 2
        image, answer = renderer.render(rows, paths.at(middle[:, None])[:, 0])
        reached = goal.reached(answer[:, None], rows)[:, 0]
        high, low = torch.where(reached, middle, high), torch.where(reached, low, middle)
        images[reached], answers[reached] = image[reached], answer[reached]
    margins = goal.margins(answers[:, None], rows)[:, 0]
    parts = zip(high.tolist(), images, answers, margins.tolist(), on_grid.tolist(), strict=True)
    return [BoundaryPoint(*part) for part in parts]
