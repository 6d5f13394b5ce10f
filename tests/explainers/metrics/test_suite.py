import numpy as np
import pytest
import torch
from tiny_classifiers import names, random_images, small_network

from cae.classifiers import TargetClassifier
from cae.errors import UserError
from explainers.metrics import CONTROL, METRICS, MetricSuite, describe
from explainers.metrics.perturbation import cells, named_fill
from explainers.metrics.seeds import generator

SIZE = 28


def additive(weight: torch.Tensor, bias: float = 0.0) -> TargetClassifier:
    """Probability ``bias + sum w x`` of class 1, in double precision until the answer."""
    kernel = weight.double().numpy()

    def scores(images):
        ones = bias + np.einsum("bchw,hw->b", images.astype(np.float64), kernel)
        return np.stack([1 - ones, ones], 1)

    return TargetClassifier(scores, names(2), image_shape=(1, SIZE, SIZE), scores="probabilities")


def weights(seed: int = 0) -> torch.Tensor:
    """Positive weights, all different, that sum to 0.9."""
    drawn = torch.rand(SIZE, SIZE, generator=generator("weights", seed)) + 0.1
    return 0.9 * drawn / drawn.sum()


def suite_on_black(classifier, preset="quick", **options):
    return MetricSuite(classifier, preset, deletion_fill="black", insertion_fill="black", **options)


def test_additive_classifier_follows_the_cumulative_sum_of_its_cells():
    image, weight = random_images(1, size=SIZE)[0], weights()
    exact = weight * image[0]
    found = suite_on_black(additive(weight), sensitivity_n=True).measure(image, {"exact": exact[None]}, 1)["exact"]
    units = cells(SIZE, SIZE)
    gone = np.concatenate([[0], np.sort(units.sums(exact).numpy())[::-1].cumsum()])[::7]
    curve = float(exact.sum()) - gone
    assert found["deletion_auc"] == pytest.approx(np.trapezoid(curve, dx=1 / 28), abs=1e-6)
    assert found["insertion_auc"] == pytest.approx(np.trapezoid(gone, dx=1 / 28), abs=1e-6)
    assert found["aopc_morf"] == pytest.approx(gone[:9].mean(), abs=1e-6)
    assert found["faithfulness_corr"] == pytest.approx(1, abs=1e-6)
    assert found["sensitivity_n"] == pytest.approx(1, abs=1e-6)
    assert found["infidelity"] == pytest.approx(0, abs=1e-10)
    assert found["infidelity_raw"] == pytest.approx(0, abs=1e-10)
    assert found["comprehensiveness"] + found["sufficiency_eraser"] == pytest.approx(float(exact.sum()), abs=1e-6)


def test_no_order_deletes_faster_than_the_exact_map():
    image, weight = random_images(1, size=SIZE)[0], weights()
    exact = weight * image[0]
    others = {str(k): torch.rand(1, SIZE, SIZE, generator=generator(k)) for k in range(5)}
    found = suite_on_black(additive(weight)).measure(image, {"exact": exact[None], **others}, 1)
    least = found["exact"]["deletion_auc"]
    assert all(row["deletion_auc"] > least for name, row in found.items() if name != "exact")
    assert found["exact"]["deletion_auc_excess"] == pytest.approx(found[CONTROL]["deletion_auc"] - least)
    assert found["exact"]["deletion_auc_excess"] > 0
    assert found["exact"]["insertion_auc_excess"] > 0
    assert found[CONTROL]["deletion_auc_excess"] == 0


def test_insertion_is_the_deletion_of_the_reversed_order_with_the_same_fill():
    image = random_images(1, size=32)[0]
    attribution = torch.randn(1, 32, 32, generator=generator(0))
    suite = MetricSuite(small_network(), "core", deletion_fill="gray", insertion_fill="gray")
    found = suite.measure(image, {"forth": attribution, "back": -attribution}, 1)
    for suffix in ("", "_pixels"):
        inserted, deleted = found["forth"][f"insertion_auc{suffix}"], found["back"][f"deletion_auc{suffix}"]
        assert inserted == pytest.approx(deleted, abs=1e-6)


def test_constant_map_is_measured_over_three_orders_like_a_random_one():
    image, even = torch.full((1, SIZE, SIZE), 0.5), torch.full((SIZE, SIZE), 1 / SIZE**2)
    found = suite_on_black(additive(even)).measure(image, {"constant": torch.ones(1, SIZE, SIZE)}, 1)
    row = found["constant"]
    assert row["tie_share_cells"] == 1 - 1 / 196
    assert row["deletion_auc_range"] == pytest.approx(0, abs=1e-6)  # every order is the same here
    assert row["deletion_auc"] == pytest.approx(found[CONTROL]["deletion_auc"], abs=1e-6) == pytest.approx(0.25)
    steep = suite_on_black(additive(weights(), 0.05)).measure(image, {"constant": torch.ones(1, SIZE, SIZE)}, 1)
    assert steep["constant"]["deletion_auc_range"] > 0
    assert "deletion_auc_range" not in steep[CONTROL]


@pytest.fixture(scope="module")
def full():
    """The full preset on two maps of one image, at two batch sizes."""
    classifier = small_network(3)
    image = random_images(1, 3)[0]
    maps = {"noise": torch.randn(1, 32, 32, generator=generator(0)), "patches": _patches()}
    inside = torch.zeros(1, 32, 32, dtype=torch.bool)
    inside[:, 8:20, 10:18] = True
    before = image.clone(), {name: plane.clone() for name, plane in maps.items()}, torch.get_rng_state()
    rows = {}
    for size in (7, 64):
        start = classifier.evaluations
        suite = MetricSuite(classifier, "full", batch_size=size, sensitivity_n=True, random_orders=2)
        rows[size] = suite.measure(image, maps, 2, inside, seed=3), classifier.evaluations - start
    assert torch.equal(image, before[0])
    assert all(torch.equal(maps[name], before[1][name]) for name in maps)
    assert torch.equal(torch.get_rng_state(), before[2])
    return rows


