"""Who swaps with whom, what is decoded of it, and codes made between two codes."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from tiny_training import SIDE, level_classifier, tiny_config, tiny_images

from cae.config import LossConfig
from cae.models.cae import CAE
from cae.training.swaps import Swaps, choose_donors, decode_swaps, smote_codes


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


# --- codes between codes ----------------------------------------------------------------------------------------------


def test_smote_codes_lie_between_neighbours_of_one_class(generator):
    predictions = torch.tensor([0] * 10 + [1] * 10)
    codes = torch.randn(20, 3, generator=generator) + 5 * predictions.unsqueeze(1)
    probabilities = torch.eye(2)[predictions] * 0.8 + 0.1
    mixed, found = smote_codes(codes, probabilities, predictions, 50, neighbours=3, generator=generator)
    assert mixed.shape == (50, 3)
    assert found.shape == (50, 2)
    chosen = found.argmax(1)
    for code, k in zip(mixed, chosen, strict=True):
        own = codes[predictions == k]
        a, b = torch.triu_indices(10, 10, offset=1)
        lengths = (own[a] - own[b]).norm(dim=1)
        detour = (own[a] - code).norm(dim=1) + (own[b] - code).norm(dim=1) - lengths
        on_segment = detour < 1e-4 * lengths
        assert on_segment.any()
        nearest = torch.cdist(own, own).argsort(1)[:, 1:4]
        near = (nearest[a] == b.unsqueeze(1)).any(1) | (nearest[b] == a.unsqueeze(1)).any(1)
        assert (on_segment & near).any()


@pytest.mark.parametrize(("u", "end"), [(0.0, 0), (1.0, 1)])
def test_smote_end_points_are_the_codes_themselves(u, end, monkeypatch):
    codes, probabilities = torch.tensor([[0.3, 0.1], [0.7, 0.9]]), torch.tensor([[0.9, 0.1], [0.6, 0.4]])
    draws = torch.tensor([[0.1], [0.1], [u]])  # a is the first code, b its only neighbour
    monkeypatch.setattr(torch, "rand", lambda *_, **__: draws)
    mixed, found = smote_codes(codes, probabilities, torch.zeros(2, dtype=torch.int64), 1)
    assert torch.equal(mixed[0], codes[end])
    assert torch.equal(found[0], probabilities[end])


def test_smote_mixes_probabilities_as_it_mixes_codes(generator):
    codes, found = torch.tensor([[0.0], [1.0]]), torch.tensor([[1.0, 0.0], [0.6, 0.4]])
    mixed, mixed_probabilities = smote_codes(codes, found, torch.zeros(2).long(), 20, generator=generator)
    torch.testing.assert_close(mixed_probabilities[:, 1], 0.4 * mixed[:, 0])
    assert mixed.min() > 0
    assert mixed.max() < 1


def test_smote_avoids_lone_codes_and_falls_back_to_them_when_all_are_alone(generator):
    codes, found = torch.tensor([[0.0], [1.0], [9.0]]), torch.eye(3)
    mixed, _ = smote_codes(codes, found, torch.tensor([0, 0, 1]), 100, generator=generator)
    assert mixed.max() <= 1
    alone, _ = smote_codes(codes, found, torch.tensor([0, 1, 2]), 100, generator=generator)
    assert set(alone.flatten().tolist()) == {0.0, 1.0, 9.0}


def test_smote_of_none_is_empty_and_of_a_single_code_itself():
    code, probability, prediction = torch.ones(1, 2), torch.eye(2)[:1], torch.zeros(1).long()
    assert smote_codes(code, probability, prediction, 0)[0].shape == (0, 2)
    assert torch.equal(smote_codes(code, probability, prediction, 3)[0], torch.ones(3, 2))


def test_smote_gives_the_same_codes_for_the_same_seed():
    codes, predictions = torch.arange(12.0).view(6, 2), torch.tensor([0, 0, 0, 1, 1, 1])
    draws = [
        smote_codes(codes, torch.eye(2)[predictions], predictions, 5, generator=torch.Generator().manual_seed(3))[0]
        for _ in range(2)
    ]
    assert torch.equal(*draws)
