from __future__ import annotations

import torch
from scipy.stats import kstest
from torch import nn

from cae.classifiers import TargetClassifier
from explainers.caes import causal_scores


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


class Invariant(nn.Module):
    """Two features that a shift on the torus does not change, and a head of one score."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(2, 1)
        self.head.weight.data.copy_(torch.tensor([[1.0, 3.0]]))

    def features(self, images):
        flat = images.flatten(1)
        return torch.stack([flat.mean(1), flat.square().mean(1)], 1)

    def forward(self, images):
        return self.head(self.features(images))


def noise_study(seed: int, planted: bool):
    """Images of independent noise, a 4x4 mask at a random place in each, bright inside if ``planted``."""
    classifier = TargetClassifier(Invariant(), ["no", "yes"], image_shape=(1, 16, 16))
    generator = seeded(seed)
    images = torch.rand(50, 1, 16, 16, generator=generator) * 0.5
    masks = torch.zeros(50, 1, 16, 16, dtype=torch.bool)
    for row, (top, left) in enumerate(torch.randint(12, (50, 2), generator=generator).tolist()):
        masks[row, 0, top : top + 4, left : left + 4] = True
    if planted:
        images = images + 0.3 * masks
    return causal_scores(classifier, images, masks, 1, rolls=8, n_boot=10, n_perm=199, seed=seed)


def test_displaced_masks_are_as_good_where_the_place_does_not_matter():
    found = [noise_study(seed, planted=False)["necessity"] for seed in range(40)]
    assert kstest([row.p_roll for row in found], "uniform").pvalue > 0.01
    excess = torch.tensor([row.excess for row in found])
    assert abs(float(excess.mean())) < 3 * float(excess.std()) / 40**0.5


def test_a_planted_object_beats_its_displaced_copies():
    found = noise_study(0, planted=True)
    assert found["necessity"].p_roll < 0.01
    assert found["s_o"].p_roll < 0.01
    assert found["necessity"].excess > 3
