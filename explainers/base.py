"""What all explainers share: the call, the checks, the counting of evaluations."""

from __future__ import annotations

import hashlib
import inspect
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, TypeVar

import numpy as np
import torch
from torch import Tensor
from tqdm.auto import tqdm

from cae.classifiers import TargetClassifier
from cae.errors import UserError
from explainers.explanation import Explanation
from explainers.inputs import as_images, as_targets

Inputs = TypeVar("Inputs", Tensor, tuple[Tensor])
Target = int | str | np.integer | np.ndarray | Sequence[int | str] | Tensor | None


@dataclass(frozen=True, eq=False)
class Instance:
    """One image to explain.

    Attributes:
        image: ``(C, H, W)`` float32 in [0, 1], on the classifier's device; never written into.
        target: class to explain.
        probabilities: ``(K,)`` of the classifier on the image.
        seed: follows from the caller's seed and the pixels, so that an image gets the same noise alone or in company.
    """

    image: Tensor
    target: int
    probabilities: Tensor
    seed: int

    def generator(self, *salt: int) -> torch.Generator:
        """A CPU generator of this image's own; different ``salt``, different noise."""
        digest = hashlib.sha256(repr((self.seed, *salt)).encode()).digest()
        return torch.Generator().manual_seed(int.from_bytes(digest[:7], "little"))


@dataclass(frozen=True, eq=False)
class InstanceResult:
    """What a method found for one image: a map ``(1, H, W)`` or ``(H, W)``, extras, and the evaluations it took.

    ``evaluations`` is needed of methods that explain several images together (``explain_batch``); for the others the
    classifier's own counter is read.
    """

    attribution: Tensor
    extras: Mapping[str, Any] = field(default_factory=dict)
    evaluations: int | None = None


