"""A trained CAE as an explainer: signs, honesty where nothing is found, and the cost."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn

from cae.classifiers import TargetClassifier
from cae.config import ManifoldConfig, ModelConfig
from cae.errors import UserError
from cae.manifold.class_manifold import ClassManifold
from cae.models.cae import CAE
from explainers import get_explainer
from explainers.cae_counterfactual import CaeCounterfactual, TrainedCae

SIDE, CLASSES = 8, ("dark", "grey", "bright")
LEVELS = torch.tensor([0.2, 0.5, 0.8])


class LeftLevel(nn.Module):
    """Tells the mean grey value of the left half; logits ``(B, 3)``."""

    def forward(self, images: Tensor) -> Tensor:
        level = images[..., : SIDE // 2].mean((1, 2, 3))
        return -40 * (level[:, None] - LEVELS.to(level)) ** 2


class LevelCae(nn.Module):
    """A perfect autoencoder by construction: the class code is the level of the left half, all else is individual."""

    image_shape = (1, SIDE, SIDE)
    class_dim = 1

    def encode(self, images: Tensor) -> SimpleNamespace:
        code = images[..., : SIDE // 2].mean((1, 2, 3))[:, None]
        rest = images.clone()
        rest[..., : SIDE // 2] -= code[:, :, None, None]
        return SimpleNamespace(class_code=code, individual_code=rest)

    def decode(self, class_code: Tensor, individual_code: Tensor) -> Tensor:
        images = individual_code.clone()
        images[..., : SIDE // 2] += class_code[:, :, None, None]
        return images.clamp(0, 1)


def classifier() -> TargetClassifier:
    return TargetClassifier(LeftLevel(), CLASSES, image_shape=LevelCae.image_shape)


def level_images(*levels: float) -> Tensor:
    images = torch.rand(len(levels), 1, SIDE, SIDE, generator=torch.Generator().manual_seed(0)) * 0.02
    images[..., SIDE // 2 :] += 0.4
    images[..., : SIDE // 2] += torch.tensor(levels)[:, None, None, None]
    return (images * 255).round() / 255


def trained(target: TargetClassifier) -> TrainedCae:
    images = level_images(*(0.18, 0.2, 0.22, 0.48, 0.5, 0.52, 0.78, 0.8, 0.82))
    with torch.no_grad():
        codes, probabilities = LevelCae().encode(images).class_code, target.probabilities(images)
    ids = tuple(f"train/{k}" for k in range(len(images)))
    return TrainedCae(
        LevelCae(),
        ClassManifold(codes, probabilities, probabilities.argmax(1), ids, CLASSES, ManifoldConfig(neighbours=3)),
    )


def explainer(**options) -> CaeCounterfactual:
    target = classifier()
    return CaeCounterfactual(target, folder=trained(target), **options)


def test_what_leaves_the_prediction_is_positive_and_where_the_class_is_told():
    found = explainer()(level_images(0.2))
    left, right = found.attribution[0, 0, :, : SIDE // 2], found.attribution[0, 0, :, SIDE // 2 :]
    assert found.target.tolist() == [0]
    assert float(left.min()) > 0.05
    assert float(right.abs().max()) < 1e-9  # the smoothing reaches less than a pixel here
    extras = found.extras[0]
    assert (extras["found"], extras["source"], extras["reached"]) == (True, 0, 1)
    assert torch.allclose(extras["counterfactual"] - level_images(0.2)[0], extras["difference"], atol=1e-6)
    assert int(classifier().probabilities(extras["counterfactual"][None]).argmax()) == 1


def test_the_evidence_is_the_whole_change_and_the_saliency_only_what_tips_the_decision():
    whole, barely = explainer()(level_images(0.2)), explainer(quantity="saliency")(level_images(0.2))
    left = slice(0, SIDE // 2)
    assert float(whole.attribution[..., left].min()) ** 0.5 > 1.5 * float(barely.attribution[..., left].max())
    assert torch.allclose(barely.attribution[0], barely.extras[0]["difference"].abs())


def test_what_leads_to_another_class_speaks_against_it():
    found = explainer()(level_images(0.2), target="bright")
    assert found.extras[0]["reached"] == 2
    assert float(found.attribution[..., : SIDE // 2].max()) < -0.05


def test_targets_may_differ_within_a_batch_and_company_changes_nothing():
    images = level_images(0.2, 0.5, 0.8)
    together = explainer()(images, target=[0, 0, 2])
    for k, target in enumerate([0, 0, 2]):
        alone = explainer()(images[k : k + 1], target=target)
        assert torch.equal(together.attribution[k : k + 1], alone.attribution)
        assert together.evaluations[k] == alone.evaluations[0]


@pytest.mark.parametrize("target", [0, 2])
def test_the_contribution_sums_to_what_the_class_loses(target):
    method = explainer(quantity="contribution", steps=101)
    found = method(level_images(0.2), target=target)
    end = found.extras[0]["counterfactual"][None]
    with torch.no_grad():
        lost = found.probabilities[0, target] - method.classifier.probabilities(end)[0, target]
    # the path is followed in steps, and its images are rounded to 8 bits
    assert float(found.attribution.sum()) == pytest.approx(float(lost), rel=0.02)


def test_no_map_where_no_counterfactual_is_found():
    found = explainer(margin=0.99, towards="grey")(level_images(0.2))
    assert not found.extras[0]["found"]
    assert "not reached" in found.extras[0]["reason"]
    assert found.extras[0]["counterfactual"] is None
    assert float(found.attribution.abs().max()) == 0


def test_a_prediction_that_is_led_to_itself_is_said_to_be_there_already():
    found = explainer(towards="dark")(level_images(0.2))
    assert found.extras[0]["status"] == "already_target"


def test_any_class_may_be_the_one_reached():
    assert explainer(towards="any")(level_images(0.2, 0.8)).extras[1]["found"]


@pytest.mark.parametrize("quantity", ["evidence", "contribution"])
def test_the_cost_is_counted_and_no_pass_exceeds_the_batch(quantity, monkeypatch):
    method = explainer(quantity=quantity, batch_size=4)
    sizes, preprocess = [], method.classifier.preprocess.forward
    monkeypatch.setattr(
        method.classifier.preprocess, "forward", lambda images: sizes.append(len(images)) or preprocess(images)
    )
    before = method.classifier.evaluations
    found = method(level_images(0.2, 0.5, 0.8), target=[0, 2, 2])
    assert int(found.evaluations.sum()) == method.classifier.evaluations - before
    assert max(sizes) <= 4


def test_a_run_folder_is_opened_and_compared_with_the_classifier(tmp_path):
    target = classifier()
    options = ModelConfig(class_dim=3, individual_channels=2, width=8, residual_blocks=0)
    options.individual_downsampling = options.class_downsampling = 1
    torch.manual_seed(0)
    model = CAE(LevelCae.image_shape, options).eval()
    images = level_images(0.2, 0.5, 0.8)
    with torch.no_grad():
        codes, probabilities = model.encode(images).class_code, target.probabilities(images)
    ClassManifold(codes, probabilities, probabilities.argmax(1), ("a", "b", "c"), CLASSES).save(
        tmp_path / "manifold.safetensors"
    )
    with pytest.raises(UserError, match=r"cae.safetensors'.*python train.py cae"):
        get_explainer("cae", target, folder=tmp_path)
    model.save(tmp_path / "cae.safetensors", {"classifier": target.fingerprint(), "classes": list(CLASSES)})
    found = get_explainer("cae", target, folder=tmp_path)(images)
    assert found.method == "cae"
    assert found.attribution.shape == (3, 1, SIDE, SIDE)
    assert found.attribution.isfinite().all()
    assert "folder" not in found.parameters
    found.save(tmp_path / "found.safetensors")
    with pytest.raises(UserError, match="the CAE was trained on images"):
        get_explainer("cae", target, folder=tmp_path)(torch.zeros(1, 1, 16, 16))
    model.save(tmp_path / "cae.safetensors", {"classifier": "0" * 16, "classes": list(CLASSES)})
    with pytest.raises(UserError, match="trained against another classifier"):
        get_explainer("cae", target, folder=tmp_path)


def test_options_out_of_range_are_told_together():
    with pytest.raises(UserError, match="(?s)did you mean 'saliency'.*`towards` must be one of.*`steps` must be"):
        explainer(quantity="salency", towards="brihgt", steps=1)
    with pytest.raises(UserError, match="needs a run folder"):
        get_explainer("cae", classifier())
