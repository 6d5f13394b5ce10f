"""The parts of the model, where their answer is known exactly."""

from __future__ import annotations

import math

import pytest
import torch

from cae.models.networks import Editor


@pytest.mark.parametrize("masked", [True, False])
@pytest.mark.parametrize("distance", [0.0, 0.05, 0.25, 1.0])
def test_the_editor_acts_as_strongly_as_the_codes_are_apart(masked, distance):
    """``1 - exp(-4 mean(d^2))``: nothing for the image's own code, nearly all at one standard deviation."""
    torch.manual_seed(0)
    editor = Editor(channels=1, class_dim=4, width=4, levels=2, masked=masked).eval()
    features = [torch.randn(2, 8, 4, 4), torch.randn(2, 4, 8, 8)]
    own = torch.randn(2, 4)
    signs = torch.tensor([[1.0, -1.0, 1.0, 1.0], [-1.0, 1.0, 1.0, -1.0]])
    asked = own + math.sqrt(distance) * signs
    strength = 1 - math.exp(-4 * distance)
    paint, mask, logits = editor(features, asked, own)
    if masked:
        assert mask is not None
        assert torch.allclose(mask, strength * torch.sigmoid(logits), atol=1e-6)
        assert float(mask.max()) <= strength + 1e-6
        return
    # the paint is bounded by black to white, and the strength is a factor of it
    assert float(paint.abs().max()) <= 2 * strength + 1e-6
    styled = editor.style(torch.cat([asked, asked - own], dim=1))
    h = features[0]
    for block in editor.entry:
        h = h + block(h, styled)
    doubled = torch.nn.functional.interpolate(h, scale_factor=2, mode="bilinear", align_corners=False)
    h = editor.ups[0](doubled, styled) + features[1]
    out = editor.exit(torch.nn.functional.interpolate(h, scale_factor=2, mode="bilinear", align_corners=False), styled)
    assert torch.allclose(paint, strength * 2 * torch.tanh(out / 2), atol=1e-5)
