from __future__ import annotations

import math
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from cae.config import Config
from cae.data.arrays import ArraySet
from cae.data.selection import spread_over_classes
from cae.diagnostics.diagnose import (
    baseline_codes,
    coherency,
    coverage,
    diagnose,
    edit_coherency,
    judge_swaps,
    matrix_of,
    measure_reassignment,
    participation_ratio,
    reassignment_interval,
    reassignment_matrix,
    reassignment_rate,
    retention,
    sample_pairs,
    soft_reassignment_matrix,
    warnings,
)
from cae.diagnostics.embedding import peak_signal_to_noise
from cae.diagnostics.probes import balanced_accuracy, channel_statistics, conv_probe, knn_probe, logistic_probe, pooled
from cae.errors import UserError
from cae.manifold.class_manifold import ClassManifold
from cae.models.cae import Codes

CLASSES = ("low", "middle", "high")


class ToyCAE:
    """The top half of an image is the class code's, the bottom half the individual code's."""

    def encode(self, images: Tensor) -> Codes:
        top, bottom = images.chunk(2, dim=2)
        return Codes(top.mean((2, 3)), bottom)

    def decode(self, class_code: Tensor, individual_code: Tensor) -> Tensor:
        top = class_code[:, :, None, None].expand_as(individual_code)
        return torch.cat([top, individual_code], dim=2)


class StubbornCAE(ToyCAE):
    """A decoder that ignores the class code: the class stays in the individual code."""

    def encode(self, images: Tensor) -> Codes:
        return Codes(torch.zeros(len(images), 1), images)

    def decode(self, class_code: Tensor, individual_code: Tensor) -> Tensor:
        return individual_code


class ToyClassifier:
    """Three classes by the mean of the top half: below 1/3, below 2/3, above."""

    classes = CLASSES

    def features(self, images: Tensor) -> Tensor:
        return images.chunk(2, dim=2)[0].mean((2, 3))

    def probabilities(self, images: Tensor) -> Tensor:
        centres = torch.tensor([1 / 6, 0.5, 5 / 6])
        return (-80 * (self.features(images) - centres).square()).softmax(1)


