"""The neural causation coefficient (NCC): which of two variables causes the other, told from a scatter of points.

Reference: Lopez-Paz, Nishihara, Chintala, Schölkopf, Bottou 2017, arXiv:1605.08179, section 4.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from cae.errors import UserError
from cae.files import read_tensors, write_weights
from explainers.caes.cause_effect_pairs import SMALLEST_DEVIATION, standardised

FORMAT = "ncc-1"
SHIPPED = Path(__file__).parents[1] / "weights" / "ncc.safetensors"
POINTS_AT_ONCE = 200_000  # points that pass through a network together


class CausationNetwork(nn.Module):
    """Each point through two layers, the mean over the points through two more, then one logit.

    Args:
        width: units of each hidden layer.
        dropout: share of units left out in training.
    """

    def __init__(self, width: int = 100, dropout: float = 0.25):
        super().__init__()
        self.width, self.dropout = width, dropout
        self.embed = nn.Sequential(*_layer(2, width, dropout), *_layer(width, width, dropout))
        self.classify = nn.Sequential(
            *_layer(width, width, dropout), *_layer(width, width, dropout), nn.Linear(width, 1)
        )

    def forward(self, clouds: Tensor) -> Tensor:
        """Logits ``(B,)`` of "the second variable causes the first", of clouds ``(B, P, 2)``; P may be any number."""
        count, points, _ = clouds.shape
        embedded = self.embed(clouds.reshape(count * points, 2)).reshape(count, points, -1)
        return self.classify(embedded.mean(1)).squeeze(1)


def _layer(inputs: int, outputs: int, dropout: float) -> list[nn.Module]:
    return [nn.Linear(inputs, outputs), nn.BatchNorm1d(outputs), nn.ReLU(), nn.Dropout(dropout)]


@torch.no_grad()
def symmetrised_score(network: CausationNetwork, x: Tensor, y: Tensor) -> Tensor:
    """How much y looks like the cause of x: 0 = "x causes y", 1 = "y causes x"; ``s(x, y) + s(y, x) = 1``.

    The mean of the network's answer and of one minus its answer to the exchanged variables, so that a liking for one of
    the two places cancels.

    Args:
        network: in evaluation mode.
        x: ``(B, P)``, of any location and scale.
        y: ``(B, P)``.

    Returns:
        ``(B,)`` in [0, 1]; NaN where a variable is constant.
    """
    network.eval()
    variable = _varies(x) & _varies(y)
    x, y = standardised(x), standardised(y)
    rows = max(1, POINTS_AT_ONCE // x.shape[1])
    parts = []
    for one, other in zip(x.split(rows), y.split(rows), strict=True):
        forward = network(torch.stack([one, other], 2)).sigmoid()
        backward = network(torch.stack([other, one], 2)).sigmoid()
        parts.append((1 + forward - backward) / 2)
    return torch.where(variable, torch.cat(parts), torch.nan)


def _varies(values: Tensor) -> Tensor:
    """Whether each row ``(B, P)`` varies by more than rounding."""
    centred = values - values.mean(-1, keepdim=True)
    return centred.abs().amax(-1) > SMALLEST_DEVIATION + 1e-6 * values.abs().amax(-1)


@dataclass(frozen=True, eq=False)
class NeuralCausation:
    """Networks trained alike from several seeds; what they agree on is the coefficient.

    Attributes:
        networks: in evaluation mode.
        header: how they were made: ``command``, ``accuracy`` of each member on validation pairs, ``options``.
    """

    networks: Sequence[CausationNetwork]
    header: Mapping[str, Any] = field(default_factory=dict)

    def scores(self, x: Tensor, y: Tensor) -> Tensor:
        """Symmetrised scores ``(M, B)`` by each of M networks, of variables ``x (B, P)`` and ``y (B, P)``."""
        return torch.stack([symmetrised_score(network, x, y) for network in self.networks])

    def to(self, device: torch.device | str) -> NeuralCausation:
        """The same on another device."""
        return NeuralCausation([network.to(device) for network in self.networks], self.header)

    def save(self, path: str | Path) -> None:
        """Write weights and header to one safetensors file, atomically."""
        tensors = {
            f"{number}.{name}": value
            for number, network in enumerate(self.networks)
            for name, value in network.state_dict().items()
            if not name.endswith("num_batches_tracked")  # of the training only
        }
        sizes = [{"width": network.width, "dropout": network.dropout} for network in self.networks]
        header = {"format": FORMAT, "networks": sizes, **self.header}
        write_weights(path, tensors, "ncc", header)

    @classmethod
    def load(cls, path: str | Path | None = None) -> NeuralCausation:
        """Read what ``save`` wrote; without a path, the networks that come with the program.

        Raises:
            UserError: if there is no such file, or it holds something else.
        """
        path = Path(path or SHIPPED)
        try:
            header, tensors = read_tensors(path, "ncc")
        except (OSError, SafetensorError, ValueError) as error:
            raise UserError(
                f"'{path}' cannot be read as networks of the neural causation coefficient ({error}): make them with "
                "`python train.py ncc name=ncc`, or leave `caes.ncc` out."
            ) from error
        if header.pop("format", None) != FORMAT:
            raise UserError(f"'{path}' holds no networks of the neural causation coefficient.")
        networks = [_restored(sizes, tensors, f"{number}.") for number, sizes in enumerate(header.pop("networks"))]
        return cls(networks, header)


def _restored(sizes: Mapping[str, Any], tensors: Mapping[str, Tensor], prefix: str) -> CausationNetwork:
    network = CausationNetwork(**sizes)
    state = {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
    network.load_state_dict(state, strict=False)  # counters of batch normalisation are not kept
    return network.eval().requires_grad_(False)
