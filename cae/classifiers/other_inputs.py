"""Other forms in which a classifier may have been trained to take its images, to try on labelled ones."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from cae.classifiers.preprocessing import Preprocessing
from cae.classifiers.target import TargetClassifier

Numbers = list[float]
IMAGENET = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]  # mean and deviation of photographs in [0, 1]


@dataclass(frozen=True, eq=False)
class OtherInput:
    """A form of the images.

    Attributes:
        words: what it is, after "given images".
        remedy: what to set or to change, should it be that of the training.
        preprocess: what brings images in [0, 1] to it.
        turned: whether the channels come in the other order.
    """

    words: str
    remedy: str
    preprocess: Preprocessing
    turned: bool = False


def other_inputs(classifier: TargetClassifier) -> list[OtherInput]:
    """The forms that are most often mistaken for the one at hand: bytes, another normalisation, blue before red."""
    own = classifier.preprocess
    forms, seen = list[OtherInput](), [(own.mean.flatten().tolist(), own.std.flatten().tolist())]
    for words, mean, std, further in _normalisations(*seen[0]):
        if min(std) <= 0 or max(mean) > 1 or max(std) > 1:
            continue
        made = Preprocessing(own.channels, own.size, mean, std).to(own.mean.device)
        numbers = made.mean.flatten().tolist(), made.std.flatten().tolist()
        if numbers not in seen:
            seen.append(numbers)
            remedy = f"set classifier.mean={_listed(mean)} classifier.std={_listed(std)}{further}"
            forms.append(OtherInput(words, remedy, made))
    if own.channels == 3 and classifier.image_shape[0] == 3:
        words = "with their channels in the order blue, green, red"
        forms.append(OtherInput(words, "give it a first layer that turns the channels round", own, turned=True))
    return forms


def _normalisations(mean: Numbers, std: Numbers) -> Iterator[tuple[str, Numbers, Numbers, str]]:
    """Words, mean, deviation and further words on the remedy; ``mean`` and ``std`` are those at hand, by channel."""
    divided = ", or take the division by 255 out of it"
    yield "with values from 0 to 255", [value / 255 for value in mean], [value / 255 for value in std], divided
    yield "without normalisation", [0.0], [1.0], ""
    yield "with `classifier.mean` and `classifier.std` exchanged", std, mean, ""
    photographs = IMAGENET if len(mean) == 3 else [[round(sum(values) / 3, 3)] for values in IMAGENET]
    yield "normalised as photographs of ImageNet are", *photographs, ""
    yield "brought to the range from -1 to 1", [0.5], [0.5], ""


def _listed(values: Numbers) -> str:
    shortest = values[:1] if len(set(values)) == 1 else values
    return "[" + ",".join(f"{value:.4g}" for value in shortest) + "]"


@torch.no_grad()
def logits_given(classifier: TargetClassifier, images: Tensor, other: OtherInput) -> Tensor:
    """Logits ``(B, K)`` of images ``(B, C, H, W)`` in [0, 1] that the classifier is given in another form.

    Raises:
        UserError: if it does not take them.
    """
    with _prepared_by(classifier, other.preprocess):
        return classifier.logits(images.flip(1) if other.turned else images)


@contextmanager
def _prepared_by(classifier: TargetClassifier, preprocess: Preprocessing) -> Iterator[None]:
    own = classifier.preprocess
    classifier.preprocess = preprocess
    try:
        yield
    finally:
        classifier.preprocess = own
