"""Decoding and classifying the points of paths in batches: the work behind ``find_counterfactuals``."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from cae.classifiers import TargetClassifier
from cae.devices import device_of
from cae.manifold.code_paths import Polylines
from cae.models.cae import CAE
from cae.models.editing import ResidualEdit
from cae.models.published import PublishedCAE


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
        """Margin ``(R, G)`` of the class to be reached in ``probabilities (R, G, K)`` of the images ``rows (R,)``."""
        shape = probabilities.shape[:-1]
        if self.targets is None:
            return -target_margin(probabilities, self.sources[rows, None].expand(shape))
        return target_margin(probabilities, self.targets[rows, None].expand(shape))

    def reached(self, probabilities: Tensor, rows: Tensor) -> Tensor:
        """Whether ``(R, G)`` the prediction and its margin are as asked for."""
        predicted = probabilities.argmax(-1)
        right = predicted != self.sources[rows, None] if self.targets is None else predicted == self.targets[rows, None]
        return right & (self.margins(probabilities, rows) >= self.margin)


class CandidateDecoder:
    """Decodes class codes into the images that are classified and returned, and counts what that costs each image.

    At most ``batch_size`` images are encoded, decoded or classified at once. Individual codes stay on the device of the
    model; everything that is returned lies on the CPU. With ``output="residual"`` the decoder's change is added to
    the original, which keeps the detail that reconstruction loses (``cae.models.editing``).
    """

    def __init__(
        self,
        cae: CAE | PublishedCAE,
        classifier: TargetClassifier,
        images: Tensor,
        *,
        output: str,
        batch_size: int,
        quantise: bool,
    ):
        self.cae, self.classifier = cae, classifier
        self.residual, self.batch_size, self.quantise = output == "residual", batch_size, quantise
        self.images = images.detach().float().to(device_of(cae))
        self.classifier_evaluations = torch.zeros(len(images), dtype=torch.int64)
        self.decoder_evaluations = torch.zeros(len(images), dtype=torch.int64)
        self._edit = ResidualEdit(cae, self.images, batch_size)
        self.class_codes = self._edit.codes.class_code.cpu()
        self.reconstructions = self._edit.reconstructions
        self.decoder_evaluations += 1
        everything = torch.arange(len(images))
        self.probabilities = self.classify(everything, self.images)
        self.start_images, self.start_probabilities = self._start(everything)

    def _start(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """The images at the start of every path, with their probabilities."""
        if self.residual:
            # the original itself: the rounding of another batch or of 8 bits must not change it
            return self.images.cpu(), self.probabilities
        images = self.rounded(self.reconstructions)
        return images.cpu(), self.classify(rows, images)

    def rounded(self, images: Tensor) -> Tensor:
        """Images as they are returned: in [0, 1], of 256 levels unless ``quantise`` is off."""
        return round_to_8_bits(images) if self.quantise else images.clamp(0, 1)

    def classify(self, rows: Tensor, images: Tensor) -> Tensor:
        """Class probabilities ``(R, K)`` of images on any device; ``rows (R,)`` says on whose account."""
        self.classifier_evaluations += torch.bincount(rows, minlength=len(self.images))
        device = device_of(self.classifier)
        chunks = [self.classifier.probabilities(chunk.to(device)) for chunk in images.split(self.batch_size)]
        return torch.cat(chunks).float().cpu()

    def unrounded(self, rows: Tensor, codes: Tensor) -> Tensor:
        """Images ``(R, C, H, W)`` of class codes ``(R, D)``, differentiable; R at most ``batch_size``."""
        self.decoder_evaluations += torch.bincount(rows, minlength=len(self.images))
        place = self.images.device
        rows, codes = rows.to(place), codes.to(place, torch.float32)
        if not self.residual:
            return self._edit.decoded(rows, codes).clamp(0, 1)
        return self._edit.onto(rows, codes).clamp(0, 1)

    def evaluate(self, rows: Tensor, codes: Tensor) -> tuple[Tensor, Tensor]:
        """Returned images ``(R, C, H, W)`` of class codes ``(R, D)``, with their probabilities ``(R, K)``."""
        images, probabilities = [], []
        for part in torch.arange(len(rows)).split(self.batch_size):
            image = self.rounded(self.unrounded(rows[part], codes[part]))
            probabilities.append(self.classify(rows[part], image))
            images.append(image.cpu())
        return torch.cat(images), torch.cat(probabilities)


@dataclass(frozen=True, eq=False)
class PathTrace:
    """One image's path towards one reference: what was decoded and classified at every ``tau (G,)``.

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
        """The first point after the start at which the target is reached."""
        points = self.reached[1:].nonzero()[:, 0]
        return int(points[0]) + 1 if len(points) else None

    @property
    def sign_changes(self) -> int:
        """How often the target is reached or lost again from one point to the next; 1 for a clean path."""
        return int((self.reached[1:] != self.reached[:-1]).sum())

    @property
    def best(self) -> int:
        """The point after the start with the largest margin."""
        return int(self.margins[1:].argmax()) + 1 if len(self.margins) > 1 else 0


