"""Images that stand out among the class codes: outliers, and labels or verdicts that no neighbour shares."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from cae.files import atomic_path
from cae.manifold.class_manifold import ClassManifold
from cae.manifold.graph import nearest

ALONE = 0.1  # largest share of neighbours of the same label that still counts as nearly none
QUANTILE = 0.99  # of the distances to the k-th neighbour, beyond which a code is an outlier


@dataclass(frozen=True)
class Outlier:
    """One image that stands out, and why.

    Attributes:
        id: of the image.
        split: ``train`` or ``test``.
        kind: ``label``, where nearly all neighbours have another label: likely a label error; ``verdict``, where nearly
            all have another verdict; ``outlier``, where even the neighbours are far.
        score: share of the neighbours with another label or verdict; of outliers, distance to the k-th neighbour in
            units of the distance that 99 % of training codes do not exceed.
        label: by the data set; None where unknown.
        verdict: of the classifier.
        probability: of that verdict.
        neighbours: most frequent label (or verdict) among the neighbours.
    """

    id: str
    split: str
    kind: str
    score: float
    label: str | None
    verdict: str
    probability: float
    neighbours: str


@dataclass(frozen=True, eq=False)
class Candidates:
    """Images to be looked at: class codes ``(N, D)``, answers ``(N, K)``, labels ``(N,)``, ids, and their split."""

    codes: Tensor
    probabilities: Tensor
    labels: Tensor
    ids: Sequence[str]
    split: str


def minority(values: Tensor, neighbours: Tensor, classes: int) -> tuple[Tensor, Tensor]:
    """Share ``(N,)`` of the neighbours' values ``(N, k)`` that differ from ``values (N,)``, and their commonest one.

    Neighbours of unknown value (negative) do not differ; of nobody known, the commonest is 0.
    """
    known = neighbours >= 0
    differ = (neighbours != values[:, None]) & known
    votes = F.one_hot(neighbours.clamp_min(0), classes) * known[..., None]
    return differ.double().mean(1), votes.sum(1).argmax(1)


def find_suspects(manifold: ClassManifold, candidates: Candidates) -> list[Outlier]:
    """Images that stand out among the training codes, by kind, the most striking first.

    Neighbours are those of the manifold's graph (``manifold.neighbours``, at most ``max_codes`` codes); an image is no
    neighbour of its own.

    Reference: Northcutt et al. 2021, arXiv:1911.00068, for label errors as disagreement; Ramaswamy et al. 2000, SIGMOD,
    for outliers by the distance to the k-th neighbour.
    """
    points, count = manifold.graph.points, manifold.config.neighbours
    if len(points) <= count:
        return []
    own = nearest(points, points, count, exclude_self=True)[0][:, -1]
    limit = max(float(own.quantile(QUANTILE)), 1e-12)
    distance, index = _neighbours(manifold, candidates)
    verdicts, labels = candidates.probabilities.argmax(1), candidates.labels
    of_label = minority(labels, manifold.labels[manifold.subset][index], len(manifold.classes))
    of_verdict = minority(verdicts, manifold.verdicts[manifold.subset][index], len(manifold.classes))
    far = distance[:, -1] / limit
    kinds = (
        ("label", of_label[0], (labels >= 0) & (of_label[0] >= 1 - ALONE), of_label[1]),
        ("verdict", of_verdict[0], of_verdict[0] >= 1 - ALONE, of_verdict[1]),
        ("outlier", far, far > 1, of_verdict[1]),
    )
    found = []
    for kind, score, chosen, common in kinds:
        rows = chosen.nonzero()[:, 0]
        for row in rows[score[rows].argsort(descending=True, stable=True)].tolist():
            found.append(_suspect(manifold, candidates, row, kind, float(score[row]), int(common[row])))
    return found


def write_suspects(path: str | Path, suspects: Sequence[Outlier]) -> None:
    """Write one line for each suspect as CSV, atomically."""
    with atomic_path(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, [field.name for field in fields(Outlier)])
        writer.writeheader()
        writer.writerows(asdict(suspect) for suspect in suspects)


def _neighbours(manifold: ClassManifold, candidates: Candidates) -> tuple[Tensor, Tensor]:
    """Distances and places in the graph ``(N, k)`` of the nearest codes, an image's own left out."""
    count, points = manifold.config.neighbours, manifold.graph.points
    distance, index = nearest(manifold.standardised(candidates.codes), points, count + 1)
    if candidates.split != "train":
        return distance[:, :-1], index[:, :-1]
    place = {manifold.ids[row]: number for number, row in enumerate(manifold.subset.tolist())}
    itself = index == torch.tensor([place.get(id, -1) for id in candidates.ids])[:, None]
    itself[~itself.any(1), -1] = True  # not in the graph, or among many equal codes: then the furthest goes
    return distance[~itself].view(len(index), -1), index[~itself].view(len(index), -1)


def _suspect(
    manifold: ClassManifold, candidates: Candidates, number: int, kind: str, score: float, common: int
) -> Outlier:
    label, answers, classes = int(candidates.labels[number]), candidates.probabilities[number], manifold.classes
    return Outlier(
        id=candidates.ids[number],
        split=candidates.split,
        kind=kind,
        score=round(score, 4),
        label=classes[label] if label >= 0 else None,
        verdict=classes[int(answers.argmax())],
        probability=round(float(answers.max()), 4),
        neighbours=classes[common],
    )
