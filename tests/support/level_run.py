"""A trained run in memory whose counterfactuals are known: class and class code are the mean grey value."""

from __future__ import annotations

from pathlib import Path

import torch
from tiny_training import level_classifier, tiny_config, tiny_data
from torch import Tensor, nn

from cae.manifold.class_manifold import ClassManifold
from cae.models.cae import Codes
from cae.runs.run_folder import RunFolder
from cae.runs.trained_run import TrainedRun


class LevelCAE(nn.Module):
    """Class code: the mean grey value. Individual code: what is left of the image. The decoder adds them."""

    image_shape, class_dim = (1, 16, 16), 1

    def encode(self, images: Tensor) -> Codes:
        level = images.mean((1, 2, 3))[:, None]
        return Codes(level, images - level[..., None, None])

    def decode(self, class_code: Tensor, individual_code: Tensor) -> Tensor:
        return individual_code + class_code[..., None, None]


def level_run(runs: Path, *overrides: str) -> TrainedRun:
    """The run ``level`` in a folder of runs; the oracle is the classifier."""
    config = tiny_config("name=level", f"runs={runs}", "counterfactual.steps=11", *overrides)
    side = config.data.image_size
    data, classifier, cae = tiny_data(config), level_classifier(side), LevelCAE()
    manifold = ClassManifold.build(cae, classifier, data.loader(data.train), config=config.manifold)
    (runs / "level").mkdir(parents=True, exist_ok=True)
    device = torch.device("cpu")
    return TrainedRun(config, RunFolder(config), data, classifier, device, level_classifier(side), cae, manifold)


def some_images(run: TrainedRun, count: int = 6) -> tuple[Tensor, Tensor]:
    """Test images, and for each the class after its own."""
    images = torch.stack([run.data.test[place].image for place in range(count)])
    return images, (run.classifier.probabilities(images).argmax(1) + 1) % 3
