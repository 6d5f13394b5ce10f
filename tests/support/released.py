"""Weights as the authors' released code saves them, of a small generator."""

from __future__ import annotations

import torch
from torch import Tensor

SIDE, WIDTH, BLOCKS, CODE = 32, 4, 2, 3
State = dict[str, Tensor]


def released(channels: int = 1) -> State:
    """Weights by the names and in the shapes that the released code saves, with the buffers that it never reads."""
    generator = torch.Generator().manual_seed(0)
    state: State = {}

    def layer(name: str, *shape: int) -> None:
        state[f"{name}.weight"] = torch.randn(shape, generator=generator) / (shape[1] * 9) ** 0.5
        state[f"{name}.bias"] = 0.1 * torch.randn(shape[0], generator=generator)

    widths = [WIDTH, 2 * WIDTH, 4 * WIDTH, 4 * WIDTH, 4 * WIDTH]
    for encoder, count in (("enc_style", 5), ("enc_content", 3)):
        layer(f"{encoder}.model.0.conv", WIDTH, channels, 7, 7)
        for number in range(1, count):
            layer(f"{encoder}.model.{number}.conv", widths[number], widths[number - 1], 4, 4)
    layer("enc_style.model.5", CODE, 4 * WIDTH, 1, 1)
    for place in ("enc_content.model.3", "dec.model.0"):
        for block in range(BLOCKS):
            for half in range(2):
                name = f"{place}.model.{block}.model.{half}"
                layer(f"{name}.conv", 4 * WIDTH, 4 * WIDTH, 3, 3)
                if place.startswith("dec"):
                    state[f"{name}.norm.running_mean"] = torch.randn(4 * WIDTH, generator=generator)
                    state[f"{name}.norm.running_var"] = torch.rand(4 * WIDTH, generator=generator)
    for number, inputs in ((2, 4 * WIDTH), (4, 2 * WIDTH)):
        layer(f"dec.model.{number}.conv", inputs // 2, inputs, 5, 5)
        state[f"dec.model.{number}.norm.gamma"] = torch.rand(inputs // 2, generator=generator)
        state[f"dec.model.{number}.norm.beta"] = torch.randn(inputs // 2, generator=generator)
    layer("dec.model.5.conv", channels, WIDTH, 7, 7)
    for number, (outputs, inputs) in enumerate([(16, CODE), (16, 16), (BLOCKS * 4 * 4 * WIDTH, 16)]):
        layer(f"mlp.model.{number}.fc", outputs, inputs)
    return state
