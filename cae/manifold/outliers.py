"""Images that stand out among the class codes: outliers, and labels or predictions that no neighbour shares."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from cae.csv_files import write_csv
from cae.manifold.class_manifold import ClassManifold
from cae.manifold.graph import nearest, without_own
from cae.manifold.image_codes import ImageCodes

ALONE = 0.1  # largest share of neighbours of the same label that still counts as nearly none
QUANTILE = 0.99  # of the distances to the k-th neighbour, beyond which a code is an outlier


@dataclass(frozen=True)
class LabelIssue:
    """An image whose label, or whose prediction, nearly no neighbour among the training codes shares.

    Attributes:
        id: of the image.
        split: ``train`` or ``test``.
        kind: ``label``, likely a label error, or ``prediction``, likely an error of the classifier.
        score: share of the neighbours with another label or prediction, in [0, 1].
        label: by the data set; None where unknown.
        prediction: of the classifier.
        probability: of that prediction.
        neighbours: most frequent label (or prediction) among the neighbours.
    """

    id: str
    split: str
    kind: str
    score: float
    label: str | None
    prediction: str
    probability: float
    neighbours: str


@dataclass(frozen=True)
class Outlier:
    """An image whose class code lies far from all training codes.

    Attributes:
        id: of the image.
        split: ``train`` or ``test``.
        score: distance to the k-th neighbour, in units of the distance that 99 % of training codes do not exceed.
        label: by the data set; None where unknown.
        prediction: of the classifier.
        probability: of that prediction.
        neighbours: most frequent prediction among the neighbours.
    """

    id: str
    split: str
    score: float
    label: str | None
    prediction: str
    probability: float
    neighbours: str


def minority(values: Tensor, neighbours: Tensor, classes: int) -> tuple[Tensor, Tensor]:
    """Share ``(N,)`` of the neighbours' values ``(N, k)`` that differ from ``values (N,)``, and their commonest one.

    Neighbours of unknown value (negative) do not differ; of nobody known, the commonest is 0.
    """
    known = neighbours >= 0
    differ = (neighbours != values[:, None]) & known
    votes = F.one_hot(neighbours.clamp_min(0), classes) * known[..., None]
    return differ.double().mean(1), votes.sum(1).argmax(1)


def find_label_issues(manifold: ClassManifold, images: ImageCodes) -> list[LabelIssue]:
    """Images whose label, then those whose prediction, nearly no neighbour shares, the most striking first.

    Neighbours are those of the manifold's graph (``manifold.neighbours``, at most ``max_codes`` codes); an image is no
    neighbour of its own.

    Reference: Northcutt et al. 2021, arXiv:1911.00068, for label errors as disagreement.
    """
    if not _has_neighbours(manifold):
        return []
    index, classes = _neighbours(manifold, images)[1], len(manifold.classes)
    issues = []
    for kind, own, others in (
        ("label", images.labels, manifold.labels),
        ("prediction", images.predictions, manifold.predictions),
    ):
        share, common = minority(own, others[manifold.subset][index], classes)
        for row in _largest_first(share, (own >= 0) & (share >= 1 - ALONE)):
            score = round(float(share[row]), 4)
            issues.append(LabelIssue(**_described(manifold, images, row, int(common[row])), kind=kind, score=score))
    return issues


def find_outliers(manifold: ClassManifold, images: ImageCodes) -> list[Outlier]:
    """Images further from their k-th neighbour than 99 % of the training codes from theirs, the furthest first.

    Reference: Ramaswamy et al. 2000, SIGMOD.
    """
    if not _has_neighbours(manifold):
        return []
    points = manifold.graph.points
    own = nearest(points, points, manifold.config.neighbours, exclude_self=True)[0][:, -1]
    limit = max(float(own.quantile(QUANTILE)), 1e-12)
    distance, index = _neighbours(manifold, images)
    far = distance[:, -1] / limit
    common = minority(images.predictions, manifold.predictions[manifold.subset][index], len(manifold.classes))[1]
    return [
        Outlier(**_described(manifold, images, row, int(common[row])), score=round(float(far[row]), 4))
        for row in _largest_first(far, far > 1)
    ]


def write_rows(path: str | Path, kind: type[LabelIssue] | type[Outlier], rows: Sequence[LabelIssue | Outlier]) -> None:
    """Write a CSV file with one line for each of ``rows``, which are of ``kind``, atomically."""
    write_csv(path, [field.name for field in fields(kind)], map(astuple, rows))


def _has_neighbours(manifold: ClassManifold) -> bool:
    return len(manifold.graph.points) > manifold.config.neighbours


def _largest_first(score: Tensor, chosen: Tensor) -> list[int]:
    rows = chosen.nonzero()[:, 0]
    return rows[score[rows].argsort(descending=True, stable=True)].tolist()


def _neighbours(manifold: ClassManifold, images: ImageCodes) -> tuple[Tensor, Tensor]:
    """Distances and places in the graph ``(N, k)`` of the nearest codes, an image's own left out."""
    count, points = manifold.config.neighbours, manifold.graph.points
    distance, index = nearest(manifold.standardised(images.codes), points, count + 1)
    if images.split != "train":
        return distance[:, :-1], index[:, :-1]
    place = {manifold.ids[row]: number for number, row in enumerate(manifold.subset.tolist())}
    others = without_own(index, torch.tensor([place.get(id, -1) for id in images.ids]))
    return distance[others].view(len(index), -1), index[others].view(len(index), -1)


def _described(manifold: ClassManifold, images: ImageCodes, row: int, common: int) -> dict:
    label, probabilities, classes = int(images.labels[row]), images.probabilities[row], manifold.classes
    return {
        "id": images.ids[row],
        "split": images.split,
        "label": classes[label] if label >= 0 else None,
        "prediction": classes[int(probabilities.argmax())],
        "probability": round(float(probabilities.max()), 4),
        "neighbours": classes[common],
    }
