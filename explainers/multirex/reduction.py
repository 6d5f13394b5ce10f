"""Taking candidates: each without the pixels of those before, and made minimal as far as the budget goes."""

from __future__ import annotations

from collections.abc import Sequence

from explainers.multirex.candidates import Candidate
from explainers.multirex.minimisation import certify, minimise, tiles_of
from explainers.multirex.partition import tile_numbers
from explainers.multirex.search_state import FEW, SearchState
from explainers.multirex.search_steps import BudgetSpent, SearchSteps, score_mask

MOST_CANDIDATES = 48
MOST_TILES, SWEEP = 40, 12  # a candidate is begun if 3/2 evaluations a tile, up to so many, and so many more are left


def peel(state: SearchState, candidates: Sequence[Candidate]) -> SearchSteps[None]:
    """Take candidates one after the other, each without the pixels of those before."""
    for candidate in sorted(candidates, key=Candidate.order):
        if state.has_enough():
            return
        rest = candidate.mask & ~state.used
        left = int(rest.sum())
        if left == 0 or 2 * left < candidate.pixels:
            _keep(state, candidate)
            continue
        if left != candidate.pixels:
            score = yield from score_mask(rest)
            if not score.sufficient:
                _keep(state, candidate)
                continue
            candidate = Candidate(rest, score)
        yield from take(state, candidate)


def _keep(state: SearchState, candidate: Candidate) -> None:
    """Remember a candidate that overlaps with others; they may be parted later."""
    if len(state.pool.candidates) < MOST_CANDIDATES:
        state.pool.candidates.append(candidate)


def take(state: SearchState, candidate: Candidate) -> SearchSteps[None]:
    """Minimise a candidate, and set its pixels aside."""
    if len(state.pool.chosen) >= FEW and not _promising(state, candidate):
        raise BudgetSpent  # what is left serves the explanations that are there
    state.pool.candidates.append(candidate)
    yield from _reduce(state, candidate)


def _promising(state: SearchState, candidate: Candidate) -> bool:
    """Whether enough evaluations are left to make a candidate minimal, as far as can be told."""
    return state.context.budget.affords(3 * min(_tile_count(state, candidate, state.side), MOST_TILES) // 2 + SWEEP)


def _tile_count(state: SearchState, candidate: Candidate, side: int) -> int:
    return len(tiles_of(candidate.mask, tile_numbers(state.context.shape, side)))


def _reduce(state: SearchState, candidate: Candidate) -> SearchSteps[None]:
    """Make a candidate minimal for single tiles, for larger ones where the budget does not suffice."""
    state.begun.add(candidate)
    try:
        for side in (state.side, 2 * state.side, 4 * state.side):
            if (yield from minimise(candidate, side, state.least, state.order(), state.context.budget.affords)):
                break
        if min(candidate.certificate.levels, default=0) > state.side:
            yield from _refine(state, candidate, state.side)  # what is left of it may be affordable now
    finally:
        state.used |= candidate.mask


def reduce_chosen(state: SearchState) -> SearchSteps[None]:
    """Minimise those of the largest compatible set that nothing was tried on yet."""
    while True:
        best, _ = state.pool.compatible([c for c in state.pool.candidates if c.certified or c not in state.begun])
        waiting = [candidate for candidate in best if candidate not in state.begun]
        if not waiting:
            state.choose()
            return
        yield from _reduce(state, waiting[0])


def polish(state: SearchState) -> SearchSteps[None]:
    """Go down to finer tiles, the smallest masks first."""
    for side in state.settings.tiles:
        for candidate in sorted(state.pool.chosen, key=Candidate.order):
            tests = _tile_count(state, candidate, side)
            if min(candidate.certificate.levels, default=0) > side and state.context.budget.affords(tests):
                yield from _refine(state, candidate, side)


def _refine(state: SearchState, candidate: Candidate, side: int) -> SearchSteps[None]:
    """Go down one level; an attempt that ends without a certificate leaves the candidate as it was."""
    finer = Candidate(candidate.mask, candidate.score)
    if not (yield from minimise(finer, side, state.least, state.order(), state.context.budget.affords)):
        return
    if finer.pixels == candidate.pixels:
        candidate.certificate = candidate.certificate.joined(finer.certificate)
        return
    candidate.mask, candidate.score, levels = finer.mask, finer.score, candidate.certificate.levels
    candidate.certificate = finer.certificate
    for level in (level for level in levels if level <= state.side):
        yield from certify(candidate, level, state.least)
