"""Tiny images, classifiers and options, on which a whole CAE training takes seconds."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from cae.classifiers import TargetClassifier
from cae.config import Config
from cae.config.command_line import load_config
from cae.data import CAEDataModule, Splits
from cae.data.arrays import ArraySet
from cae.training.cae import build_module, gather_classifiers, train_loader

SIDE = 16
CLASSES = ("dark", "grey", "bright")
LEVELS = torch.tensor([0.2, 0.5, 0.8])
OPTIONS = (
    f"data.image_size={SIDE}",
    "data.batch_size=6",
    "oracle.fallback=false",
    "cae.max_steps=12",
    "cae.warmup_steps=2",
    "cae.ramp_steps=2",
    "cae.validate_every=5",
    "cae.recipients=4",
    "cae.pairs=4",
    "cae.validation_pairs=12",
    "cae.max_reconstruction_error=1",
    "cae.learning_rate=0.002",
    "cae.augment=false",
    "cae.surrogate=false",
    "cae.patience=1000",
    "cae.model.class_dim=3",
    "cae.model.individual_channels=2",
    "cae.model.width=4",
    "cae.model.individual_downsampling=2",
    "cae.model.class_downsampling=2",
    "cae.model.residual_blocks=1",
    "cae.model.discriminator_width=4",
    "manifold.neighbours=3",
    "manifold.max_codes=20",
    "manifold.pairs=12",
    "logging.every=1",
    "logging.progress=false",
    "trainer.accelerator=cpu",
    "trainer.threads=1",
)


class LevelNet(nn.Module):
    """Tells the mean grey value apart; logits ``(B, 3)``, with buffers that a training could spoil."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(1, affine=True)
        self.sharpness = nn.Parameter(torch.tensor(60.0))

    def forward(self, images: Tensor) -> Tensor:
        level = self.norm(images.mean(1, keepdim=True)).mean((1, 2, 3))
        return -self.sharpness * (level[:, None] - LEVELS.to(level)) ** 2


def level_scores(images: np.ndarray) -> np.ndarray:
    """Probabilities of grey values as a function of NumPy images; two classes, told apart at a mean grey of 0.2."""
    bright = 1 / (1 + np.exp(-60 * (images.mean((1, 2, 3)) - 0.2)))
    return np.stack([1 - bright, bright], 1)


def tiny_config(*overrides: str) -> Config:
    """Options of a training of 12 steps on images of 16 x 16 pixels."""
    return load_config(overrides=[*OPTIONS, *overrides])


def tiny_images(count: int, seed: int, name: str, side: int = SIDE) -> ArraySet:
    """``count`` noisy images of three grey levels in turn, each with a brighter bar."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % 3
    images = LEVELS[labels].view(-1, 1, 1, 1) + 0.05 * torch.randn(count, 1, side, side, generator=generator)
    for image, column in zip(images, torch.randint(0, side, (count,), generator=generator).tolist(), strict=True):
        image[..., column] += 0.2
    return ArraySet(images.clamp(0, 1), labels, [f"{name}/{index}" for index in range(count)])


def tiny_data(config: Config) -> CAEDataModule:
    """A data module over 30, 15 and 15 tiny images."""
    data = CAEDataModule(config.data)
    counts = {"train": 30, "val": 15, "test": 15}
    sets = [tiny_images(n, seed, name, config.data.image_size) for seed, (name, n) in enumerate(counts.items())]
    data._splits = Splits(*sets, CLASSES)
    return data


def level_classifier(side: int = SIDE) -> TargetClassifier:
    """The classifier of the tiny images."""
    return TargetClassifier(LevelNet(), CLASSES, image_shape=(1, side, side))


def tiny_trainer(steps: int, **settings: Any) -> pl.Trainer:
    """A bare trainer on the CPU, without validation, loggers and checkpoints."""
    off = ("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary", "use_distributed_sampler")
    bare = {**dict.fromkeys(off, False), "accelerator": "cpu", "limit_val_batches": 0}
    return pl.Trainer(max_steps=steps, **bare, **settings)


def train_few_steps(config: Config, classifier: TargetClassifier, steps: int) -> tuple[pl.LightningModule, pl.Trainer]:
    """Train the module of the preset on tiny data."""
    data = tiny_data(config)
    classifiers = gather_classifiers(config.cae, data, classifier, level_classifier(config.data.image_size))
    pl.seed_everything(config.seed, verbose=False)
    module, trainer = build_module(config, data.image_shape, classifiers), tiny_trainer(steps)
    trainer.fit(module, train_loader(config, data, classifiers.training_logits, trainer))
    return module, trainer


def same(first: Any, second: Any) -> bool:
    """Whether two nested states hold the same numbers, bit for bit."""
    if isinstance(first, Tensor):
        return torch.equal(first, second)
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(same(first[key], second[key]) for key in first)
    if isinstance(first, (list, tuple)):
        return len(first) == len(second) and all(map(same, first, second))
    return bool(first == second)
