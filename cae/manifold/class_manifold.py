"""The class manifold: class codes of the training images, with what the classifier says about each."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path

import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from cae.classifiers import TargetClassifier
from cae.classifiers.identity import state_digest
from cae.config import ManifoldConfig
from cae.data.types import Batch
from cae.devices import device_of
from cae.errors import UserError
from cae.files import read_tensors, write_weights
from cae.manifold.code_paths import Polylines
from cae.manifold.graph import CodeGraph, nearest
from cae.manifold.mapper import MapperGraph, build_mapper, principal_lens
from cae.manifold.prototypes import Prototypes, class_prototypes, farthest_points
from cae.manifold.smote import SmoteSample, smote
from cae.models.cae import CAE
from cae.models.published import PublishedCAE

CONFIDENT = 0.8  # probability from which a code of a class may serve as its reference
METHODS = ("nearest", "prototype", "medoid", "diverse", "random")


@dataclass(frozen=True, eq=False)
class References:
    """Codes ``(n, D)`` to lead paths to, and their indices ``(n,)`` in the manifold; -1 marks a mean, no image."""

    codes: Tensor
    indices: Tensor

    def __len__(self) -> int:
        return len(self.codes)


@dataclass(frozen=True, eq=False)
class ClassManifold:
    """Class codes of the training split, on the CPU.

    Attributes:
        codes: ``(N, D)`` float32.
        probabilities: ``(N, K)`` of the classifier.
        labels: ``(N,)`` labels of the data set.
        ids: one per image.
        classes: names of the K classes.
        config: neighbours, density and size of the graph.
        seed: of the subset of codes in the graph.
        fingerprints: of the models that made the codes, by name (``cae``, ``classifier``).
    """

    codes: Tensor
    probabilities: Tensor
    labels: Tensor
    ids: tuple[str, ...]
    classes: tuple[str, ...]
    config: ManifoldConfig = field(default_factory=ManifoldConfig)
    seed: int = 0
    fingerprints: dict[str, str] = field(default_factory=dict)

    def __post_init__(self):
        if problems := _problems(self):
            raise UserError(problems)

    @classmethod
    @torch.no_grad()
    def build(
        cls,
        cae: CAE | PublishedCAE,
        classifier: TargetClassifier,
        loader: Iterable[Batch],
        *,
        config: ManifoldConfig | None = None,
        seed: int = 0,
    ) -> ClassManifold:
        """Encode and classify every image of ``loader``, once and in its order (a loader that does not shuffle).

        Args:
            cae: the trained model, with the weights that are to be explained with.
            classifier: the target classifier.
            loader: batches of the training split.
            config: size and neighbours of the graph.
            seed: of the subset of codes in the graph.
        """
        codes, probabilities, labels, ids = [], [], [], []
        for batch in loader:
            codes.append(cae.encode(batch.images.to(device_of(cae))).class_code.float().cpu())
            probabilities.append(classifier.probabilities(batch.images.to(device_of(classifier))).float().cpu())
            labels.append(batch.labels.cpu())
            ids += batch.ids
        if not codes:
            raise UserError("The class manifold needs training images, but the training split is empty.")
        parts = torch.cat(codes), torch.cat(probabilities), torch.cat(labels)
        prints = {"classifier": classifier.fingerprint()}
        if isinstance(cae, nn.Module):
            prints["cae"] = state_digest(cae)[:16]
        return cls(*parts, tuple(ids), tuple(classifier.classes), config or ManifoldConfig(), seed, prints)

    def save(self, path: str | Path) -> None:
        """Write tensors and metadata into one safetensors file."""
        # a header may not pass 100 MB, which the ids of a large data set would
        ids = torch.frombuffer(bytearray(json.dumps(self.ids), "utf-8"), dtype=torch.uint8)
        tensors = {"codes": self.codes, "probabilities": self.probabilities, "labels": self.labels}
        metadata = {"classes": self.classes, "config": asdict(self.config), "seed": self.seed}
        metadata["fingerprints"] = self.fingerprints
        write_weights(path, {**tensors, "ids": ids}, "manifold", metadata)

    @classmethod
    def load(cls, path: str | Path) -> ClassManifold:
        """Read what ``save`` wrote."""
        path = Path(path)
        if not path.exists():
            raise UserError(f"There is no class manifold at '{path}': train the CAE first (`python train.py cae`).")
        try:
            metadata, tensors = read_tensors(path, "manifold")
            codes, probabilities, labels = (tensors[name] for name in ("codes", "probabilities", "labels"))
            ids = json.loads(bytes(tensors["ids"].tolist()))
            config = ManifoldConfig(**metadata["config"])
            classes, seed, prints = tuple(metadata["classes"]), metadata["seed"], metadata["fingerprints"]
        except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
            raise UserError(f"'{path}' is not a class manifold as this program writes it: {error}.") from error
        return cls(codes, probabilities, labels, tuple(ids), classes, config, seed, prints)

    def __len__(self) -> int:
        return len(self.codes)

    @cached_property
    def predictions(self) -> Tensor:
        """``(N,)`` class that the classifier gives to each image."""
        return self.probabilities.argmax(1)

    @cached_property
    def std(self) -> Tensor:
        """``(D,)`` unit of distance along each dimension: the standard deviation of the codes.

        A dimension that does not vary gets the largest one, so that distances along it are not blown up.
        """
        std = self.codes.double().std(0, correction=0)
        largest = std.max() if std.max() > 0 else torch.ones((), dtype=torch.float64)
        return torch.where(std > 1e-6 * largest, std, largest).float()

    @cached_property
    def points(self) -> Tensor:
        """``(N, D)`` float64, the codes in units of ``std``: what all distances are taken between."""
        return self.standardised(self.codes)

    @cached_property
    def missing(self) -> tuple[str, ...]:
        """Classes that the classifier gives to no training image: no counterfactual can be led there."""
        present = set(self.predictions.tolist())
        return tuple(name for number, name in enumerate(self.classes) if number not in present)

    @cached_property
    def subset(self) -> Tensor:
        """Indices of the codes in the graph: all, or a subset drawn by the seed."""
        order = torch.randperm(len(self), generator=torch.Generator().manual_seed(self.seed))
        return order[: self.config.max_codes].sort().values

    @cached_property
    def graph(self) -> CodeGraph:
        """Neighbourhood graph of the ``subset``, in units of ``std``."""
        return CodeGraph.build(self.points[self.subset], self.config.neighbours, self.config.density)

    def standardised(self, codes: Tensor) -> Tensor:
        """Codes ``(..., D)`` in units of the standard deviation, float64."""
        return codes.detach().double().cpu() / self.std.double()

    def prototypes(self, target: int) -> Prototypes | None:
        """Typical and borderline codes of a class, among at most ``max_codes``; None if no image is predicted as it."""
        if target not in self._prototypes:
            members = (self.predictions == target).nonzero()[:, 0]
            if not len(members):
                return None
            order = torch.randperm(len(members), generator=torch.Generator().manual_seed(self.seed))
            members = members[order[: self.config.max_codes].sort().values]
            self._prototypes[target] = class_prototypes(self.codes, self.points, self.probabilities, members, target)
        return self._prototypes[target]

    @cached_property
    def _prototypes(self) -> dict[int, Prototypes]:
        return {}

    def references(
        self, code: Tensor, target: int, method: str = "nearest", count: int = 1, seed: int = 0
    ) -> References:
        """Codes of a class to lead paths to, best first; none if the classifier predicts it for no image.

        Candidates are the codes predicted as the class with a probability of at least 0.8, or the most confident
        ``count`` ones where there are fewer. Distances are in units of ``std``.

        Args:
            code: ``(D,)`` code from which to start.
            target: index of the class.
            method: ``nearest``; ``diverse``, the nearest and then always the candidate furthest from those taken;
                ``prototype``, the mean weighted by the class's probability, or ``medoid``, the most central image, each
                followed by the diverse ones (the nearest stand at the boundary and fail together); ``random``.
            count: how many at most.
            seed: of ``random``.
        """
        if method not in METHODS:
            raise ValueError(f"`method` must be one of {', '.join(METHODS)}, but got {method!r}.")
        candidates = self._candidates(target, count)
        if not len(candidates):
            return References(self.codes[:0], candidates)
        points = self.points[candidates]
        distance = (points - self.standardised(code)).norm(dim=1)
        order = distance.argsort(stable=True)
        if method in ("diverse", "prototype", "medoid"):
            order = farthest_points(points, int(order[0]), count)
        elif method == "random":
            order = torch.randperm(len(candidates), generator=torch.Generator().manual_seed(seed))
        indices = candidates[order[:count]]
        prototypes = self.prototypes(target) if method in ("medoid", "prototype") else None
        if method == "medoid" and prototypes:
            centre = torch.tensor([prototypes.medoid])
            indices = torch.cat([centre, indices[indices != centre]])[:count]
        codes = self.codes[indices]
        if method == "prototype" and prototypes:
            indices = torch.cat([torch.tensor([-1]), indices])[:count]
            codes = torch.cat([prototypes.mean[None], codes])[:count]
        return References(codes, indices)

    def polylines(self, codes: Tensor, references: Tensor, kind: str = "line") -> Polylines:
        """Polylines from ``codes (B, D)`` to ``references (B, D)``: straight, or through the graph of the codes."""
        if kind not in ("line", "graph"):
            raise ValueError(f"`kind` must be 'line' or 'graph', but got {kind!r}.")
        points = []
        for start, end in zip(codes.detach().cpu(), references.detach().cpu(), strict=True):
            between: list[int] = []
            if kind == "graph" and not torch.equal(start, end):
                between = self.graph.shortest_path(self.standardised(start), self.standardised(end))
            points.append(torch.cat([start[None], self.codes[self.subset[between]], end[None]]))
        return Polylines.through(points, self.std)

    def path(self, code: Tensor, reference: Tensor, kind: str = "line", steps: int = 21) -> Tensor:
        """Codes ``(steps, D)`` at equal distances, from exactly ``code (D,)`` to exactly ``reference``."""
        tau = torch.linspace(0, 1, steps, dtype=torch.float64)
        return self.polylines(code[None], reference[None], kind).at(tau[None])[0].to(self.codes.dtype)

    def gap(self, codes: Tensor) -> float:
        """Largest distance of ``codes (n, D)`` to the nearest code of the graph, in median neighbour distances."""
        distance = nearest(self.standardised(codes), self.graph.points, 1)[0].max()
        return float(distance) / max(self.graph.neighbour_distance, 1e-12)

    def smote(self, count: int, neighbours: int = 5, generator: torch.Generator | None = None) -> SmoteSample:
        """New codes between neighbouring codes of the same predicted class."""
        return smote(self.codes, self.predictions, count, neighbours, generator, scale=self.std)

    def mapper(self, lens: str = "pca2", target: int = 0, intervals: int = 7, overlap: float = 0.49) -> MapperGraph:
        """Mapper graph of the ``subset``; members and medoids are indices into it.

        Args:
            lens: ``pca2``, the first two principal axes, or ``prob``, the probability of class ``target``.
            target: index of the class for ``prob``.
            intervals: of the cover, along each axis of the lens.
            overlap: of neighbouring intervals.
        """
        if lens not in ("pca2", "prob"):
            raise ValueError(f"`lens` must be 'pca2' or 'prob', but got {lens!r}.")
        points, probabilities = self.points[self.subset], self.probabilities[self.subset]
        values = principal_lens(points) if lens == "pca2" else probabilities[:, target]
        return build_mapper(points, values, probabilities, self.classes, intervals=intervals, overlap=overlap)

    def _candidates(self, target: int, count: int) -> Tensor:
        members = (self.predictions == target).nonzero()[:, 0]
        confidence = self.probabilities[members, target]
        if int((confidence >= CONFIDENT).sum()) >= count:
            return members[confidence >= CONFIDENT]
        return members[confidence.argsort(descending=True, stable=True)[:count].sort().values]


def _problems(manifold: ClassManifold) -> list[str]:
    n, k = manifold.codes.shape[0], len(manifold.classes)
    problems = []
    if n == 0:
        problems.append("A class manifold needs at least one code, but got none.")
    for name in ("probabilities", "labels", "ids"):
        size = len(getattr(manifold, name))
        if size != n:
            problems.append(f"A class manifold needs one entry of `{name}` per code ({n}), but got {size}.")
    if manifold.probabilities.shape[1:] != (k,):
        shape, names = tuple(manifold.probabilities.shape), ", ".join(manifold.classes)
        problems.append(f"`probabilities` must be (N, {k}) for the classes {names}, but is {shape}.")
    bad = int((~manifold.codes.isfinite()).any(1).sum())
    if bad:
        problems.append(
            f"{bad} of {n} class codes are not finite: the training of the CAE diverged; lower cae.learning_rate."
        )
    return problems
