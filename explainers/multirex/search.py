"""The search for several explanations of one image: scan, peel, extend, polish, verify."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from explainers.multirex.candidates import Candidate
from explainers.multirex.extension import Extension
from explainers.multirex.partition import grid_centres
from explainers.multirex.prefixes import prefix
from explainers.multirex.reduction import peel, polish, reduce_chosen
from explainers.multirex.responsibility_trees import responsibility_map
from explainers.multirex.scored_masks import ScoringContext
from explainers.multirex.search_state import SearchState
from explainers.multirex.search_steps import BudgetSpent, SearchSteps, score_mask, until_spent


@dataclass(frozen=True, eq=False)
class SearchResult:
    """What a search found.

    Attributes:
        status: how it ended; see ``explainers.multirex.extras``.
        attribution: the map ``(H, W)``.
        map: what the map shows, ``evidence`` or ``responsibility``.
        chosen: the explanations, smallest first.
        candidates: all sufficient masks, the chosen ones among them.
        exact: whether no larger compatible set of the candidates exists.
        ran_out: whether the budget ended with fewer explanations than are enough.
    """

    status: str
    attribution: Tensor
    map: str
    chosen: Sequence[Candidate] = ()
    candidates: Sequence[Candidate] = ()
    exact: bool = True
    ran_out: bool = False


@dataclass(eq=False)
class ExplanationSearch:
    """Searches one image; what asks the classifier are ``SearchSteps``."""

    state: SearchState

    @property
    def context(self) -> ScoringContext:
        """What was scored so far."""
        return self.state.context

    @property
    def side(self) -> int:
        """Side of the tiles in pixels for further certificates."""
        return self.state.side

    def run(self) -> SearchSteps[SearchResult]:
        """Search; where the budget ends with fewer explanations than are enough, again with all that may be spent.

        What the second search asks again is known and costs nothing.
        """
        result = yield from self._search()
        if self._is_short(result) and self.context.budget.extend():
            first, self.state = result, SearchState(self.context, self.state.settings)
            result = yield from self._search()
            result = result if len(result.chosen) >= len(first.chosen) else first
        return replace(result, ran_out=self._is_short(result))

    def _is_short(self, result: SearchResult) -> bool:
        few = result.status in ("ok", "budget") and len(result.chosen) < self.state.settings.enough
        return few and self.context.budget.refused

    def _search(self) -> SearchSteps[SearchResult]:
        """All stages; ends early, with what it has, when the budget is spent."""
        state = self.state
        try:
            empty = yield from score_mask(torch.zeros(self.context.shape, dtype=torch.bool))
            if empty.sufficient:
                return SearchResult("background_sufficient", self.context.masks.evidence(), "evidence")
            yield from self._find()
        except BudgetSpent:
            pass
        state.enter("polish")
        yield from until_spent(reduce_chosen(state))
        yield from until_spent(polish(state))
        chosen = yield from self._verified()
        status, chosen = self._status(chosen)
        kind = "evidence" if state.ranking is None else "responsibility"
        return SearchResult(status, state.order(), kind, chosen, state.pool.candidates, state.pool.exact)

    def _find(self) -> SearchSteps[None]:
        """Candidates from the scan and from the ranking, and what can be found beside them."""
        state, shape = self.state, self.context.shape
        if state.settings.trees is not None and self.context.full.sufficient:
            state.enter("trees")
            state.ranking = yield from responsibility_map(shape, state.settings.trees)
        state.enter("scan")
        candidates = yield from state.scan().run(grid_centres(shape, state.settings.stride))
        whole = yield from prefix(state.order(), torch.ones(shape, dtype=torch.bool))
        state.enter("peel")
        yield from peel(state, candidates + ([whole] if whole else []))
        state.enter("extend")
        yield from Extension(state).run()

    def _verified(self) -> SearchSteps[list[Candidate]]:
        """Score every chosen mask once more, alone; those that fail then are no explanations."""
        self.state.enter("verify")
        self.context.budget.open_reserve()
        kept: list[Candidate] = []
        for candidate in self.state.pool.chosen:
            try:
                score = yield from score_mask(candidate.mask, alone=True)
            except BudgetSpent:
                break
            if score.sufficient:
                candidate.score = score
                kept.append(candidate)
        return kept

    def _status(self, verified: list[Candidate]) -> tuple[str, list[Candidate]]:
        """How the search ended, and the explanations: the whole image where nothing less was found in time."""
        full = self.context.full
        if verified:
            return "ok" if all(candidate.certified for candidate in verified) else "budget", verified
        if full.sufficient:
            # the image itself was scored before the search; it is the one explanation that costs nothing
            return "budget", [Candidate(torch.ones(self.context.shape, dtype=torch.bool), full)]
        return "target_not_top1" if full.top != self.context.criterion.target else "none_found", []
