"""Scores of many small streams of images in full batches, every forward counted."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import TypeVar

import torch
from torch import Tensor

from cae.classifiers import TargetClassifier
from cae.metrics.log_odds import log_odds

Name = TypeVar("Name", bound=Hashable)
SCORES = ("probability", "logodds")


@dataclass(frozen=True, eq=False)
class StreamScores:
    """Scores of the images of one stream, on the CPU.

    Attributes:
        scores: ``(N,)`` float64, probability or log odds of the explained class.
        kept: ``(N,)`` float64, 1 where the explained class is predicted.
    """

    scores: Tensor
    kept: Tensor

    def __len__(self) -> int:
        return len(self.scores)


@dataclass(frozen=True, eq=False)
class ClassScorer:
    """A classifier asked about one class.

    Attributes:
        classifier: to be asked.
        target: the explained class, fixed before anything is removed.
        score: ``probability``, or ``logodds``: ``log p - log(1 - p)`` in nats.
        batch_size: images in one forward pass at most.
    """

    classifier: TargetClassifier
    target: int
    score: str
    batch_size: int

    @torch.inference_mode()
    def __call__(self, streams: Mapping[Name, Iterable[Tensor]]) -> dict[Name, StreamScores]:
        """Score all images ``(C, H, W)`` of all streams, drawn as they are needed, in batches across streams."""
        owners: list[Name] = []

        def drawn() -> Iterator[Tensor]:
            for name, images in streams.items():
                for image in images:
                    owners.append(name)
                    yield image

        pending, rows = drawn(), []
        while batch := list(islice(pending, self.batch_size)):
            rows.append(self.classifier.logits(torch.stack(batch)).double().cpu())
        places: dict[Name, list[int]] = defaultdict(list)
        for place, owner in enumerate(owners):
            places[owner].append(place)
        if not rows:
            return {}
        logits = torch.cat(rows)
        scores, kept = self._score(logits), (logits.argmax(1) == self.target).double()
        return {name: StreamScores(scores[mine], kept[mine]) for name, mine in places.items()}

    def _score(self, logits: Tensor) -> Tensor:
        if self.score == "probability":
            return logits.softmax(1)[:, self.target]
        return log_odds(logits, self.target)
