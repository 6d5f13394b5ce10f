"""Who swaps with whom, what is decoded of it, and codes made between two codes."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from tiny_training import SIDE, level_classifier, tiny_config, tiny_images

from cae.config import LossConfig
from cae.models.cae import CAE
from cae.training.swaps import Swaps, choose_donors, decode_swaps


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(0)


@pytest.fixture
def cae() -> CAE:
    torch.manual_seed(0)
    return CAE((1, SIDE, SIDE), tiny_config().cae.model)


@pytest.fixture
def images() -> torch.Tensor:
    return tiny_images(9, 0, "train").images


def swaps_of(cae: CAE, images: torch.Tensor, smote: float = 1.0, **options) -> Swaps:
    config = dataclasses.replace(tiny_config().cae, loss=LossConfig(smote=smote), **options)
    return decode_swaps(cae, images, level_classifier().logits(images).detach(), config)


# --- donors -----------------------------------------------------------------------------------------------------------


def test_every_other_class_is_an_equally_likely_donor():
    torch.manual_seed(0)
    predictions = torch.tensor([0, 0, 0, 0, 0, 1, 1, 2])
    donors = choose_donors(predictions, torch.zeros(40_000, dtype=torch.int64), same_class_share=0.25)
    share = torch.bincount(donors, minlength=8) / 40_000
    expected = torch.tensor([0, 1 / 16, 1 / 16, 1 / 16, 1 / 16, 3 / 16, 3 / 16, 3 / 8])
    # four standard deviations of a share of 3/8 among 40000 draws
    torch.testing.assert_close(share, expected, atol=0.01, rtol=0)


def test_no_image_is_its_own_donor_where_another_is_there():
    torch.manual_seed(0)
    alone_in_class = choose_donors(torch.tensor([0, 1, 1]), torch.zeros(2000, dtype=torch.int64), 0.5)
    assert set(alone_in_class.tolist()) == {1, 2}
    one_class = choose_donors(torch.tensor([1, 1, 1]), torch.ones(2000, dtype=torch.int64), 0.25)
    assert set(one_class.tolist()) == {0, 2}
    assert choose_donors(torch.tensor([0]), torch.tensor([0])).tolist() == [0]


# --- swaps ------------------------------------------------------------------------------------------------------------


@torch.no_grad()
def test_entry_ij_is_decoded_from_the_donors_class_code_and_the_recipients_individual_code(cae, images):
    swaps = swaps_of(cae.eval(), images, smote=0)
    codes = cae.encode(images)
    for entry, (recipient, donor) in enumerate(zip(swaps.recipients, swaps.donor_codes, strict=True)):
        own = codes[recipient : recipient + 1]
        expected = cae.swap(own, dataclasses.replace(own, class_code=donor[None]))
        torch.testing.assert_close(swaps.decoded.image[entry : entry + 1].clamp(0, 1), expected, atol=1e-5, rtol=0)
        assert (codes.class_code - donor).abs().sum(1).min() < 1e-5  # some image's code: nothing is mixed at smote=0


@torch.no_grad()
def test_the_diagonal_equals_the_reconstructions(cae, images):
    swaps = swaps_of(cae.eval(), images)
    individual = cae.encode_individual(swaps.originals)
    own = cae.base(individual).class_code
    torch.testing.assert_close(swaps.reconstruction.clamp(0, 1), cae.decode(own, individual), atol=1e-6, rtol=0)


def test_recipients_and_pairs_are_options(cae, images):
    swaps = swaps_of(cae, images, recipients=5, pairs=7)
    assert len(swaps.originals) == 5
    assert len(swaps.decoded.image) == 7
    assert swaps.recipients.tolist() == [0, 1, 2, 3, 4, 0, 1]


def test_a_quarter_of_the_codes_is_between_those_of_two_images(cae, images):
    mixed = swaps_of(cae, images)
    codes = mixed.codes.class_code
    distances = (mixed.donor_codes[:, None] - codes[None]).abs().sum(2).min(1).values
    assert (distances > 1e-6).sum() == 1  # of four swaps


def test_coherency_is_measured_on_the_images_that_the_option_names(cae, images):
    swaps = swaps_of(cae, images)
    shown = swaps.shown("both")
    assert torch.equal(shown, swaps.decoded.onto(images[swaps.recipients]))
    assert torch.equal(swaps.shown("decoded"), swaps.decoded.image)
    assert torch.equal(swaps.classified("decoded", shown), swaps.decoded.image)
    assert torch.equal(swaps.classified("residual", shown), shown)
    torch.manual_seed(0)
    for image, form, other in zip(swaps.classified("both", shown), swaps.decoded.image, shown, strict=True):
        assert torch.equal(image, form) or torch.equal(image, other)
