"""Checkpoints of the released code give the images that the released network gives."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from released import BLOCKS, CODE, SIDE, WIDTH, State, released
from torch import Tensor

from cae.config.command_line import load_config
from cae.errors import UserError
from cae.models.released_checkpoints import load_released


def convolved(state: State, name: str, x: Tensor, padding: int, stride: int = 1) -> Tensor:
    return F.conv2d(F.pad(x, (padding,) * 4, "reflect"), state[f"{name}.weight"], state[f"{name}.bias"], stride)


def class_code(state: State, x: Tensor) -> Tensor:
    for number in range(5):
        x = convolved(state, f"enc_style.model.{number}.conv", x, 1 if number else 3, 2 if number else 1).relu()
    return F.conv2d(x, state["enc_style.model.5.weight"], state["enc_style.model.5.bias"]).mean((2, 3))


def individual_code(state: State, x: Tensor) -> Tensor:
    for number in range(3):
        x = convolved(state, f"enc_content.model.{number}.conv", x, 1 if number else 3, 2 if number else 1)
        x = F.instance_norm(x).relu()
    for block in range(BLOCKS):
        name = f"enc_content.model.3.model.{block}.model"
        inner = F.instance_norm(convolved(state, f"{name}.0.conv", x, 1)).relu()
        x = x + F.instance_norm(convolved(state, f"{name}.1.conv", inner, 1))
    return x


def decoded(state: State, code: Tensor, x: Tensor) -> Tensor:
    for number in range(3):
        code = F.linear(code, state[f"mlp.model.{number}.fc.weight"], state[f"mlp.model.{number}.fc.bias"])
        code = code.relu() if number < 2 else code
    norms = iter(code.split(4 * WIDTH, dim=1))  # bias, then gain, layer after layer

    def modulated(x: Tensor) -> Tensor:
        bias, gain = next(norms), next(norms)
        return F.instance_norm(x) * gain[..., None, None] + bias[..., None, None]

    for block in range(BLOCKS):
        name = f"dec.model.0.model.{block}.model"
        inner = modulated(convolved(state, f"{name}.0.conv", x, 1)).relu()
        x = x + modulated(convolved(state, f"{name}.1.conv", inner, 1))
    for number in (2, 4):
        x = convolved(state, f"dec.model.{number}.conv", F.interpolate(x, scale_factor=2), 2)
        x = (x - x.mean((1, 2, 3), keepdim=True)) / (x.std((1, 2, 3), keepdim=True) + 1e-5)
        gain, bias = (state[f"dec.model.{number}.norm.{name}"].view(-1, 1, 1) for name in ("gamma", "beta"))
        x = (x * gain + bias).relu()
    return convolved(state, "dec.model.5.conv", x, 3).tanh()


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("wrapped", [True, False])
def test_a_released_checkpoint_gives_the_codes_and_images_of_the_released_network(channels, wrapped, tmp_path):
    state = released(channels)
    torch.save({"ab": state} if wrapped else state, tmp_path / "gen_00200000.pt")
    cae = load_released(tmp_path / "gen_00200000.pt", (channels, SIDE, SIDE))
    images = torch.rand(2, channels, SIDE, SIDE, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        codes, swapped = cae.encode(images), cae.encode(images.flip(0))
        assert torch.allclose(codes.class_code, class_code(state, 2 * images - 1), atol=1e-5)
        assert torch.allclose(codes.individual_code, individual_code(state, 2 * images - 1), atol=1e-4)
        expected = (decoded(state, swapped.class_code, codes.individual_code) + 1) / 2
        assert torch.allclose(cae.swap(codes, swapped), expected, atol=1e-5)
    assert cae.sizes == {"class_dim": CODE, "width": WIDTH, "blocks": BLOCKS}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"ab": {"cnns.0.conv.weight": torch.ones(1)}}, "no checkpoint of the released code's generator.*cnns.0"),
        ({"ab": {}}, "holds no generator"),
        ({"ab": {**released(), "enc_style.model.5.weight": torch.ones(CODE, 5, 1, 1)}}, "does not fit the published"),
        ([1], "is damaged"),
        (released(3), "takes images of 3 channels, but the data has 1: set data.channels=3"),
    ],
)
def test_other_files_are_refused_in_words(content, words, tmp_path):
    torch.save(content, tmp_path / "gen.pt")
    with pytest.raises(UserError, match=rf"gen\.pt'.*{words}"):
        load_released(tmp_path / "gen.pt", (1, SIDE, SIDE))


def test_a_missing_file_and_another_preset_are_refused(tmp_path):
    with pytest.raises(UserError, match="there is no such file"):
        load_released(tmp_path / "gen.pt", (1, SIDE, SIDE))
    with pytest.raises(UserError, match=r"set cae\.preset=published"):
        load_config(overrides=["cae.weights=gen.pt"])
