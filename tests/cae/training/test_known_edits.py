"""Edits whose outcome is known: what they teach where, and what they need."""

from __future__ import annotations

import pytest
import torch

from cae.models.cae import Decoded
from cae.training.known_edits import edit_loss


def test_an_edit_that_paints_what_is_wanted_where_it_is_wanted_costs_nothing():
    images, mask = torch.zeros(2, 1, 4, 4), torch.zeros(2, 1, 4, 4)
    mask[..., :2, :] = 1
    logits = 40 * (2 * mask - 1)
    edit = Decoded(mask, mask, logits.sigmoid(), logits)
    torch.testing.assert_close(edit_loss(edit, images, mask, mask), torch.zeros(2), atol=1e-6, rtol=0)
    assert (edit_loss(edit, images, 0.5 * mask, mask) > 0.5).all()
    assert (edit_loss(edit, images, mask, 1 - mask) > 1).all()


def test_a_model_without_a_mask_is_refused_in_words():
    images = torch.zeros(1, 1, 4, 4)
    with pytest.raises(ValueError, match="`edit` must have a mask"):
        edit_loss(Decoded(images, images, None, None), images, images, images)
