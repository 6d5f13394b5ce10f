"""What the scores say of a classifier of lesions, whose true evidence is known."""

from __future__ import annotations

from functools import cache

import pytest
import torch
import torch.nn.functional as F

from cae.classifiers import SmallResNet, TargetClassifier
from cae.config import DataConfig, LesionsConfig
from cae.data.arrays import ArraySet
from cae.data.lesions import draw_split, marker_box
from explainers.caes import ClassStudy, ScoreSettings
from explainers.caes.masks import dilated_masks, shifted_masks, swapped_masks

SIZE = 32
SETTINGS = ScoreSettings(fill="masked_blur", rolls=8, n_boot=500, n_perm=499)

pytestmark = pytest.mark.slow


def split(name: str, shortcut: float | None) -> ArraySet:
    lesions = LesionsConfig(train=900, test=160, classes=["healthy", "mass"], shortcut=shortcut, contrast=1.3)
    return draw_split(DataConfig(image_size=SIZE, lesions=lesions), name)


@cache
def trained(shortcut: float | None) -> TargetClassifier:
    """A small network that tells masses from healthy slices, trained for some seconds."""
    data = split("train", shortcut)
    images, labels = data.images.float() / 255, data.labels
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = SmallResNet(2, width=8)
        optimiser = torch.optim.AdamW(network.parameters(), 4e-3)
        for _ in range(6):
            for rows in torch.randperm(len(images)).split(48):
                noisy = images[rows] + 0.05 * torch.randn(len(rows), 1, SIZE, SIZE)
                optimiser.zero_grad()
                F.cross_entropy(network(noisy), labels[rows]).backward()
                optimiser.step()
    return TargetClassifier(network, ["healthy", "mass"], image_shape=(1, SIZE, SIZE))


def masses(shortcut: float | None) -> tuple[torch.Tensor, torch.Tensor]:
    """Sixty images of masses that the classifier recognises, with their exact masks."""
    data = split("test", shortcut)
    rows = data.labels == 1
    images = data.images[rows].float() / 255
    recognised = trained(shortcut).logits(images).argmax(1) == 1
    return images[recognised][:60], data.masks[rows][recognised][:60]


def test_exact_masks_rank_above_each_poor_annotator():
    images, masks = masses(None)
    assert len(images) >= 50
    study = ClassStudy(trained(None), images, 1, SETTINGS)
    exact = study.removal_effects(masks)
    score = study.score(exact)
    assert score["necessity_gain"].low > 0
    assert score["necessity"].p_roll < 0.01
    annotators = {
        "dilated": dilated_masks(masks, 4),
        "shifted": shifted_masks(masks, torch.Generator().manual_seed(0)),
        "swapped": swapped_masks(masks),
    }
    for name, poor in annotators.items():
        (found,) = [
            row for row in study.differences(exact, study.removal_effects(poor)) if row.name == "necessity_gain"
        ]
        assert found.low > 0, (name, found)
        assert found.p_swap < 0.05, (name, found)


def test_a_planted_shortcut_is_exposed_by_the_area_of_its_marker():
    images, lesions = masses(1.0)
    top, left, bottom, right = marker_box(SIZE)
    markers = torch.zeros_like(lesions)
    markers[..., top:bottom, left:right] = True
    study = ClassStudy(trained(1.0), images, 1, SETTINGS)
    marker, lesion = study.removal_effects(markers), study.removal_effects(lesions)
    found = {row.name: row for row in study.differences(marker, lesion)}
    assert found["necessity"].low > 0
    assert found["necessity_gain"].low > 0
    assert found["necessity"].p_swap < 0.01
    # of the classifier without shortcut, on its own images, the same corner carries nothing
    images, lesions = masses(None)
    honest = ClassStudy(trained(None), images, 1, SETTINGS)
    corner = torch.zeros_like(lesions)
    corner[..., top:bottom, left:right] = True
    found = {
        row.name: row for row in honest.differences(honest.removal_effects(corner), honest.removal_effects(lesions))
    }
    assert found["necessity"].high < 0
