import pytest
import torch
from tiny_classifiers import random_images

from cae.errors import UserError
from cae.metrics.statistics import places_from_the_top
from explainers.metrics.irof import irof, superpixel_units
from explainers.metrics.perturbation import (
    Curve,
    aopc,
    cells,
    comprehensiveness,
    deletion_norm,
    eraser_levels,
    levels,
    named_fill,
    pixels,
    replaced,
    sufficiency,
    tie_share,
)
from explainers.metrics.seeds import generator


def test_cells_partition_the_image_into_fourteen_by_fourteen():
    units = cells(224, 224)
    assert units.count == 196
    assert units.labels.flatten().bincount().tolist() == [256] * 196
    assert torch.equal(units.labels[:16, :16], torch.zeros(16, 16, dtype=torch.int64))
    uneven = cells(32, 30)
    assert uneven.labels.unique().tolist() == list(range(196))
    assert cells(8, 9).count == 72  # single pixels


def test_units_of_one_value_tie_whatever_their_sizes():
    units = cells(32, 32)
    means = units.means(torch.full((32, 32), 0.1))
    assert tie_share(means) == 1 - 1 / 196
    assert means.unique().tolist() == [pytest.approx(0.1)]


def test_opponents_go_last_after_all_neutral_units():
    values = torch.tensor([0.0, -2.0, 3.0, 0.0, -1.0, 1.0])
    rank = places_from_the_top(values, generator(0))
    assert rank[[2, 5]].tolist() == [0, 1]
    assert sorted(rank[[0, 3]].tolist()) == [2, 3]
    assert rank[[4, 1]].tolist() == [4, 5]


def test_ties_are_broken_by_the_seed_alone():
    orders = [places_from_the_top(torch.zeros(50), generator(seed)).tolist() for seed in (1, 1, 2)]
    assert orders[0] == orders[1] != orders[2]
    assert sorted(orders[2]) == list(range(50))


def test_levels_run_from_nothing_to_all_and_never_repeat():
    assert levels(196, 28) == [7 * step for step in range(29)]
    assert levels(196, 14, 0.9)[-1] == 176
    assert levels(4, 16) == [0, 1, 2, 3, 4]
    assert eraser_levels(196) == [2, 10, 20, 39, 98]
    assert eraser_levels(9) == [1, 1, 1, 2, 4]


def test_images_of_a_curve_hold_the_fill_in_the_first_units():
    image = random_images(1, 3)[0]
    units = cells(32, 32)
    rank = torch.arange(196)
    first, half, whole = replaced(image, torch.zeros_like(image), units, rank, [0, 98, 196])
    assert torch.equal(first, image)
    assert torch.equal(whole, torch.zeros_like(image))
    assert not half[:, :16].any()
    assert torch.equal(half[:, 16:], image[:, 16:])


def test_full_aopc_by_trapezoid_is_the_start_minus_the_deletion_area():
    curve = Curve(torch.linspace(0, 1, 11, dtype=torch.float64), torch.rand(11, generator=generator(0)).double())
    drops = curve.scores[0] - curve.scores
    assert float(torch.trapezoid(drops, curve.shares)) == pytest.approx(float(curve.scores[0]) - curve.area)
    assert aopc(curve) == pytest.approx(float(drops.mean()))


def test_area_over_part_of_the_shares_is_divided_by_their_span():
    curve = Curve(torch.tensor([0.0, 0.3, 0.9], dtype=torch.float64), torch.full((3,), 0.7, dtype=torch.float64))
    assert curve.area == pytest.approx(0.7)
    assert len(curve.until(0.3).shares) == 2
    late = Curve(torch.tensor([0.2, 0.6]).double(), torch.tensor([0.9, 0.1]).double())
    assert late.area == pytest.approx(0.5)
    assert Curve(late.shares[:1], late.scores[:1]).area == pytest.approx(0.9)  # of a single point, its height


def test_rescaled_deletion_is_undefined_where_the_score_hardly_falls():
    shares = torch.linspace(0, 1, 3, dtype=torch.float64)
    assert deletion_norm(Curve(shares, torch.tensor([0.8, 0.5, 0.2]).double())) == pytest.approx(0.5)
    assert deletion_norm(Curve(shares, torch.tensor([0.2, 0.9, 0.16]).double())) is None


def test_eraser_metrics_average_five_bins():
    scores = torch.tensor([0.9, 0.8, 0.6, 0.4, 0.3])
    assert comprehensiveness(1.0, scores) == pytest.approx(0.4)
    assert sufficiency(1.0, 1 - scores) == pytest.approx(0.6)


def test_irof_of_a_score_that_falls_evenly_to_zero_is_one_half():
    shares = torch.linspace(0, 1, 31, dtype=torch.float64)
    assert irof(Curve(shares, 0.8 * (1 - shares))) == pytest.approx(0.5)
    assert irof(Curve(shares, 0 * shares)) is None


@pytest.mark.parametrize("channels", [1, 3])
def test_superpixels_are_a_partition_into_some_sixty(channels):
    image = random_images(1, channels, size=64)[0]
    units = superpixel_units(image)
    assert 20 <= units.count <= 90  # SLIC joins small segments of so smooth an image
    assert units.labels.unique().tolist() == list(range(units.count))
    assert torch.equal(units.labels, superpixel_units(image).labels)


def test_fills_are_what_their_names_say():
    image = random_images(1, 3)[0]
    assert named_fill("gray")(image).unique().tolist() == [0.5]
    assert named_fill("black")(image).unique().tolist() == [0.0]
    mean = torch.tensor([0.1, 0.2, 0.3])
    assert torch.equal(named_fill("mean", mean)(image)[:, 4, 5], mean)
    with pytest.raises(UserError, match="needs the mean of the data set"):
        named_fill("mean")
    with pytest.raises(UserError, match="did you mean 'gray'"):
        named_fill("grey")


def test_every_pixel_is_a_unit():
    assert pixels(3, 4).labels.tolist() == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]]
