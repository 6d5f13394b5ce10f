"""All diagnostics of toy embeddings: a perfect one, and others that lack something."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor
from toy_embedding import CLASSES, StubbornCAE, ToyCAE, ToyClassifier, toy_images

from cae.config import Config
from cae.data.arrays import ArraySet
from cae.diagnostics.diagnose import diagnose
from cae.diagnostics.reassignment import matrix_of
from cae.manifold.class_manifold import ClassManifold
from cae.models.cae import Codes


@pytest.fixture(scope="module")
def toy_data() -> SimpleNamespace:
    splits = {}
    for seed, (name, count) in enumerate([("train", 120), ("test", 60)]):
        images, labels = toy_images(count, seed)
        splits[name] = ArraySet(images, labels, [f"{name}/{i}" for i in range(count)])
    return SimpleNamespace(**splits, classes=CLASSES)


def toy_manifold(cae: ToyCAE, data: SimpleNamespace) -> ClassManifold:
    images = data.train.images
    probabilities = ToyClassifier().probabilities(images)
    return ClassManifold(
        cae.encode(images).class_code, probabilities, data.train.labels, tuple(data.train.ids), CLASSES
    )


@pytest.fixture(scope="module")
def toy_metrics(toy_data: SimpleNamespace) -> dict[str, float]:
    config = Config()
    config.manifold.pairs = 300
    cae = ToyCAE()
    return diagnose(cae, ToyClassifier(), ToyClassifier(), toy_manifold(cae, toy_data), toy_data, config)


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
    assert "cae/individual_probe" not in metrics  # one class is read from anything
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
