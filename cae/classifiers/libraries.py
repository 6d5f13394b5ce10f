"""Networks of torchvision and timm, and EfficientNet-Lite0, by name: untrained, trained, with the user's weights."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from cae.classifiers.checkpoints import existing_file, load_weights, read_state_dict, scores_of_head
from cae.classifiers.imagenet import (
    LITE0,
    PRETRAINED,
    TrainedNetwork,
    efficientnet_lite0,
    timm_pretrained,
    torchvision_pretrained,
    untrained_lite0,
)
from cae.classifiers.networks import OWN_NETWORKS
from cae.config import ClassifierConfig
from cae.errors import UserError, did_you_mean


def _torchvision(name: str) -> Callable[[int], nn.Module]:
    """A function from the number of scores to an untrained torchvision network."""
    import torchvision.models as models

    if name not in models.list_models(module=models):
        raise unknown_model(f"torchvision:{name}")

    def build(scores: int) -> nn.Module:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # on the initial weights of googlenet and inception
            return models.get_model(name, weights=None, num_classes=scores)

    return build


def _timm(name: str) -> Callable[[int], nn.Module]:
    """A function from the number of scores to an untrained timm network."""
    try:
        import timm
    except ModuleNotFoundError:
        raise UserError(f"`classifier.model=timm:{name}` needs timm: pip install 'cae-explain[timm]'.") from None
    if not timm.is_model(name):
        raise unknown_model(f"timm:{name}")
    return lambda scores: timm.create_model(name, pretrained=False, num_classes=scores)


STATE_DICT = "its state dict (.safetensors, .pt, .pth)"
BUILDERS: dict[str, Callable[[str], Callable[[int], nn.Module]]] = {"torchvision": _torchvision, "timm": _timm}
FETCHERS: dict[str, Callable[[str], TrainedNetwork]] = {"torchvision": torchvision_pretrained, "timm": timm_pretrained}


def untrained(model: str) -> Callable[[int], nn.Module]:
    """A function from the number of scores to an untrained network.

    Args:
        model: ``efficientnet_lite0``, ``torchvision:NAME`` or ``timm:NAME``.

    Raises:
        UserError: for an unknown name.
    """
    kind, _, name = model.partition(":")
    if model == LITE0:
        return untrained_lite0
    if kind not in BUILDERS or not name:
        raise unknown_model(model)
    return BUILDERS[kind](name)


def comes_trained(config: ClassifierConfig) -> bool:
    """Whether the classifier that the options name brings weights, and classes, of its own."""
    return config.model == LITE0 or (config.model.partition(":")[0] in FETCHERS and config.weights == PRETRAINED)


def trained(config: ClassifierConfig) -> TrainedNetwork:
    """The network that comes with its weights, from a package, a cache or a network."""
    if config.model == LITE0:
        if config.weights not in (None, PRETRAINED):
            raise UserError(
                f"`classifier.model={LITE0}` brings its weights along: leave `classifier.weights` empty, not "
                f"{config.weights!r}."
            )
        return efficientnet_lite0()
    kind, _, name = config.model.partition(":")
    BUILDERS[kind](name)  # an unknown name is said to be one before anything is fetched
    return FETCHERS[kind](name)


def load_foreign(build: Callable[[int], nn.Module], config: ClassifierConfig, path: Path, classes: int) -> nn.Module:
    """A torchvision or timm network with the user's weights, its head and first convolution sized to fit."""
    state = read_state_dict(path)
    network = fit_first_convolution(build(classes), state)
    if classes == 2 and scores_of_head(network, state) == 1:
        network = fit_first_convolution(build(1), state)
    load_weights(network, state, path, config.model)
    if getattr(network, "transform_input", None) is False and not config.mean:
        warnings.warn(
            f"`classifier.model={config.model}`: if it was trained from torchvision's own weights, it normalised its "
            "input itself, which a file of weights does not say: set `classifier.mean=[0.5,0.5,0.5]` and "
            "`classifier.std=[0.5,0.5,0.5]`.",
            stacklevel=2,
        )
    return network


def fit_first_convolution(network: nn.Module, state: Mapping[str, Tensor]) -> nn.Module:
    """The network with a first convolution for 1 or 3 channels, whichever the checkpoint's first kernels are for."""
    name, first = next(((n, part) for n, part in network.named_modules() if isinstance(part, nn.Conv2d)), ("", None))
    channels = next((value.shape[1] for value in state.values() if value.ndim == 4), None)
    if first is None or first.groups != 1 or channels in (None, first.in_channels) or channels not in (1, 3):
        return network
    same = ("out_channels", "kernel_size", "stride", "padding", "dilation", "padding_mode")
    options: dict[str, Any] = {key: getattr(first, key) for key in same}
    parent, _, attribute = name.rpartition(".")
    new = type(first)(channels, bias=first.bias is not None, **options)
    setattr(network.get_submodule(parent), attribute, new)
    return network


def weights_file(config: ClassifierConfig, what: str) -> Path:
    """The file of ``classifier.weights``; ``what`` it should be stands in the error."""
    if config.weights is None:
        raise UserError(
            f"`classifier.model={config.model}` needs `classifier.weights`: the path of {what}. Nothing is downloaded "
            f"(but for torchvision:NAME and timm:NAME with `classifier.weights={PRETRAINED}`)."
        )
    return existing_file(config.weights)


def _known_models() -> list[str]:
    """Every name that ``classifier.model`` takes on this machine."""
    import torchvision.models as models

    names = [
        *OWN_NETWORKS,
        LITE0,
        "torchscript",
        "onnx",
        *(f"torchvision:{n}" for n in models.list_models(module=models)),
    ]
    try:
        import timm
    except ModuleNotFoundError:
        return names
    return names + [f"timm:{name}" for name in timm.list_models()]


def unknown_model(model: str) -> UserError:
    """The error of a name that is not known, with the nearest one that is."""
    return UserError(
        f"`classifier.model`: {model!r} is not known{_nearest(model)}; known are {', '.join(OWN_NETWORKS)}, {LITE0}, "
        "torchvision:NAME, timm:NAME, torchscript, onnx and callable:package.module:name."
    )


def _nearest(model: str) -> str:
    """The nearest name; one without a source, such as ``resnet18``, is looked for in all of them."""
    known = _known_models()
    same = [name for name in known if name.partition(":")[2] == model]
    return f" (did you mean {same[0]!r}?)" if same else did_you_mean(model, known)
