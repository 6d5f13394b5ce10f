"""Which references each image's class code walks to, in turn, and what comes of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from cae.config import CounterfactualConfig
from cae.counterfactuals.code_optimisation import optimise_codes
from cae.counterfactuals.path_search import BoundaryPoint, CandidateDecoder, PathTrace, TargetCriterion, bisect, walk
from cae.manifold.class_manifold import ClassManifold


@dataclass(eq=False)
class ReferenceSearch:
    """What is known so far about one image."""

    id: str
    status: str = "not_found"
    codes: Tensor = field(default_factory=lambda: torch.empty(0))
    reference_ids: list[str] = field(default_factory=list)
    walked: PathTrace | None = None  # the walk shown: the first that succeeded, or the one that came closest
    walked_to: str = ""
    crossing: BoundaryPoint | None = None
    differences: list[Tensor] = field(default_factory=list)
    found_ids: list[str] = field(default_factory=list)
    tried: int = 0

    def wants(self, turn: int, average: bool) -> bool:
        """Whether a walk to reference number ``turn`` is still needed."""
        return turn < len(self.codes) and (average or self.crossing is None)

    def record(self, turn: int, walked: PathTrace, crossing: BoundaryPoint | None, difference: Tensor | None) -> None:
        """Note what became of reference number ``turn``; the first success, or else the closest attempt, is shown."""
        self.tried += 1
        name = self.reference_ids[turn]
        if crossing is not None and difference is not None:
            self.differences.append(difference)
            self.found_ids.append(name)
        closer = self.walked is None or float(walked.margins[1:].max()) > float(self.walked.margins[1:].max())
        if self.crossing is None and (crossing is not None or closer):
            self.walked, self.walked_to, self.crossing = walked, name, crossing


def find_references(
    searches: list[ReferenceSearch],
    renderer: CandidateDecoder,
    goal: TargetCriterion,
    manifold: ClassManifold,
    config: CounterfactualConfig,
    seed: int,
    given: Tensor | None,
    given_ids: Sequence[str] | None,
) -> None:
    """Class codes to walk to, in the order in which they are tried."""
    open_rows = [row for row, search in enumerate(searches) if search.status == "not_found"]
    if config.reference == "image" and given is not None:
        codes = given.expand(len(searches), -1)
        for row in open_rows:
            searches[row].codes, searches[row].reference_ids = codes[row, None], [_given_id(given_ids, row)]
    elif config.reference == "optimise" and open_rows:
        rows = torch.tensor(open_rows)
        aims = renderer.probabilities.topk(2).indices[:, 1] if goal.targets is None else goal.targets
        begins = renderer.class_codes[rows].clone()
        for place, row in enumerate(open_rows):
            near = manifold.references(begins[place], int(aims[row]), "prototype", 1).codes
            begins[place] = near[0] if len(near) else begins[place]
        codes = optimise_codes(
            renderer,
            rows,
            aims[rows],
            manifold.std,
            steps=config.optimise_steps,
            distance_weight=config.optimise_distance,
            ids=[searches[row].id for row in open_rows],
            seed=seed,
            begins=begins,
        )
        for row, code in zip(open_rows, codes, strict=True):
            searches[row].codes, searches[row].reference_ids = code[None], ["optimised"]
    else:
        for row in open_rows:
            target = None if goal.targets is None else int(goal.targets[row])
            chosen = _from_manifold(manifold, renderer.class_codes[row], int(goal.sources[row]), target, config)
            searches[row].codes, searches[row].reference_ids = chosen


def _given_id(ids: Sequence[str] | None, row: int) -> str:
    if not ids:
        return "given"
    return ids[row] if len(ids) > 1 else ids[0]


def _from_manifold(
    manifold: ClassManifold, code: Tensor, source: int, target: int | None, config: CounterfactualConfig
) -> tuple[Tensor, list[str]]:
    """Codes of the target class, or those of all other classes together, the nearest first."""
    method, count = ("diverse", config.average) if config.average > 1 else (config.reference, config.references)
    goals = [target] if target is not None else [k for k in range(len(manifold.classes)) if k != source]
    codes, names = [], []
    for k in goals:
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


def walk_to_references(
    searches: list[ReferenceSearch],
    renderer: CandidateDecoder,
    goal: TargetCriterion,
    manifold: ClassManifold,
    config: CounterfactualConfig,
) -> None:
    """Walk to the first reference of every image, then to the second of those that need one, and so on."""
    turns = max((len(search.codes) for search in searches), default=0)
    for turn in range(turns):
        wanting = [row for row, search in enumerate(searches) if search.wants(turn, config.average > 1)]
        if not wanting:
            return
        rows = torch.tensor(wanting)
        ends = torch.stack([searches[row].codes[turn] for row in rows.tolist()])
        paths = manifold.polylines(renderer.class_codes[rows], ends, config.path)
        walks = walk(renderer, goal, rows, paths, config.steps)
        hits = [number for number, walked in enumerate(walks) if walked.first is not None]
        chosen = torch.tensor(hits, dtype=torch.int64)
        found = [walks[number] for number in hits]
        crossings: dict[int, BoundaryPoint] = {}
        if hits:
            exact = bisect(renderer, goal, rows[chosen], paths[chosen], found, config.bisections)
            crossings = dict(zip(hits, exact, strict=True))
        for number, (row, walked) in enumerate(zip(rows.tolist(), walks, strict=True)):
            crossing = crossings.get(number)
            # the start of the path is the original (residual) or the reconstruction (decoded)
            difference = None if crossing is None else crossing.image - walked.images[0]
            searches[row].record(turn, walked, crossing, difference)
