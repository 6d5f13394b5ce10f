"""Looking for more explanations than the scan gave: in what is unused, between those found, and in their place."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch

from explainers.multirex.candidates import Candidate, without
from explainers.multirex.coarse_pairs import UNIONS, coarse_pair
from explainers.multirex.partition import grid_centres, splits
from explainers.multirex.prefixes import prefix
from explainers.multirex.reduction import peel, reduce_chosen, take
from explainers.multirex.scored_masks import mask_key
from explainers.multirex.search_state import FEW, SearchState
from explainers.multirex.search_steps import SearchSteps, score_mask, score_masks


@dataclass(eq=False)
class Extension:
    """Goes on as long as something is found: by ranking, between discs, by parting, halves, exchange and coarse cells.

    Attributes:
        state: of the search.
        exchanged: keys of the explanations that another was already looked for in place of.
        combined: whether the unions of the cells of a coarse grid have been tried.
    """

    state: SearchState
    exchanged: set[bytes] = field(default_factory=set)
    combined: bool = False

    def run(self) -> SearchSteps[None]:
        """Try each way in turn, until none of them finds anything."""
        state = self.state
        between = grid_centres(state.context.shape, state.settings.stride, 0.5)
        while not state.has_enough():
            yield from reduce_chosen(state)
            if (yield from self._from_ranking()):
                continue
            if between:
                candidates = yield from state.scan().run(between)
                between = []
                before = int(state.used.sum())
                yield from peel(state, candidates)
                if int(state.used.sum()) > before:
                    continue
            chosen = len(state.pool.chosen)
            yield from self._part()
            if len(state.pool.chosen) < FEW:
                yield from self._split()
            if state.has_enough() or len(state.pool.chosen) > chosen:
                continue
            if not (yield from self._exchange()) and not (yield from self._combine()):
                return

    def _from_ranking(self) -> SearchSteps[bool]:
        """Take a short sufficient prefix of the unused pixels; whether there is one."""
        candidate = yield from prefix(self.state.order(), ~self.state.used)
        if candidate is None:
            return False
        yield from take(self.state, candidate)
        return True

    def _exchange(self) -> SearchSteps[bool]:
        """Put another explanation in the place of a chosen one, if that leaves room for one more."""
        state = self.state
        before = len(state.pool.chosen)
        for old in sorted(state.pool.chosen, key=Candidate.order, reverse=True):
            key = mask_key(old.mask)
            if key in self.exchanged:
                continue
            self.exchanged.add(key)
            state.use_only([one for one in state.pool.chosen if one is not old])
            # the old one's pixels come last, so that as few of them as possible are used again
            candidate = yield from prefix(state.order() - 2 * old.mask, ~state.used)
            if candidate is not None and not torch.equal(candidate.mask, old.mask):
                yield from take(state, candidate)
                yield from self._from_ranking()
            state.choose()
            state.use_only(state.pool.chosen)
            if len(state.pool.chosen) > before:
                return True
        return False

    def _part(self) -> SearchSteps[None]:
        """Part overlapping candidates: what one has beyond the chosen ones may suffice too."""
        free = ~self.state.union(self.state.pool.chosen)
        for other in without(self.state.pool.candidates, self.state.pool.chosen):
            rest = other.mask & free
            if 4 * int(rest.sum()) < other.pixels:
                continue
            score = yield from score_mask(rest)
            if score.sufficient:
                yield from take(self.state, Candidate(rest, score))
                return

    def _split(self) -> SearchSteps[None]:
        """Cut the whole image in two in several ways; where both parts suffice, each holds an explanation."""
        parts = splits(self.state.context.shape)
        scores = yield from score_masks([mask for part in parts for mask in (part, ~part)])
        halves = [(part, one, two) for part, one, two in zip(parts, scores[::2], scores[1::2], strict=True)]
        both = [half for half in halves if half[1].sufficient and half[2].sufficient]
        for part, one, two in sorted(both, key=lambda half: -min(half[1].log_odds, half[2].log_odds))[:1]:
            for mask, score in ((part, one), (~part, two)):
                yield from take(self.state, Candidate(mask, score))

    def _combine(self) -> SearchSteps[bool]:
        """Try all unions of coarse cells, once, where there are few explanations; whether that gave more.

        Only where they cost at most half of what is left: otherwise nothing would be left to make them minimal.
        """
        state = self.state
        before = len(state.pool.chosen)
        if self.combined or before >= FEW or not state.context.budget.affords(2 * UNIONS):
            return False
        self.combined = True
        for candidate in (yield from coarse_pair(state.context.shape)):
            yield from take(state, candidate)
        state.choose()
        return len(state.pool.chosen) > before
