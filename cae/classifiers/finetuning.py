"""Trained networks with a new last layer, from where a training on other classes starts."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from cae.classifiers.checkpoints import load_weights, read_state_dict, scores_of_head
from cae.classifiers.features import last_linear
from cae.classifiers.libraries import STATE_DICT, comes_trained, fit_first_convolution, trained, untrained, weights_file
from cae.config import ClassifierConfig
from cae.errors import UserError

MOMENTUM = 0.1  # of batch statistics at least: some networks had many more steps to gather them


@dataclass(frozen=True, eq=False)
class StartingNetwork:
    """A network to be trained further.

    Attributes:
        network: from normalised images ``(B, C, H, W)`` to logits ``(B, K)``, with a random last layer.
        mean: per-channel mean on [0, 1] that it was trained with; empty for none.
        std: per-channel standard deviation, likewise.
        size: side of its input in pixels, where that is known.
    """

    network: nn.Module
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    size: int | None = None


def starting_network(config: ClassifierConfig, classes: int) -> StartingNetwork:
    """The trained network that ``classifier.model`` and ``classifier.weights`` name, with a new layer for K classes.

    Args:
        config: of the classifier; its ``mean`` and ``std`` win over those that come with the weights.
        classes: K.

    Raises:
        UserError: for an unknown network, or weights that are missing or do not fit.
    """
    mean, std = tuple(config.mean), tuple(config.std)
    if comes_trained(config):
        found = trained(config)
        network = with_new_head(found.network, classes, config.model)
        return StartingNetwork(network, mean or found.mean, std or found.std, found.size)
    path = weights_file(config, STATE_DICT)
    build, state = untrained(config.model), read_state_dict(path)
    scores = scores_of_head(build(classes), state) or classes
    network = fit_first_convolution(build(scores), state)
    load_weights(network, state, path, config.model)
    return StartingNetwork(with_new_head(network, classes, config.model), mean, std)


def with_new_head(network: nn.Module, classes: int, name: str) -> nn.Module:
    """The network with a random last linear layer, for K classes, and batch statistics that soon follow new images.

    Args:
        network: is changed in place.
        classes: K.
        name: for the error.

    Raises:
        UserError: if it does not end in a linear layer.
    """
    last = last_linear(network)
    place = next((key for key, part in network.named_modules() if part is last), "")
    if last is None or not place:
        raise UserError(
            f"`classifier.finetune=true` needs a network that ends in a linear layer, which {name} does not."
        )
    parent, _, attribute = place.rpartition(".")
    setattr(network.get_submodule(parent), attribute, nn.Linear(last.in_features, classes))
    for part in network.modules():
        if isinstance(part, nn.modules.batchnorm._BatchNorm) and part.momentum is not None:
            part.momentum = max(part.momentum, MOMENTUM)
    return network