@dataclass(frozen=True, eq=False)
class BoundaryPoint:
    """Where a path reaches its target: position, image ``(C, H, W)``, probabilities ``(K,)`` and margin there."""

    tau: float
    image: Tensor
    probabilities: Tensor
    margin: float
    margin_on_grid: float


def trace_paths(
    decoder: CandidateDecoder, criterion: TargetCriterion, rows: Tensor, paths: Polylines, steps: int
) -> list[PathTrace]:
    """Decode and classify ``steps`` points of every path; the start is known already and costs nothing.

    Args:
        decoder: of the images.
        criterion: of the images.
        rows: ``(R,)`` the image that each path belongs to.
        paths: R polylines from the image's class code to a reference.
        steps: G, the start and the end included.
    """
    tau = torch.linspace(0, 1, steps, dtype=torch.float64)
    codes = paths.at(tau.expand(len(rows), -1))
    images, probabilities = decoder.evaluate(rows.repeat_interleave(steps - 1), codes[:, 1:].flatten(0, 1))
    images = images.unflatten(0, (len(rows), steps - 1))
    probabilities = probabilities.unflatten(0, (len(rows), steps - 1))
    images = torch.cat([decoder.start_images[rows, None], images], dim=1)
    probabilities = torch.cat([decoder.start_probabilities[rows, None], probabilities], dim=1)
    margins, reached = criterion.margins(probabilities, rows), criterion.reached(probabilities, rows)
    parts = zip(codes.float(), images, probabilities, margins, reached, strict=True)
    return [PathTrace(tau, *part) for part in parts]


def bisect(
    decoder: CandidateDecoder,
    criterion: TargetCriterion,
    rows: Tensor,
    paths: Polylines,
    traces: list[PathTrace],
    halvings: int,
) -> list[BoundaryPoint]:
    """Halve the step in which each path first reaches its target; what is returned always reaches it.

    Args:
        decoder: of the images.
        criterion: of the images.
        rows: ``(R,)`` the image that each path belongs to.
        paths: R polylines.
        traces: of the R paths, each with a point that reaches the target.
        halvings: how often; the position is exact to a step divided by ``2 ** halvings``.
    """
    first = [trace.first or 0 for trace in traces]
    low = torch.stack([trace.tau[k - 1] for trace, k in zip(traces, first, strict=True)])
    high = torch.stack([trace.tau[k] for trace, k in zip(traces, first, strict=True)])
    images = torch.stack([trace.images[k] for trace, k in zip(traces, first, strict=True)])
    probabilities = torch.stack([trace.probabilities[k] for trace, k in zip(traces, first, strict=True)])
    on_grid = criterion.margins(probabilities[:, None], rows)[:, 0]
    for _ in range(halvings):
        middle = (low + high) / 2
        between, seen = decoder.evaluate(rows, paths.at(middle[:, None])[:, 0])
        reached = criterion.reached(seen[:, None], rows)[:, 0]
        high, low = torch.where(reached, middle, high), torch.where(reached, low, middle)
        images[reached], probabilities[reached] = between[reached], seen[reached]
    margins = criterion.margins(probabilities[:, None], rows)[:, 0]
    parts = zip(high.tolist(), images, probabilities, margins.tolist(), on_grid.tolist(), strict=True)
    return [BoundaryPoint(*part) for part in parts]
