"""Which references the path of each image leads to, in turn, and what comes of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from cae.config import CounterfactualConfig
from cae.counterfactuals.code_optimisation import optimise_codes
from cae.counterfactuals.path_search import (
    BoundaryPoint,
    CandidateDecoder,
    PathTrace,
    TargetCriterion,
    bisect,
    trace_paths,
)
from cae.manifold.class_manifold import ClassManifold


@dataclass(eq=False)
class ReferenceSearch:
    """What is known so far about one image."""

    id: str
    status: str = "not_found"
    codes: Tensor = field(default_factory=lambda: torch.empty(0))
    reference_ids: list[str] = field(default_factory=list)
    trace: PathTrace | None = None  # of the path shown: the first that succeeded, or the one that came closest
    trace_reference: str = ""  # id of the reference that this path leads to
    boundary: BoundaryPoint | None = None
    differences: list[Tensor] = field(default_factory=list)
    found_ids: list[str] = field(default_factory=list)
    tried: int = 0

    def needs(self, turn: int, average: bool) -> bool:
        """Whether the path to reference number ``turn`` is still needed."""
        return turn < len(self.codes) and (average or self.boundary is None)

    def record(self, turn: int, trace: PathTrace, boundary: BoundaryPoint | None, difference: Tensor | None) -> None:
        """Note what became of reference number ``turn``; the first success, or else the closest attempt, is shown."""
        self.tried += 1
        name = self.reference_ids[turn]
        if boundary is not None and difference is not None:
            self.differences.append(difference)
            self.found_ids.append(name)
        closer = self.trace is None or float(trace.margins[1:].max()) > float(self.trace.margins[1:].max())
        if self.boundary is None and (boundary is not None or closer):
            self.trace, self.trace_reference, self.boundary = trace, name, boundary


def find_references(
    searches: list[ReferenceSearch],
    decoder: CandidateDecoder,
    criterion: TargetCriterion,
    manifold: ClassManifold,
    config: CounterfactualConfig,
    seed: int,
    given: Tensor | None,
    given_ids: Sequence[str] | None,
) -> None:
    """Class codes that paths lead to, in the order in which they are tried."""
    open_rows = [row for row, search in enumerate(searches) if search.status == "not_found"]
    if config.reference == "image" and given is not None:
        codes = given.expand(len(searches), -1)
        for row in open_rows:
            searches[row].codes, searches[row].reference_ids = codes[row, None], [_given_id(given_ids, row)]
    elif config.reference == "optimise" and open_rows:
        ids = [searches[row].id for row in open_rows]
        codes = _optimised(torch.tensor(open_rows), ids, decoder, criterion, manifold, config.optimise_steps, seed)
        for row, code in zip(open_rows, codes, strict=True):
            searches[row].codes, searches[row].reference_ids = code[None], ["optimised"]
    else:
        for row in open_rows:
            target = None if criterion.targets is None else int(criterion.targets[row])
            chosen = _from_manifold(manifold, decoder.class_codes[row], int(criterion.sources[row]), target, config)
            searches[row].codes, searches[row].reference_ids = chosen


def _given_id(ids: Sequence[str] | None, row: int) -> str:
    if not ids:
        return "given"
    return ids[row] if len(ids) > 1 else ids[0]


def _optimised(
    rows: Tensor,
    ids: Sequence[str],
    decoder: CandidateDecoder,
    criterion: TargetCriterion,
    manifold: ClassManifold,
    steps: int,
    seed: int,
) -> Tensor:
    """Codes ``(R, D)`` by optimisation, each begun at the prototype of its target where there is one."""
    targets = decoder.probabilities.topk(2).indices[:, 1] if criterion.targets is None else criterion.targets
    begins = decoder.class_codes[rows].clone()
    for place, target in enumerate(targets[rows].tolist()):
        near = manifold.references(begins[place], target, "prototype", 1).codes
        begins[place] = near[0] if len(near) else begins[place]
    return optimise_codes(decoder, rows, targets[rows], manifold.std, steps=steps, ids=ids, seed=seed, begins=begins)


def _from_manifold(
    manifold: ClassManifold, code: Tensor, source: int, target: int | None, config: CounterfactualConfig
) -> tuple[Tensor, list[str]]:
    """Codes of the target class, or those of all other classes together, the nearest first."""
    method, count = ("diverse", config.average) if config.average > 1 else (config.reference, config.references)
    targets = [target] if target is not None else [k for k in range(len(manifold.classes)) if k != source]
    codes, names = [], []
    for k in targets:
        found = manifold.references(code, k, method, count)
        codes.append(found.codes)
        indices = found.indices.tolist()
        names += [manifold.ids[index] if index >= 0 else f"{method} of {manifold.classes[k]}" for index in indices]
    merged = torch.cat(codes)
    if target is not None:
        return merged, names
    distance = (manifold.standardised(merged) - manifold.standardised(code)).norm(dim=1)
    order = distance.argsort(stable=True)[:count]
    return merged[order], [names[index] for index in order.tolist()]


def trace_to_references(
    searches: list[ReferenceSearch],
    decoder: CandidateDecoder,
    criterion: TargetCriterion,
    manifold: ClassManifold,
    config: CounterfactualConfig,
) -> None:
    """Follow the path to the first reference of every image, then to the second of those that need one, and so on."""
    turns = max((len(search.codes) for search in searches), default=0)
    for turn in range(turns):
        needing = [row for row, search in enumerate(searches) if search.needs(turn, config.average > 1)]
        if not needing:
            return
        rows = torch.tensor(needing)
        ends = torch.stack([searches[row].codes[turn] for row in needing])
        paths = manifold.polylines(decoder.class_codes[rows], ends, config.path)
        traces = trace_paths(decoder, criterion, rows, paths, config.steps)
        hits = [number for number, trace in enumerate(traces) if trace.first is not None]
        boundaries: dict[int, BoundaryPoint] = {}
        if hits:
            chosen, reaching = torch.tensor(hits), [traces[number] for number in hits]
            exact = bisect(decoder, criterion, rows[chosen], paths[chosen], reaching, config.bisections)
            boundaries = dict(zip(hits, exact, strict=True))
        for number, (row, trace) in enumerate(zip(needing, traces, strict=True)):
            boundary = boundaries.get(number)
            # the start of the path is the original (residual) or the reconstruction (decoded)
            difference = None if boundary is None else boundary.image - trace.images[0]
            searches[row].record(turn, trace, boundary, difference)
