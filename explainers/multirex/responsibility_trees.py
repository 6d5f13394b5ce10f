"""Responsibility maps from trees of random cuts, grown in lock-step so that one request serves them all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn import functional as F

from cae.metrics.statistics import spearman
from explainers.multirex.partition import Box, boxes_mask, cut
from explainers.multirex.responsibility import merged, responsibility_of_parts, shares_of_parts
from explainers.multirex.search_steps import BudgetSpent, SearchSteps, score_masks

WAVE = 4  # trees grown together, whatever the batch size
MOST_BOXES = 32  # in a job
SETTLED = 0.98  # rank correlation of the pooled maps before and after a wave
POOLED = 28


@dataclass(frozen=True)
class TreeSettings:
    """How trees are grown: their number, depth, smallest box that is cut (pixels), rule, merge, and seed."""

    trees: int
    depth: int
    smallest: int
    rule: str
    merge: str
    seed: int


@dataclass(eq=False)
class Tree:
    """One tree: boxes whose union is sufficient, the map so far, levels without progress."""

    number: int
    boxes: list[Box]
    map: Tensor
    idle: int = 0
    done: bool = False
    reductions: list[tuple[Box, list[Box]]] = field(default_factory=list)


def responsibility_map(shape: tuple[int, int], settings: TreeSettings) -> SearchSteps[Tensor | None]:
    """The responsibility of every pixel ``(H, W)``, for an image that is sufficient as a whole; None without a tree.

    Reference: Chockler, Kelly and Kroening 2023, arXiv:2309.14309; Chockler, Kroening and Sun 2021, arXiv:2103.03622.
    Deviations: a job keeps all its boxes (a combination of parts is never torn apart), exact responsibility from the
    table of all 16 subsets, and an end as soon as further trees do not change the ranking.
    """
    grown: list[Tree] = []
    whole = Box(0, shape[0], 0, shape[1])
    try:
        while len(grown) < settings.trees:
            before = merged([tree.map for tree in grown], settings.merge) if grown else None
            count = min(WAVE, settings.trees - len(grown))
            wave = [Tree(len(grown) + i, [whole], torch.zeros(shape, dtype=torch.float64)) for i in range(count)]
            grown += wave
            yield from _grow(shape, wave, settings)
            after = merged([tree.map for tree in grown], settings.merge)
            if before is not None and _settled(before, after):
                break
    except BudgetSpent:
        pass  # what was grown is a map all the same
    maps = [tree.map for tree in grown if float(tree.map.max()) > 0]
    return merged(maps, settings.merge) if maps else None


def _settled(before: Tensor, after: Tensor) -> bool:
    """Whether the latest trees left the ranking of a map ``(H, W)`` as it was; two maps without any ranking agree."""
    side = min(POOLED, *before.shape)
    one, other = (F.adaptive_avg_pool2d(values[None, None], side).flatten() for values in (before, after))
    if all(bool((values == values[0]).all()) for values in (one, other)):
        return True
    return float(spearman(one, other)) >= SETTLED


def _grow(shape: tuple[int, int], wave: Sequence[Tree], settings: TreeSettings) -> SearchSteps[None]:
    for _ in range(settings.depth):
        active = [tree for tree in wave if not tree.done]
        if not active:
            return
        yield from _score_parts(shape, active, settings)
        yield from _reduce_jointly(shape, active)


def _score_parts(shape: tuple[int, int], active: Sequence[Tree], settings: TreeSettings) -> SearchSteps[None]:
    """Try all subsets of the parts of every box of every tree, in the context of the tree's other boxes."""
    tasks = []
    for tree in active:
        tree.reductions = []
        for box in tree.boxes:
            if box.area >= max(settings.smallest, 2):
                tasks.append((tree, box, cut(box, settings.seed, tree.number)))
        tree.done = all(task[0] is not tree for task in tasks)
    masks = []
    for tree, box, parts in tasks:
        context = [other for other in tree.boxes if other is not box]
        masks += [boxes_mask(shape, context + _subset(parts, shown)) for shown in range(2 ** len(parts) - 1)]
    if not masks:
        return
    scores = yield from score_masks(masks)
    rule = responsibility_of_parts if settings.rule == "witness" else shares_of_parts
    place = 0
    for tree, box, parts in tasks:
        count = 2 ** len(parts) - 1
        table = [score.sufficient for score in scores[place : place + count]] + [True]
        place += count
        for part, value in zip(parts, rule(table), strict=True):
            tree.map[part.top : part.bottom, part.left : part.right] += value
        tree.reductions.append((box, _reduction(parts, table)))


def _subset(parts: Sequence[Box], shown: int) -> list[Box]:
    return [part for place, part in enumerate(parts) if shown >> place & 1]


def _reduction(parts: Sequence[Box], sufficient: Sequence[bool]) -> list[Box]:
    """The sufficient subset of least area; ties: fewer parts, then the first."""
    passing = [shown for shown, passes in enumerate(sufficient) if passes]
    best = min(passing, key=lambda s: (sum(part.area for part in _subset(parts, s)), s.bit_count(), s))
    return _subset(parts, best)


def _reduce_jointly(shape: tuple[int, int], active: Sequence[Tree]) -> SearchSteps[None]:
    """Apply as many reductions of a tree together as leaves it sufficient, the most saving first; the first always."""
    plans = []
    for tree in active:
        ordered = sorted(tree.reductions, key=lambda pair: sum(b.area for b in pair[1]) - pair[0].area)
        saving = [pair for pair in ordered if sum(b.area for b in pair[1]) < pair[0].area]
        plans.append((tree, ordered, saving))
    masks = [
        boxes_mask(shape, _applied(tree, saving[:count]))
        for tree, _, saving in plans
        for count in range(2, len(saving) + 1)
    ]
    scores = iter((yield from score_masks(masks)) if masks else [])
    for tree, ordered, saving in plans:
        longest = min(1, len(saving))
        for count in range(2, len(saving) + 1):
            longest = count if next(scores).sufficient else longest
        rest = [pair for pair in ordered if all(pair is not done for done in saving[:longest])]
        # parts of boxes that could not be reduced take their place, so that scattered evidence is refined too
        whole = [(box, parts) for box, parts in rest if sum(b.area for b in parts) == box.area]
        boxes = _applied(tree, [*saving[:longest], *whole])
        tree.idle = 0 if longest else tree.idle + 1
        tree.done = tree.done or tree.idle >= 2 or len(boxes) > MOST_BOXES
        tree.boxes = boxes


def _applied(tree: Tree, reductions: Sequence[tuple[Box, list[Box]]]) -> list[Box]:
    boxes = list(tree.boxes)
    for box, parts in reductions:
        place = next(i for i, other in enumerate(boxes) if other is box)
        boxes[place : place + 1] = parts
    return boxes