def _patches() -> torch.Tensor:
    return torch.randn(1, 4, 4, generator=generator(1)).repeat_interleave(8, 1).repeat_interleave(8, 2)


def test_numbers_do_not_depend_on_the_batch_size(full):
    for method, row in full[64][0].items():
        for name, value in row.items():
            assert full[7][0][method][name] == (None if value is None else pytest.approx(value, abs=1e-4)), name


def test_every_forward_is_counted(full):
    rows, evaluations = full[64]
    assert sum(row["metric_evaluations"] for row in rows.values()) == evaluations
    # 27 + 27 inner levels of cells, 14 filled in, 10 of ERASER, 8 least first, 2 x 15 of pixels, 18 of ROAD,
    # and the superpixels of the image
    assert rows["noise"]["metric_evaluations"] == pytest.approx(27 * 2 + 14 + 10 + 8 + 30 + 18 + 25, abs=10)
    assert rows["patches"]["metric_evaluations"] > 2.5 * rows["noise"]["metric_evaluations"]  # three orders among ties


def test_every_name_is_in_the_catalogue_and_all_rows_have_the_same(full):
    rows = full[64][0]
    for row in rows.values():
        plain = {name for name in row if not name.endswith("_range")}
        assert plain == set(rows["noise"])
        for name, value in row.items():
            low, high = describe(name).range
            assert value is None or low - 1e-9 <= value <= high + 1e-9, name
    assert {name for name in rows["noise"] if not name.endswith("_excess")} <= set(METRICS)


def test_same_seed_same_number_and_another_seed_another_control():
    image, maps = random_images(1)[0], {"noise": torch.randn(1, 32, 32, generator=generator(0))}
    suite = MetricSuite(small_network(), "quick")
    one, same, other = (suite.measure(image, maps, 0, seed=seed) for seed in (4, 4, 5))
    assert one == same
    assert one[CONTROL]["deletion_auc"] != other[CONTROL]["deletion_auc"]
    assert one["noise"]["deletion_auc"] == other["noise"]["deletion_auc"]


def test_company_changes_no_number():
    image = random_images(1)[0]
    noise, other = torch.randn(2, 1, 32, 32, generator=generator(0))
    suite = MetricSuite(small_network(), "core")
    alone, both = suite.measure(image, {"noise": noise}, 0), suite.measure(image, {"other": other, "noise": noise}, 0)
    for name, value in alone["noise"].items():
        assert both["noise"][name] == (None if value is None else pytest.approx(value, abs=1e-5)), name


def test_a_map_of_zeros_and_an_empty_mask_are_undefined_not_numbers():
    image = random_images(1)[0]
    empty = torch.zeros(1, 32, 32, dtype=torch.bool)
    row = MetricSuite(small_network(), "full").measure(image, {"zero": torch.zeros(1, 32, 32)}, 0, empty)["zero"]
    defined = {name for name, value in row.items() if value is not None}
    assert defined == {"tie_share_cells", "tie_share_pixels", "insertion_start", "metric_evaluations", "mask_share",
                       "infidelity_raw"}  # fmt: skip


def test_infill_may_be_any_sampler_with_noise_of_its_own():
    seen = []

    def sampler(image, removed, noise):
        seen.append((tuple(removed.shape), torch.rand(1, generator=noise).item()))
        return torch.where(removed, named_fill("gray")(image), image)

    suite = MetricSuite(small_network(), "quick", infill=sampler)
    row = suite.measure(random_images(1)[0], {"noise": torch.randn(1, 32, 32, generator=generator(0))}, 0)["noise"]
    assert {shape for shape, _ in seen} == {(14, 1, 32, 32)}
    assert len({draw for _, draw in seen}) == 1  # the same noise for all methods
    assert row["deletion_infill"] is not None
    assert suite.settings["infill"] == "sampler"


def test_log_odds_and_absolute_order_are_other_measurements():
    image = random_images(1)[0]
    maps = {"noise": torch.randn(1, 32, 32, generator=generator(0))}
    plain, odds, unsigned = (
        MetricSuite(small_network(), "quick", **options).measure(image, maps, 0)["noise"]["deletion_auc"]
        for options in ({}, {"score": "logodds"}, {"rank": "abs"})
    )
    assert odds < 0 < plain != unsigned


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"preset": "fulll"}, "did you mean 'full'"),
        ({"score": "logit"}, "`score` must be one of probability, logodds"),
        ({"deletion_fill": "grey"}, "did you mean 'gray'"),
        ({"infill": "nearest"}, "`infill` must be 'linear' or a function"),
        ({"random_orders": 0}, "`random_orders` must be at least 1, but is 0"),
    ],
)
def test_wrong_settings_are_refused_in_words(options, words):
    with pytest.raises(UserError, match=words):
        MetricSuite(small_network(), **options)


def test_wrong_maps_are_refused_together():
    image = random_images(1)[0]
    maps = {"small": torch.zeros(1, 8, 8), "broken": torch.full((1, 32, 32), float("nan"))}
    with pytest.raises(UserError, match=r"'small' must be \(1, 32, 32\)[\s\S]*'broken' has values that are no numbers"):
        MetricSuite(small_network()).measure(image, maps, 0)
    with pytest.raises(UserError, match=r"`target` must be in \[0, 3\)"):
        MetricSuite(small_network()).measure(image, {}, 3)
