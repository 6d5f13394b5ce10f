"""Regions of a change: they divide the image, and each is judged by what it alone does to the classifier."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from made_counterfactuals import counterfactual

from cae.counterfactuals.regions import MOST, change_regions, kept_regions, region_effects
from cae.counterfactuals.result import Counterfactual

START = torch.zeros(1, 32, 32)


def blobs(*places: tuple[int, int], value: float = 0.8) -> torch.Tensor:
    image = START.clone()
    for number, (row, column) in enumerate(places):
        image[:, row : row + 4, column : column + 4] = value - 0.1 * number
    return image


TWO = blobs((4, 4), (24, 24))


def left(images: torch.Tensor) -> torch.Tensor:
    """What the blob at the top left counts."""
    return images[:, 0, 4:8, 4:8].mean((1, 2))


def right(images: torch.Tensor) -> torch.Tensor:
    return images[:, 0, 24:28, 24:28].mean((1, 2))


def effects_of(margins, end=TWO):
    whole = float(margins(START[None])), float(margins(end[None]))
    return region_effects(START, end, change_regions(end - START), margins, whole)


def test_the_cells_of_regions_divide_the_image_the_strongest_first():
    cells = change_regions(TWO)
    assert cells.unique().tolist() == [0, 1]
    assert bool((cells[4:8, 4:8] == 0).all())
    assert bool((cells[24:28, 24:28] == 1).all())
    assert cells[0, 0] == 0
    assert cells[31, 31] == 1
    parts = [TWO * (cells == number) for number in range(2)]
    assert torch.equal(parts[0] + parts[1], TWO)


@pytest.mark.parametrize("change", [START, blobs((4, 4)), START + 0.5])
def test_no_change_and_one_region_are_one_cell(change):
    assert not change_regions(change).any()


def test_more_regions_than_are_judged_belong_to_the_nearest():
    places = [(row, column) for row in (1, 9, 17, 25) for column in (1, 12, 24)]
    cells = change_regions(blobs(*places, value=2.0))
    assert len({int(cells[row + 2, column + 2]) for row, column in places}) == MOST < len(places)
    assert int(cells.max()) == MOST - 1


def test_a_region_that_the_classifier_does_not_see_has_no_effect():
    effects = effects_of(left)
    assert torch.allclose(effects, torch.tensor([[1.0, 1.0], [0.0, 0.0]]))
    assert kept_regions(effects).tolist() == [True, False]


def test_effects_that_add_up_are_shares():
    effects = effects_of(lambda images: left(images) + right(images))
    assert torch.allclose(effects, torch.tensor([[8 / 15] * 2, [7 / 15] * 2]))
    assert kept_regions(effects).all()


def test_what_counts_only_together_is_missed_and_kept():
    effects = effects_of(lambda images: torch.minimum(left(images), right(images)))
    assert torch.allclose(effects, torch.tensor([[0.0, 1.0], [0.0, 1.0]]))
    assert kept_regions(effects).all()


def test_nothing_is_asked_of_a_single_region_nor_where_the_whole_change_does_nothing():
    def refuse(images):
        raise AssertionError

    assert region_effects(START, TWO, torch.zeros(32, 32, dtype=torch.uint8), refuse, (0.0, 1.0)).tolist() == [[1, 1]]
    nothing = region_effects(START, TWO, change_regions(TWO), refuse, (0.5, 0.5))
    assert nothing.isnan().all()
    assert kept_regions(nothing).all()


def test_the_evidence_of_a_result_leaves_out_what_only_came_along_and_files_keep_it(tmp_path):
    path = torch.stack([START, TWO / 2, TWO])
    cells, effects = change_regions(TWO), torch.tensor([[1.0, 1.0], [0.0, 0.02]])
    whole = dataclasses.replace(counterfactual(), tau=torch.linspace(0, 1, 3), path_images=path)
    judged = dataclasses.replace(whole, regions=cells, region_effects=effects)
    assert whole.evidence is not None
    assert judged.evidence is not None
    assert whole.evidence[0, 26, 26] > 0
    assert judged.evidence[0, 26, 26] == 0
    assert torch.equal(judged.evidence[0, :14, :14], whole.evidence[0, :14, :14])
    judged.save(tmp_path / "one.safetensors")
    loaded = Counterfactual.load(tmp_path / "one.safetensors")
    assert torch.equal(loaded.evidence, judged.evidence)
    assert torch.equal(loaded.region_effects, effects)