def toy_images(count: int, seed: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % 3
    top = (labels[:, None, None, None] + 0.5) / 3 + 0.2 * (torch.rand(count, 1, 1, 1, generator=generator) - 0.5)
    bottom = torch.rand(count, 1, 4, 8, generator=generator)
    return torch.cat([top.expand(-1, -1, 4, 8), bottom], dim=2), labels


@pytest.fixture(scope="module")
def toy_data() -> SimpleNamespace:
    splits = {}
    for seed, (name, count) in enumerate([("train", 120), ("test", 60)]):
        images, labels = toy_images(count, seed)
        splits[name] = ArraySet(images, labels, [f"{name}/{i}" for i in range(count)])
    return SimpleNamespace(**splits, classes=CLASSES)


def toy_manifold(cae: ToyCAE, data: SimpleNamespace) -> ClassManifold:
    images = data.train.images
    answers = ToyClassifier().probabilities(images)
    return ClassManifold(cae.encode(images).class_code, answers, data.train.labels, tuple(data.train.ids), CLASSES)


@pytest.fixture(scope="module")
def toy_metrics(toy_data: SimpleNamespace) -> dict[str, float]:
    config = Config()
    config.manifold.pairs = 300
    cae = ToyCAE()
    return diagnose(cae, ToyClassifier(), ToyClassifier(), toy_manifold(cae, toy_data), toy_data, config)


# participation ratio


def cloud_with(eigenvalues: list[float]) -> Tensor:
    """Points whose covariance has exactly these eigenvalues (up to a common factor)."""
    basis = torch.linalg.qr(torch.randn(64, len(eigenvalues) + 1, generator=torch.Generator().manual_seed(0)).double())[
        0
    ]
    centred = torch.linalg.qr(basis - basis.mean(0))[0][:, : len(eigenvalues)]
    return centred * torch.tensor(eigenvalues, dtype=torch.float64).sqrt()


@pytest.mark.parametrize(
    ("eigenvalues", "ratio"),
    [([1.0] * 5, 5.0), ([1.0, 0, 0, 0], 1.0), ([84.8, 14.5, 0.4, 0.1], 99.8**2 / (84.8**2 + 14.5**2 + 0.16 + 0.01))],
)
def test_participation_ratio_is_exact_for_known_eigenvalues(eigenvalues: list[float], ratio: float):
    assert participation_ratio(cloud_with(eigenvalues)) == pytest.approx(ratio, rel=1e-9)


def test_participation_ratio_of_the_published_codes():
    assert participation_ratio(cloud_with([84.8, 14.5, 0.4, 0.1])) == pytest.approx(1.3457, abs=5e-5)


def test_participation_ratio_ignores_rotation_scale_and_shift():
    cloud = cloud_with([5.0, 3.0, 1.0, 0.5])
    rotation = torch.linalg.qr(torch.randn(4, 4, generator=torch.Generator().manual_seed(1)).double())[0]
    assert participation_ratio(7 * cloud @ rotation + 3) == pytest.approx(participation_ratio(cloud), rel=1e-9)


def test_participation_ratio_of_wide_features_equals_that_of_tall_ones():
    wide = torch.randn(6, 40, generator=torch.Generator().manual_seed(2)).double()
    eigenvalues = torch.linalg.eigvalsh(torch.cov(wide.T))
    expected = float(eigenvalues.sum() ** 2 / eigenvalues.square().sum())
    assert participation_ratio(wide) == pytest.approx(expected, rel=1e-9)


def test_edits_reveal_that_a_decoder_uses_two_of_four_whitened_dimensions():
    codes = cloud_with([1.0] * 4)
    images = codes[:, :2]  # all that the decoder shows of a code; features are the identity
    edits = images[:, None] - images[None]
    assert participation_ratio(codes) == pytest.approx(4, rel=1e-9)
    assert participation_ratio(edits.flatten(0, 1)) == pytest.approx(2, rel=1e-9)


def test_participation_ratio_of_constant_codes_is_zero():
    assert participation_ratio(torch.ones(10, 3)) == 0


# coherency


def test_coherency_of_two_opposite_answers_is_all_incoherency():
    split = coherency(torch.tensor([[0.5, 0.5]]), torch.tensor([[[0.8, 0.2], [0.2, 0.8]]]))
    assert -math.log(float(split.agreement)) == pytest.approx(0.223144, abs=1e-6)
    assert float(split.bias) == pytest.approx(0, abs=1e-9)
    assert float(split.modal_agreement) == 0.5


def test_coherency_splits_the_mean_divergence():
    generator = torch.Generator().manual_seed(0)
    q = torch.randn(7, 4, generator=generator).double().softmax(1)
    p = torch.randn(7, 9, 4, generator=generator).double().softmax(2)
    divergence = (q[:, None] * (q[:, None].log() - p.log())).sum(2).mean(1)
    split = coherency(q, p)
    assert torch.allclose(split.bias - split.agreement.log(), divergence, atol=1e-9)


def test_equal_answers_are_fully_coherent():
    p = torch.tensor([0.7, 0.2, 0.1]).expand(2, 5, 3)
    split = coherency(torch.tensor([[0.7, 0.2, 0.1], [0.1, 0.2, 0.7]]), p)
    assert torch.allclose(split.agreement, torch.ones(2).double(), atol=1e-6)
    assert split.bias[0] == pytest.approx(0, abs=1e-6)
    assert split.bias[1] > 0.5


def test_edit_coherency_is_one_for_one_direction_and_below_zero_for_opposite_ones():
    edit = torch.tensor([1.0, 2.0, 0.0])
    assert edit_coherency(torch.stack([edit, 3 * edit, 0.1 * edit])[None]) == pytest.approx(1, abs=1e-6)
    assert edit_coherency(torch.stack([edit, -edit])[None]) == pytest.approx(-1, abs=1e-6)


# pairs and reassignment


def test_pairs_are_spread_evenly_over_ordered_class_pairs_and_never_repeat():
    verdicts = torch.tensor([0] * 50 + [1] * 10 + [2] * 5)
    recipients, donors = sample_pairs(verdicts, 240, 3, seed=1)
    cells = torch.bincount(3 * verdicts[recipients] + verdicts[donors], minlength=9).reshape(3, 3)
    assert cells.tolist() == [[0, 40, 40], [40, 0, 40], [40, 40, 0]]
    assert len(set(zip(recipients.tolist(), donors.tolist(), strict=True))) == 240


def test_pairs_of_one_class_never_join_an_image_with_itself():
    verdicts = torch.tensor([0, 0, 0, 1, 1])
    recipients, donors = sample_pairs(verdicts, 1000, 2, seed=0, same_class=True)
    assert (recipients != donors).all()
    assert len(recipients) == 3 * 2 + 2 * 1 + 2 * 3 * 2  # every pair there is


def test_same_seed_same_pairs_and_another_seed_others():
    verdicts = torch.arange(90) % 3
    first, again, other = (torch.stack(sample_pairs(verdicts, 60, 3, seed)) for seed in (5, 5, 6))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_a_class_without_images_is_left_out_and_one_class_alone_is_refused():
    recipients, _ = sample_pairs(torch.tensor([0, 0, 2, 2]), 8, 3, seed=0)
    assert len(recipients) == 8
    with pytest.raises(UserError, match=r"4 images only 1 verdict"):
        sample_pairs(torch.zeros(4, dtype=torch.int64), 8, 3, seed=0)


def test_reassignment_matrix_counts_swaps_that_take_the_donors_class():
    rows, columns = torch.tensor([0, 0, 0, 1]), torch.tensor([1, 1, 1, 1])
    matrix = reassignment_matrix(rows, columns, torch.tensor([1, 1, 0, 1]), 2)
    assert matrix[0, 1] == pytest.approx(2 / 3)
    assert matrix[1, 1] == 1
    assert torch.isnan(matrix[1, 0])
    assert reassignment_rate(matrix) == pytest.approx(2 / 3)
    assert retention(matrix) == 1
    soft = soft_reassignment_matrix(rows, columns, torch.tensor([[0.4, 0.6], [0.3, 0.7], [0.9, 0.1], [0.0, 1.0]]), 2)
    assert soft[0, 1] == pytest.approx(1.4 / 3)


@pytest.mark.parametrize(("cae", "across"), [(ToyCAE(), 1.0), (StubbornCAE(), 0.0)])
def test_reassignment_is_one_for_a_decoder_that_obeys_and_zero_for_one_that_ignores_the_code(
    cae: ToyCAE, across: float
):
    images, verdicts = toy_images(30, 0)
    pairs = sample_pairs(verdicts, 180, 3, seed=0, same_class=True)
    judges = {"target": ToyClassifier(), "oracle": ToyClassifier()}
    found = measure_reassignment(cae, judges, images, verdicts, pairs, batch_size=7, residual=True)
    assert set(found) == {"target", "oracle", "target/residual", "oracle/residual"}
    expected = torch.full((3, 3), across).fill_diagonal_(1.0).double()
    for matrix in found.values():
        assert torch.equal(matrix, expected)


def test_judged_swaps_do_not_depend_on_the_batch_size_and_keep_the_images_device_and_order():
    images, verdicts = toy_images(30, 0)
    pairs = sample_pairs(verdicts, 50, 3, seed=0)
    small = judge_swaps(ToyCAE(), {"target": ToyClassifier()}, images, pairs, 3, residual=True)
    large = judge_swaps(ToyCAE(), {"target": ToyClassifier()}, images, pairs, 64, residual=True)
    assert torch.allclose(small.decoded["target"], large.decoded["target"], atol=1e-6)
    assert torch.allclose(small.residual["target"], large.residual["target"], atol=1e-6)
    codes = ToyCAE().encode(images).class_code[:, 0]
    expected = (codes[pairs[0]] - codes[pairs[1]]).abs() / 2  # only the top half changes
    assert torch.allclose(small.change, expected, atol=1e-6)


def test_the_interval_holds_the_rate_and_is_wider_with_fewer_images():
    generator = torch.Generator().manual_seed(0)
    widths = []
    for count in (20, 200):
        verdicts = torch.arange(count) % 2
        pairs = sample_pairs(verdicts, 400, 2, seed=0)
        reliable = torch.rand(count, generator=generator) < 0.7  # some donors work, others never do
        low, high = reassignment_interval(*pairs, verdicts, reliable[pairs[1]], seed=0)
        matrix = reassignment_matrix(
            verdicts[pairs[0]], verdicts[pairs[1]], torch.where(reliable[pairs[1]], verdicts[pairs[1]], 9), 2
        )
        assert low <= reassignment_rate(matrix) <= high
        widths.append(high - low)
    assert widths[0] > 1.3 * widths[1]


def test_the_interval_of_a_certain_rate_is_a_point():
    verdicts = torch.arange(12) % 2
    pairs = sample_pairs(verdicts, 40, 2, seed=0)
    assert reassignment_interval(*pairs, verdicts, torch.ones(40, dtype=torch.bool)) == (1.0, 1.0)


def test_baseline_codes_keep_moments_or_marginals_but_carry_no_class():
    codes = torch.randn(400, 3, generator=torch.Generator().manual_seed(0)) * torch.tensor([1.0, 2.0, 0.5]) + 4
    made = baseline_codes(codes, 4000, seed=0)
    assert (made["zero_code"] == 0).all()
    assert torch.allclose(made["gaussian_codes"].mean(0), codes.mean(0), atol=0.15)
    assert torch.allclose(made["gaussian_codes"].std(0), codes.std(0), rtol=0.1)
    for dimension in range(3):
        assert torch.isin(made["permuted_codes"][:, dimension], codes[:, dimension]).all()


def test_coverage_is_near_the_quantile_for_one_distribution_and_zero_far_away():
    generator = torch.Generator().manual_seed(0)
    train, test = torch.randn(500, 2, generator=generator), torch.randn(500, 2, generator=generator)
    assert coverage(train, test) == pytest.approx(0.95, abs=0.03)
    assert coverage(train, test + 50) == 0


def test_spread_takes_classes_in_turn():
    verdicts = torch.tensor([0] * 40 + [1] * 3 + [2] * 2)
    chosen = spread_over_classes(verdicts, 9, seed=0)
    assert torch.bincount(verdicts[chosen]).tolist() == [4, 3, 2]
    assert len(chosen.unique()) == 9


def test_peak_signal_to_noise_of_a_tenth_is_twenty_decibels():
    assert peak_signal_to_noise(torch.tensor([0.01, 0.0])).tolist() == pytest.approx([20, 100])


# probes


def independent_and_containing(count: int, classes: int, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    verdicts = torch.arange(count) % classes
    independent = torch.randn(count, 4, 6, 6, generator=generator)
    containing = independent.clone()
    containing[:, 0] += 4.0 * verdicts[:, None, None]
    return verdicts, independent, containing


@pytest.mark.parametrize("classes", [2, 3])
def test_probes_stay_at_chance_on_independent_codes_and_reach_one_on_codes_with_the_verdict(classes: int):
    known, train_free, train_full = independent_and_containing(360, classes, 0)
    truth, test_free, test_full = independent_and_containing(360, classes, 1)
    three_errors = 3 * math.sqrt((1 / classes) * (1 - 1 / classes) / 360)
    assert abs(conv_probe(train_free, known, test_free, truth, epochs=6) - 1 / classes) <= three_errors
    free = logistic_probe(channel_statistics(train_free), known, channel_statistics(test_free), truth)
    assert abs(free - 1 / classes) <= three_errors
    assert conv_probe(train_full, known, test_full, truth, epochs=12) == 1
    assert logistic_probe(channel_statistics(train_full), known, channel_statistics(test_full), truth) == 1


def test_the_convolutional_probe_finds_a_pattern_that_channel_statistics_miss():
    def codes(seed: int) -> tuple[Tensor, Tensor]:
        generator = torch.Generator().manual_seed(seed)
        verdicts = torch.arange(300) % 2
        noise = torch.randn(300, 1, 8, 8, generator=generator)
        ordered = noise.sort(dim=3).values  # the same values, arranged
        return verdicts, torch.where(verdicts[:, None, None, None] == 1, ordered, noise)

    (known, train), (truth, test) = codes(0), codes(1)
    assert conv_probe(train, known, test, truth, epochs=10) > 0.9
    assert logistic_probe(channel_statistics(train), known, channel_statistics(test), truth) < 0.6


def test_probes_are_seeded_and_leave_the_random_state_alone():
    known, train, _ = independent_and_containing(90, 3, 0)
    before = torch.random.get_rng_state()
    first = conv_probe(train, known, train, known, seed=3, epochs=2)
    assert torch.equal(before, torch.random.get_rng_state())
    with torch.no_grad():
        assert conv_probe(train, known, train, known, seed=3, epochs=2) == first


def test_class_probes_read_separate_clusters_and_a_single_training_class_is_no_error():
    known = torch.arange(60) % 3
    codes = F.one_hot(known, 3).float() + 0.05 * torch.randn(60, 3, generator=torch.Generator().manual_seed(0))
    assert knn_probe(codes, known, codes, known) == 1
    assert logistic_probe(codes, known, codes, known) == 1
    assert knn_probe(codes[known == 0], known[known == 0], codes, known) == pytest.approx(1 / 3)


def test_balanced_accuracy_weighs_classes_equally():
    assert balanced_accuracy(torch.tensor([0, 0, 0, 0, 0]), torch.tensor([0, 0, 0, 0, 1])) == 0.5


def test_large_individual_codes_are_pooled_and_small_ones_kept():
    assert pooled(torch.zeros(2, 3, 64, 40)).shape == (2, 3, 16, 16)
    assert pooled(torch.zeros(2, 3, 64, 8)).shape == (2, 3, 16, 8)
    small = torch.rand(2, 3, 8, 8)
    assert pooled(small) is small


# the whole


def test_diagnose_gives_every_promised_figure_of_a_perfect_toy(toy_metrics: dict[str, float]):
    perfect = [
        "reassignment", "reassignment_oracle", "reassignment_residual", "reassignment_residual_oracle",
        "reassignment/low->high", "reassignment_oracle/high->middle", "retention", "reconstruction_consistency",
        "class_probe", "modal_agreement", "smote_reassignment", "smote_reassignment_residual_oracle",
        "reassignment_low", "reassignment_oracle_high",
    ]  # fmt: skip
    for name in perfect:
        assert toy_metrics[f"cae/{name}"] == 1, name
    assert toy_metrics["cae/reconstruction_mae"] == pytest.approx(0, abs=1e-6)
    assert toy_metrics["cae/participation_ratio"] == pytest.approx(1, abs=1e-6)
    assert toy_metrics["cae/participation_ratio_edits"] == pytest.approx(1, abs=1e-6)
    assert toy_metrics["cae/coherency"] == pytest.approx(1, abs=1e-4)
    assert toy_metrics["cae/individual_probe"] < 0.5
    for kind in ("smoothness", "smote_smoothness"):
        assert toy_metrics[f"cae/{kind}_monotone"] > 0.95
        assert toy_metrics[f"cae/{kind}_monotone_low"] <= toy_metrics[f"cae/{kind}_monotone"]
    assert toy_metrics["cae/coverage"] > 0.8
    for name in ("zero_code", "gaussian_codes", "permuted_codes"):
        assert toy_metrics[f"cae/reassignment_{name}"] == pytest.approx(1 / 3, abs=0.12)
    assert all(math.isfinite(value) for value in toy_metrics.values())


def test_the_matrix_is_read_back_from_the_figures(toy_metrics: dict[str, float]):
    assert torch.equal(matrix_of(toy_metrics, CLASSES), torch.ones(3, 3).double())
    assert torch.isnan(matrix_of({}, CLASSES)).all()


def test_diagnose_leaves_out_what_cannot_be_measured(toy_data: SimpleNamespace):
    class Constant(ToyClassifier):
        def probabilities(self, images: Tensor) -> Tensor:
            return torch.tensor([0.8, 0.1, 0.1]).expand(len(images), 3)

    images = toy_data.train.images
    codes = ToyCAE().encode(images).class_code
    manifold = ClassManifold(
        codes, Constant().probabilities(images), toy_data.train.labels, tuple(toy_data.train.ids), CLASSES
    )
    config = Config()
    config.manifold.pairs = 40
    metrics = diagnose(ToyCAE(), Constant(), None, manifold, toy_data, config)
    assert "cae/reassignment" not in metrics
    assert "cae/reassignment_oracle" not in metrics
    assert "cae/individual_probe" not in metrics  # one verdict is read from anything
    assert metrics["cae/retention"] == 1


def test_rounding_of_a_decoder_that_ignores_the_code_is_no_edit(toy_data: SimpleNamespace):
    class Rounding(StubbornCAE):
        def encode(self, images: Tensor) -> Codes:
            return Codes(ToyCAE().encode(images).class_code, images)

        def decode(self, class_code: Tensor, individual_code: Tensor) -> Tensor:
            return individual_code + 1e-7 * class_code[:, :, None, None]

    config = Config()
    config.manifold.pairs = 40
    cae = Rounding()
    metrics = diagnose(cae, ToyClassifier(), None, toy_manifold(cae, toy_data), toy_data, config)
    assert metrics["cae/participation_ratio_edits"] == 0
    assert metrics["cae/edit_coherency"] == 0
    assert metrics["cae/reassignment"] == 0
    assert metrics["cae/retention"] == 1


# warnings


def test_a_sound_embedding_raises_no_warning():
    sound = {
        "cae/participation_ratio": 1.6, "cae/class_dim": 8, "cae/smallest_std_share": 0.05,
        "cae/individual_probe": 0.43, "cae/reconstruction_consistency": 0.95,
        "cae/reassignment": 0.9, "cae/reassignment_oracle": 0.75,
    }  # fmt: skip
    assert warnings(sound, CLASSES) == []
    assert warnings({}, CLASSES) == []
    assert warnings({"cae/participation_ratio": 1.0, "cae/class_dim": 2}, CLASSES) == []


@pytest.mark.parametrize(
    ("metrics", "words"),
    [
        ({"cae/participation_ratio": 1.49, "cae/class_dim": 8}, "collapsed"),
        ({"cae/smallest_std_share": 0.049}, "dead"),
        ({"cae/reconstruction_consistency": 0.94}, "reconstructions keep"),
        ({"cae/individual_probe": 0.44}, "leaks"),
        ({"cae/reassignment": 0.3}, "a guess"),
        ({"cae/reassignment": 0.9, "cae/reassignment_oracle": 0.5}, "oracle"),
    ],
)
def test_each_threshold_has_its_warning_with_a_way_out(metrics: dict[str, float], words: str):
    (sentence,) = warnings(metrics, CLASSES)
    assert words in sentence
    assert "cae." in sentence
