import pytest
import torch
from tiny_classifiers import random_images

from explainers.metrics.complexity import complexity, effective_area, entropy, gini
from explainers.metrics.localisation import (
    Retrieval,
    effective_heat_ratio,
    energy_pointing,
    localisation,
    otsu_dice,
    pointing,
)

RANKED = ("pointing", "pointing_tolerant", "iou_area", "iou_top20", "iou_auc", "iou_oracle", "auprc", "auroc",
          "rank_accuracy")  # fmt: skip


def mask(size: int = 20) -> torch.Tensor:
    inside = torch.zeros(size, size, dtype=torch.bool)
    inside[3:9, 10:15] = True
    return inside


def test_the_mask_itself_scores_one_everywhere():
    found = localisation(mask().float(), mask())
    depend_on_area = {"iou_top20", "iou_auc", "mask_share"}
    assert {name: value for name, value in found.items() if name not in depend_on_area} == pytest.approx(
        dict.fromkeys(set(found) - depend_on_area, 1.0)
    )
    assert found["mask_share"] == pytest.approx(30 / 400)


def test_the_opposite_of_the_mask_scores_zero():
    found = localisation(1 - mask().float(), mask())
    assert [found[name] for name in ("pointing", "iou_area", "rank_accuracy", "energy_pointing", "auroc")] == [0] * 5


def test_a_constant_map_scores_chance_exactly():
    found, share = localisation(torch.full((20, 20), 0.7), mask()), 30 / 400
    assert found["auroc"] == 0.5
    for name in ("pointing", "auprc", "rank_accuracy", "energy_pointing", "ehr_count", "ehr"):
        assert found[name] == pytest.approx(share, abs=1e-12), name
    assert found["iou_area"] == pytest.approx(share / (2 - share))
    assert found["iou_otsu"] is None


def test_nothing_to_find_and_nothing_shown_are_undefined():
    for attribution, inside in ((torch.zeros(20, 20), mask()), (torch.rand(20, 20), torch.zeros(20, 20).bool())):
        found = localisation(attribution, inside)
        assert all(value is None for name, value in found.items() if name != "mask_share")
        assert pointing(attribution, inside) is None
        assert effective_heat_ratio(attribution, inside) is None
    assert energy_pointing(-torch.rand(20, 20), mask()) is None


def test_only_the_order_of_values_counts_for_rank_metrics():
    attribution = random_images(1, size=20)[0, 0] - 0.5
    one, other = (localisation(values, mask()) for values in (attribution, (3 * attribution.double()).exp()))
    assert [one[name] for name in RANKED] == [other[name] for name in RANKED]


def test_pointing_shares_a_hit_among_tied_maxima_and_allows_for_a_margin():
    attribution = torch.zeros(20, 20)
    attribution[4, 11] = attribution[4, 12] = attribution[0, 0] = attribution[4, 16] = 1
    assert pointing(attribution, mask()) == 0.5
    assert pointing(attribution, mask(), tolerance=2) == 0.5  # two pixels off is not nearer than two
    assert pointing(attribution, mask(), tolerance=2.1) == 0.75


def test_curves_of_four_answers_by_hand():
    values, inside = torch.tensor([4.0, 3.0, 2.0, 1.0]), torch.tensor([True, False, True, False])
    retrieval = Retrieval.of(values.numpy(), inside.numpy())
    assert retrieval.average_precision == pytest.approx((1 + 2 / 3) / 2)
    assert retrieval.roc_area == pytest.approx(0.75)
    assert retrieval.rank_accuracy == 0.5
    assert retrieval.best_iou == pytest.approx(2 / 3)


def test_shifted_square_overlaps_by_a_third():
    attribution, inside = torch.zeros(10, 10), torch.zeros(10, 10, dtype=torch.bool)
    attribution[2:6, 2:6] = 1
    inside[2:6, 4:8] = True
    assert otsu_dice(attribution, inside) == pytest.approx(1 / 2)
    assert localisation(attribution, inside)["iou_otsu"] == pytest.approx(1 / 3)


def test_effective_heat_by_hand():
    attribution = torch.tensor([[1.0, 0.5, 0.05, -3.0]])
    inside = torch.tensor([[True, False, True, True]])
    # kept heat 1 and .5: the lowest quantile takes both pixels, all others the hot one alone
    assert effective_heat_ratio(attribution, inside) == pytest.approx(0.1 * (0.5 / 2 + 9 * 1 + 1 / 2))
    assert effective_heat_ratio(2 * attribution, inside, count=True) == pytest.approx(0.1 * (0.5 / 2 + 9 * 1 + 1 / 2))


def test_complexity_of_one_pixel_and_of_an_even_map():
    one_hot = torch.zeros(5, 5)
    one_hot[2, 3] = -4
    even = torch.full((5, 5), 0.2)
    assert gini(one_hot) == pytest.approx(1 - 1 / 25)
    assert gini(even) == pytest.approx(0, abs=1e-12)
    assert entropy(one_hot) == 0
    assert entropy(even) == pytest.approx(torch.log(torch.tensor(25.0)).item())
    assert (effective_area(one_hot), effective_area(even)) == (pytest.approx(1 / 25), pytest.approx(1))
    assert complexity(torch.zeros(5, 5)) == {"gini": None, "entropy": None, "effective_area": None}