class Explainer(ABC):
    """A method that explains predictions of a classifier by maps over the image.

    A subclass stores every constructor argument under its own name (``parameters`` reads them back) and writes
    ``explain_image``, or ``explain_batch`` where it gains by explaining several images together. It scores images by
    ``self.score`` alone, which keeps the bound on the batch.

    Args:
        classifier: the classifier to explain.
        batch_size: images in one forward pass at most.

    Raises:
        UserError: if the method needs gradients, which the classifier cannot give.
    """

    name: str
    needs_gradients: ClassVar[bool] = False
    class_specific: ClassVar[bool] = True  # False: the map has no sign by class
    # constructor arguments that a program fills in: `background`, training images (N, C, H, W); `folder`, of the run
    resources: ClassVar[frozenset[str]] = frozenset()

    def __init__(self, classifier: TargetClassifier, *, batch_size: int = 64):
        if batch_size < 1:
            raise UserError(f"`batch_size` must be at least 1, but is {batch_size}.")
        if self.needs_gradients:
            classifier.require_gradients(self.name)
        self.classifier = classifier
        self.batch_size = batch_size

    def __call__(self, images: Any, target: Target = None, seed: int = 0, progress: bool = False) -> Explanation:
        """Explain images.

        Args:
            images: ``(B, C, H, W)`` floats in [0, 1]; or an array, a PIL picture, a file name, or a list of these.
                Files are brought to the size of the classifier's images.
            target: class to explain, by number or name: one for all images, or one for each; by default the
                classifier's own predictions.
            seed: of all randomness; the global random state is neither read nor changed.
            progress: show a progress bar.

        Raises:
            UserError: for images of another form or range, or a target that is no class.
        """
        started = time.perf_counter()
        channels, height, width = self.classifier.image_shape
        images = as_images(images, channels, height if height == width else None)
        instances = self._instances(images, target, seed)
        bar = tqdm(total=len(instances), desc=self.name, unit="image", disable=not progress)
        results = []
        for result in self._explained(instances):
            results.append(result)
            spent = sum(found.evaluations or 0 for found in results)
            bar.set_postfix_str(f"{spent / max(time.perf_counter() - started, 1e-9):.0f} evaluations/s")
            bar.update()
        bar.close()
        maps = torch.stack([found.attribution.reshape(1, *images.shape[2:]) for found in results])
        return Explanation(
            attribution=maps.detach().to(images.device, torch.float32),
            target=torch.tensor([instance.target for instance in instances], device=images.device),
            probabilities=torch.stack([instance.probabilities for instance in instances]).to(
                images.device, torch.float32
            ),
            method=self.name,
            parameters=self.parameters,
            # one more for the image itself
            evaluations=torch.tensor([(found.evaluations or 0) + 1 for found in results], device=images.device),
            seconds=time.perf_counter() - started,
            extras=tuple(dict(found.extras) for found in results),
        )

    def attribute(self, inputs: Inputs, target: Target = None, seed: int = 0) -> Inputs:
        """The map alone, ``(B, C, H, W)`` as captum spells it: shared out equally over the channels, clipped input.

        A tuple of one tensor, as ``captum.metrics`` hands it over, gives a tuple of one map.
        """
        if isinstance(inputs, tuple):
            if len(inputs) != 1:
                raise UserError(f"An explainer takes one tensor of images, but got {len(inputs)}.")
            return (self.attribute(inputs[0], target, seed),)
        return self(inputs.clamp(0, 1), target, seed).attribution.expand_as(inputs) / inputs.shape[1]

    @property
    def parameters(self) -> dict[str, Any]:
        """The hyper-parameters as plain values: the constructor's arguments; objects are given by their ``name``."""
        left_out = {"self", "classifier", *self.resources}
        names = [name for name in inspect.signature(type(self).__init__).parameters if name not in left_out]
        return {name: _plain(getattr(self, name)) for name in names}

    @property
    def fingerprints(self) -> dict[str, str]:
        """Of models beside the classifier that the maps depend on, by name; results of others are not continued."""
        return {}

    def explain_batch(self, instances: Sequence[Instance]) -> Iterator[InstanceResult]:
        """Explain images, in order; one at a time unless a method overrides this."""
        for instance in instances:
            before = self.classifier.evaluations
            found = self.explain_image(instance)
            yield InstanceResult(found.attribution, found.extras, self.classifier.evaluations - before)

    def _explained(self, instances: Sequence[Instance]) -> Iterator[InstanceResult]:
        """The results in order; a failure says at which image."""
        done = 0
        try:
            for result in self.explain_batch(instances):
                yield result
                done += 1
        except UserError as error:
            if len(instances) == 1:
                raise
            raise UserError(f"Image {done} (counted from 0) of {len(instances)}: {error}") from error

    @abstractmethod
    def explain_image(self, instance: Instance) -> InstanceResult:
        """Explain one image."""

    @torch.inference_mode()
    def score(self, images: Tensor) -> Tensor:
        """Class probabilities ``(N, K)`` of images ``(N, C, H, W)``, on their device, ``batch_size`` at once."""
        parts = [self.classifier.probabilities(part.to(self.device)) for part in images.split(self.batch_size)]
        return torch.cat(parts).to(images.device)

    @property
    def device(self) -> torch.device:
        """Where the classifier is; a black box has no place, and takes images on the CPU."""
        return next(self.classifier.parameters(), torch.empty(0)).device

    def _instances(self, images: Tensor, target: Target, seed: int) -> list[Instance]:
        _check_images(images)
        with torch.no_grad():
            probabilities = self.score(images).to(self.device)
        if target is None:
            targets = probabilities.argmax(1).tolist()
        else:
            targets = as_targets(target, len(images), self.classifier.classes)
        pixels = images.detach().cpu()
        seeds = [image_seed(image, seed) for image in pixels]
        placed = images.detach().to(self.device, torch.float32).clone()
        return [Instance(*parts) for parts in zip(placed, targets, probabilities, seeds, strict=True)]


def image_seed(image: Tensor, seed: int) -> int:
    """A seed of 56 bits that follows from the caller's seed and the pixels ``(C, H, W)``."""
    digest = hashlib.sha256(str(seed).encode())
    digest.update(image.detach().cpu().float().contiguous().numpy().tobytes())
    return int.from_bytes(digest.digest()[:7], "little")


def _check_images(images: Tensor) -> None:
    if images.ndim != 4 or images.shape[1] not in (1, 3) or len(images) == 0:
        raise UserError(f"Images must be (B, C, H, W) with C = 1 or 3 and B at least 1, but are {tuple(images.shape)}.")
    if not images.is_floating_point():
        raise UserError(f"Images must be floats in [0, 1], but are {images.dtype}; divide 8-bit images by 255.")
    low, high = (float(value) for value in images.detach().aminmax())
    if not (low >= -1e-6 and high <= 1 + 1e-6):  # NaN fails too
        raise UserError(
            f"Images must be in [0, 1], but reach from {low:.6g} to {high:.6g}; normalisation is the classifier's."
        )


def _plain(value: Any) -> Any:
    """A value fit for JSON: plain ones as they are, others by their ``name``."""
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    return str(getattr(value, "name", type(value).__name__))
