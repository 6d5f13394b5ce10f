"""Probes: how much of the class can be read from a code? All are fitted on training codes and scored on test codes."""

from __future__ import annotations

import copy
import warnings

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor, nn

from cae.metrics import agreement

LARGEST_SIDE = 16  # individual codes are average-pooled to this side for the convolutional probe …
MOST_VALUES = 65_536  # … and further while one of them holds more


def balanced_accuracy(predicted: Tensor, truth: Tensor) -> float:
    """Mean over the classes that occur of the share recognised, in [0, 1]; 1 / K for a guess among K classes."""
    classes = int(torch.cat([predicted, truth]).max()) + 1
    return agreement.balanced_accuracy(agreement.confusion_matrix(truth, predicted, classes))


def knn_probe(train: Tensor, train_classes: Tensor, test: Tensor, test_classes: Tensor, neighbours: int = 5) -> float:
    """Balanced accuracy of a k-nearest-neighbour classifier on standardised codes ``(N, D)``."""
    classifier = KNeighborsClassifier(min(neighbours, len(train)))
    return _sklearn_probe(classifier, train, train_classes, test, test_classes)


def logistic_probe(train: Tensor, train_classes: Tensor, test: Tensor, test_classes: Tensor) -> float:
    """Balanced accuracy of a logistic regression, classes weighted equally, on standardised codes ``(N, D)``."""
    classifier = LogisticRegression(max_iter=500, class_weight="balanced")
    return _sklearn_probe(classifier, train, train_classes, test, test_classes)


def _sklearn_probe(
    classifier: KNeighborsClassifier | LogisticRegression,
    train: Tensor,
    train_classes: Tensor,
    test: Tensor,
    test_classes: Tensor,
) -> float:
    if len(train_classes.unique()) < 2:
        return balanced_accuracy(train_classes[:1].expand(len(test_classes)), test_classes)
    pipeline = make_pipeline(StandardScaler(), classifier)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # a probe that stops early is still a lower bound
        pipeline.fit(train.double().numpy(), train_classes.numpy())
    return balanced_accuracy(torch.from_numpy(np.asarray(pipeline.predict(test.double().numpy()))), test_classes)


def channel_statistics(individual_codes: Tensor) -> Tensor:
    """Mean and standard deviation of each channel, ``(N, S, h, w)`` to ``(N, 2 S)``: what a global edit would leave."""
    flat = individual_codes.flatten(2)
    return torch.cat([flat.mean(2), flat.std(2, correction=0)], dim=1)


def pooled(individual_codes: Tensor) -> Tensor:
    """Individual codes averaged down to at most 16 x 16 positions, so that thousands of them fit into memory.

    >>> [tuple(pooled(torch.zeros(1, channels, 24, 12)).shape[1:]) for channels in (16, 768)]
    [(16, 16, 12), (768, 8, 8)]
    """
    channels, height, width = individual_codes.shape[1:]
    side = LARGEST_SIDE
    while side > 1 and channels * min(height, side) * min(width, side) > MOST_VALUES:
        side //= 2
    if max(height, width) <= side:
        return individual_codes
    return F.adaptive_avg_pool2d(individual_codes, (min(height, side), min(width, side)))


class ConvProbe(nn.Module):
    """A small classifier of individual codes: two convolutions, mean and maximum over positions, one linear layer."""

    def __init__(self, channels: int, classes: int, width: int = 32):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(channels, width, 3, 1, 1), nn.GELU(), nn.Conv2d(width, width, 3, 2, 1), nn.GELU()
        )
        self.head = nn.Linear(2 * width, classes)

    def forward(self, codes: Tensor) -> Tensor:
        """Logits ``(B, K)`` of codes ``(B, S, h, w)``."""
        h = self.body(codes)
        return self.head(torch.cat([h.mean((2, 3)), h.amax((2, 3))], dim=1))


def conv_probe(
    train: Tensor, train_classes: Tensor, test: Tensor, test_classes: Tensor, seed: int = 0, epochs: int = 20
) -> float:
    """Balanced accuracy of a ``ConvProbe`` trained on individual codes ``(N, S, h, w)``.

    A fifth of the training codes chooses the epoch, so that a probe that overfits does not hide what leaks.
    """
    classes = int(torch.cat([train_classes, test_classes]).max()) + 1
    mean = train.mean((0, 2, 3), keepdim=True)
    std = train.std((0, 2, 3), keepdim=True, correction=0).clamp_min(1e-6)
    train, test = (train - mean) / std, (test - mean) / std
    order = torch.randperm(len(train), generator=torch.Generator().manual_seed(seed))
    held, fitted = order[: len(order) // 5], order[len(order) // 5 :]
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        torch.random.default_generator.manual_seed(seed)  # torch.manual_seed would also reset the accelerators
        probe = ConvProbe(train.shape[1], classes)
        best = _fit(probe, train[fitted], train_classes[fitted], train[held], train_classes[held], epochs)
    probe.load_state_dict(best)
    return balanced_accuracy(_predict(probe, test), test_classes)


def _fit(
    probe: ConvProbe, codes: Tensor, classes: Tensor, held_codes: Tensor, held_classes: Tensor, epochs: int
) -> dict[str, Tensor]:
    """Train in place; the state of the epoch that was best on the held-out codes."""
    counts = torch.bincount(classes, minlength=probe.head.out_features)
    weight = len(classes) / (counts.clamp_min(1) * (counts > 0).sum())
    steps = epochs * max(1, -(-len(codes) // 64))
    optimizer = torch.optim.AdamW(probe.parameters(), lr=3e-3, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=steps)
    best, state = -1.0, copy.deepcopy(probe.state_dict())
    for _ in range(epochs):
        for rows in torch.randperm(len(codes)).split(64):
            loss = F.cross_entropy(probe(codes[rows]), classes[rows], weight=weight)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        score = balanced_accuracy(_predict(probe, held_codes), held_classes) if len(held_codes) else 0.0
        if score >= best:
            best, state = score, copy.deepcopy(probe.state_dict())
    return state


@torch.no_grad()
def _predict(probe: ConvProbe, codes: Tensor) -> Tensor:
    return torch.cat([probe(part).argmax(1) for part in codes.split(256)])
