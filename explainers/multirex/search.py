"""The search for several explanations of one image: scan, peel, extend, repair, separate, polish, verify."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

import torch
from torch import Tensor

from explainers.infills.blur import gaussian_blur
from explainers.multirex.disjoint_sets import Separation, separate, without_supersets
from explainers.multirex.evaluation_budget import EvaluationBudget, mask_key
from explainers.multirex.extraction import Candidate, certify, minimise, prefix, tiles_of
from explainers.multirex.partition import disc, grid_centres, splits, tile_numbers
from explainers.multirex.responsibility_trees import TreeSettings, responsibility_map
from explainers.multirex.sufficiency import BudgetSpent, MaskScore, Request, Search, ask

PAIRED = 8  # best failing discs that are tried two at a time
MOST_CANDIDATES = 48
MOST_TILES, SWEEP = 40, 12  # a candidate is begun if 3/2 evaluations a tile, up to so many, and so many more are left
FEW = 2  # explanations below which the whole image is cut in two


@dataclass(frozen=True)
class SearchSettings:
    """Lengths in pixels of the image at hand; see ``MultiReX`` for the meaning."""

    radii: tuple[float, ...]
    stride: float
    tiles: tuple[int, ...]
    overlap: float
    most: int
    trees: TreeSettings | None


@dataclass(eq=False)
class SearchResult:
    """What a search found: candidates, the chosen ones' places, the map, and how it ended."""

    pool: list[Candidate] = field(default_factory=list)
    chosen: list[Candidate] = field(default_factory=list)
    separation: Separation = field(default_factory=lambda: Separation((), True))
    attribution: Tensor | None = None
    status: str = "none_found"
    empty: MaskScore | None = None


class ExplanationSearch:
    """Searches one image; every method that asks the classifier is a ``Search``."""

    def __init__(self, full: MaskScore, ledger: EvaluationBudget, shape: tuple[int, int], settings: SearchSettings):
        self.full, self.ledger, self.shape, self.settings = full, ledger, shape, settings
        self.least = ledger.criterion.least
        self.side = settings.tiles[0]  # of the tiles in pixels that are left out first
        self.catch = SearchResult()
        self.used = torch.zeros(shape, dtype=torch.bool)
        self.ranking: Tensor | None = None
        self.exchanged: set[bytes] = set()
        self.separated: tuple[tuple[int, bool], ...] = ()
        self.tried: set[Candidate] = set()

    def run(self) -> Search[SearchResult]:
        """All stages; ends early, with what it has, when the budget is spent."""
        catch = self.catch
        try:
            catch.empty = (yield from ask([torch.zeros(self.shape, dtype=torch.bool)]))[0]
            if catch.empty.sufficient:
                catch.status = "background_sufficient"
                catch.attribution = self.ledger.evidence()
                return catch
            yield from self._find()
        except BudgetSpent:
            pass
        self._enter("polish")
        yield from self._attempt(self._settle())
        yield from self._attempt(self._polish())
        yield from self._verify()
        catch.attribution = self.ranking if self.ranking is not None else self.evidence()
        return catch

    def evidence(self) -> Tensor:
        """The evidence map, smoothed by a Gaussian of a quarter of the stride, which removes most ties."""
        return smoothed(self.ledger.evidence(), self.settings.stride / 4)

    def _find(self) -> Search[None]:
        if self.settings.trees is not None and self.full.sufficient:
            self._enter("trees")
            self.ranking = yield from responsibility_map(self.shape, self.settings.trees)
        self._enter("scan")
        candidates = yield from self._scan(grid_centres(self.shape, self.settings.stride))
        whole = yield from prefix(self._order(), torch.ones(self.shape, dtype=torch.bool))
        self._enter("peel")
        yield from self._peel(candidates + ([whole] if whole else []))
        self._enter("extend")
        yield from self._extend()

    def _enter(self, stage: str) -> None:
        self.ledger.stage = stage

    def _order(self) -> Tensor:
        return self.evidence() if self.ranking is None else self.ranking

    def _attempt(self, part: Search[None]) -> Search[None]:
        try:
            yield from part
        except BudgetSpent:
            return

    def _scan(self, centres: Sequence[tuple[float, float]]) -> Search[list[Candidate]]:
        """Discs around centres: the smallest radius that passes, larger ones where the middle one fails."""
        free = ~self.used
        centres = [centre for centre in centres if free[_pixel(centre, self.shape)]]
        radii = self.settings.radii
        middle = len(radii) // 2
        discs = self._discs(centres, radii[middle])
        verdicts = yield from self._judged(discs)
        found = {c: Candidate(discs[c], v) for c, v in verdicts.items() if v.sufficient}
        failing = {c: v for c, v in verdicts.items() if not v.sufficient}
        yield from self._tighten(found, list(reversed(radii[:middle])))
        for radius in radii[middle + 1 :]:
            best = sorted(failing, key=lambda c: (-failing[c].log_odds, c))[: (len(failing) + 1) // 2]
            discs = self._discs(best, radius)
            verdicts = yield from self._judged(discs)
            found |= {c: Candidate(discs[c], v) for c, v in verdicts.items() if v.sufficient}
            failing = {c: v for c, v in verdicts.items() if not v.sufficient}
        if len(found) < FEW and failing:
            yield from self._pair(found, failing)
        return list(found.values())

    def _discs(self, centres: Sequence[tuple[float, float]], radius: float) -> dict[tuple[float, float], Tensor]:
        return {centre: disc(self.shape, centre, radius) & ~self.used for centre in centres}

    def _judged(self, masks: dict[Any, Tensor]) -> Search[dict[Any, MaskScore]]:
        shown = {key: mask for key, mask in masks.items() if bool(mask.any())}
        verdicts = (yield from ask(list(shown.values()))) if shown else []
        return dict(zip(shown, verdicts, strict=True))

    def _tighten(self, found: dict[tuple[float, float], Candidate], radii: Sequence[float]) -> Search[None]:
        passing = list(found)
        for radius in radii:
            discs = self._discs(passing, radius)
            verdicts = yield from self._judged(discs)
            passing = [centre for centre, verdict in verdicts.items() if verdict.sufficient]
            for centre in passing:
                found[centre] = Candidate(discs[centre], verdicts[centre])

    def _pair(self, found: dict, failing: dict) -> Search[None]:
        best = sorted(failing, key=lambda c: (-failing[c].log_odds, c))[:PAIRED]
        discs = self._discs(best, self.settings.radii[len(self.settings.radii) // 2])
        unions = {pair: discs[pair[0]] | discs[pair[1]] for pair in combinations(best, 2)}
        verdicts = yield from self._judged(unions)
        found |= {pair: Candidate(unions[pair], v) for pair, v in verdicts.items() if v.sufficient}

    def _peel(self, candidates: Sequence[Candidate]) -> Search[None]:
        """Take candidates one after the other, each without the pixels of those before."""
        for candidate in sorted(candidates, key=Candidate.order):
            if self._full_house():
                return
            rest = candidate.mask & ~self.used
            if 2 * int(rest.sum()) < candidate.pixels or not bool(rest.any()):
                self._keep(candidate)
                continue
            if int(rest.sum()) != candidate.pixels:
                verdict = (yield from ask([rest]))[0]
                if not verdict.sufficient:
                    self._keep(candidate)
                    continue
                candidate = Candidate(rest, verdict)
            yield from self._take(candidate)

    def _keep(self, candidate: Candidate) -> None:
        """Remember a candidate that overlaps with others; ``repair`` may part them."""
        if len(self.catch.pool) < MOST_CANDIDATES:
            self.catch.pool.append(candidate)

    def _take(self, candidate: Candidate) -> Search[None]:
        """Minimise a candidate, and count its pixels as used."""
        if len(self.catch.chosen) >= FEW and not self._promising(candidate):
            raise BudgetSpent  # what is left serves the explanations that are there
        self.catch.pool.append(candidate)
        yield from self._reduce(candidate)

    def _reduce(self, candidate: Candidate) -> Search[None]:
        """Make a candidate minimal for single tiles, for larger ones where the budget does not suffice."""
        self.tried.add(candidate)
        try:
            for side in (self.side, 2 * self.side, 4 * self.side):
                if (yield from minimise(candidate, side, self.least, self._order(), self.ledger.affords)):
                    break
            if min(candidate.certificate.levels, default=0) > self.side:
                yield from self._refine(candidate, self.side)  # what is left of it may be affordable now
        finally:
            self.used |= candidate.mask

    def _promising(self, candidate: Candidate) -> bool:
        """Whether enough evaluations are left to make a candidate minimal, as far as can be told."""
        tiles = len(tiles_of(candidate.mask, tile_numbers(self.shape, self.side)))
        return self.ledger.affords(3 * min(tiles, MOST_TILES) // 2 + SWEEP)

    def _settle(self) -> Search[None]:
        """Minimise those of the largest compatible set that nothing was tried on yet."""
        while True:
            best = self._best([c for c in self.catch.pool if c.certificate.levels or c not in self.tried])
            waiting = [self.catch.pool[place] for place in best.chosen if self.catch.pool[place] not in self.tried]
            if not waiting:
                self._separate()
                return
            yield from self._reduce(waiting[0])

    def _full_house(self) -> bool:
        self._separate()
        return len(self.catch.chosen) >= self.settings.most

    def _extend(self) -> Search[None]:
        """Look among the unused pixels as long as something is found: by ranking, between the discs, by halves."""
        shifted = grid_centres(self.shape, self.settings.stride, 0.5)
        while not self._full_house():
            yield from self._settle()
            if (yield from self._from_ranking()):
                continue
            if shifted:
                centres, shifted = shifted, []
                candidates = yield from self._scan(centres)
                before = int(self.used.sum())
                yield from self._peel(candidates)
                if int(self.used.sum()) > before:
                    continue
            before = len(self.catch.chosen)
            yield from self._repair()
            if len(self.catch.chosen) < FEW:
                yield from self._split()
            if self._full_house() or len(self.catch.chosen) > before:
                continue
            if not (yield from self._exchange()):
                return

    def _from_ranking(self) -> Search[bool]:
        candidate = yield from prefix(self._order(), ~self.used)
        if candidate is None:
            return False
        yield from self._take(candidate)
        return True

    def _exchange(self) -> Search[bool]:
        """Put another explanation in the place of a chosen one, if that leaves room for one more."""
        before = len(self.catch.chosen)
        for old in sorted(self.catch.chosen, key=Candidate.order, reverse=True):
            key = mask_key(old.mask)
            if key in self.exchanged:
                continue
            self.exchanged.add(key)
            self.used = _union([one.mask for one in self.catch.chosen if one is not old], self.shape)
            # the old one's pixels come last, so that as few of them as possible are used again
            candidate = yield from prefix(self._order() - 2 * old.mask, ~self.used)
            if candidate is not None and not torch.equal(candidate.mask, old.mask):
                yield from self._take(candidate)
                yield from self._from_ranking()
            self._separate()
            self.used = _union([one.mask for one in self.catch.chosen], self.shape)
            if len(self.catch.chosen) > before:
                return True
        return False

    def _repair(self) -> Search[None]:
        """Part overlapping candidates: what one has beyond the other may suffice too."""
        chosen = list(self.catch.chosen)
        others = [c for c in self.catch.pool if all(c is not one for one in chosen)]
        for other in sorted(others, key=Candidate.order):
            rest = other.mask & ~_union([c.mask for c in chosen], self.shape)
            if 4 * int(rest.sum()) < other.pixels:
                continue
            verdict = (yield from ask([rest]))[0]
            if verdict.sufficient:
                yield from self._take(Candidate(rest, verdict))
                return

    def _split(self) -> Search[None]:
        """Cut the whole image in two in several ways; where both parts suffice, each holds an explanation."""
        parts = splits(self.shape)
        verdicts = yield from ask([mask for part in parts for mask in (part, ~part)])
        pairs = [(part, one, two) for part, one, two in zip(parts, verdicts[::2], verdicts[1::2], strict=True)]
        both = [pair for pair in pairs if pair[1].sufficient and pair[2].sufficient]
        for part, one, two in sorted(both, key=lambda p: -min(p[1].log_odds, p[2].log_odds))[:1]:
            for mask, verdict in ((part, one), (~part, two)):
                yield from self._take(Candidate(mask, verdict))

    def _separate(self) -> None:
        """Choose the largest compatible set of the certified candidates; as long as there is none, the smallest one."""
        pool = self.catch.pool
        state = tuple((candidate.pixels, bool(candidate.certificate.levels)) for candidate in pool)
        if not pool or state == self.separated:
            return
        self.separated = state
        certified = [candidate for candidate in pool if candidate.certificate.levels]
        self.catch.separation = self._best(certified or pool)
        self.catch.chosen = [pool[place] for place in self.catch.separation.chosen]
        if not certified:
            self.catch.chosen = self.catch.chosen[:1]
        self.ledger.hold(2 * (len(self.catch.chosen) + 1))

    def _best(self, candidates: Sequence[Candidate]) -> Separation:
        """The largest compatible set of some candidates, as places in the pool, smallest masks first."""
        pool = self.catch.pool
        places = [place for place, candidate in enumerate(pool) if any(candidate is one for one in candidates)]
        masks = torch.stack([pool[place].mask for place in places]) if places else torch.zeros((0, *self.shape))
        if self.settings.overlap == 0 and places:
            keep = without_supersets(masks)
            masks, places = masks[keep], [place for place, kept in zip(places, keep.tolist(), strict=True) if kept]
        confidences = [pool[place].verdict.probability for place in places]
        separation = separate(masks, confidences, self.settings.overlap)
        chosen = sorted((places[i] for i in separation.chosen), key=lambda place: pool[place].order())
        return Separation(tuple(chosen[: self.settings.most]), separation.exact)

    def _polish(self) -> Search[None]:
        """Go down to finer tiles, the smallest masks first."""
        for side in self.settings.tiles:
            for candidate in sorted(self.catch.chosen, key=Candidate.order):
                tests = len(tiles_of(candidate.mask, tile_numbers(self.shape, side)))
                if min(candidate.certificate.levels, default=0) > side and self.ledger.affords(tests):
                    yield from self._refine(candidate, side)

    def _refine(self, candidate: Candidate, side: int) -> Search[None]:
        """Go down one level; an attempt that ends without a certificate leaves the candidate as it was."""
        finer = Candidate(candidate.mask, candidate.verdict)
        if not (yield from minimise(finer, side, self.least, self._order(), self.ledger.affords)):
            return
        if int(finer.mask.sum()) == candidate.pixels:
            candidate.certificate = candidate.certificate.joined(finer.certificate)
            return
        candidate.mask, candidate.verdict, levels = finer.mask, finer.verdict, candidate.certificate.levels
        candidate.certificate = finer.certificate
        for level in (level for level in levels if level <= self.side):
            yield from certify(candidate, level, self.least)

    def _verify(self) -> Search[None]:
        """Judge every chosen mask once more, alone; those that fail then are no explanations."""
        catch = self.catch
        self._enter("verify")
        self.ledger.open_reserve()
        kept = []
        for candidate in catch.chosen:
            try:
                verdict = (yield Request(candidate.mask[None], alone=True))[0]
            except BudgetSpent:
                break
            if verdict.sufficient:
                candidate.verdict = verdict
                kept.append(candidate)
        catch.chosen = kept
        if kept:
            catch.status = "ok" if all(candidate.certificate.levels for candidate in kept) else "budget"
        elif self.full.sufficient:
            # the image itself was judged before the search; it is the one explanation that costs nothing
            catch.chosen = [Candidate(torch.ones(self.shape, dtype=torch.bool), self.full)]
            catch.status = "budget"
        else:
            catch.status = "target_not_top1" if self.full.top != self.ledger.criterion.target else "none_found"


def _pixel(centre: tuple[float, float], shape: tuple[int, int]) -> tuple[int, int]:
    row, column = (min(max(round(place), 0), side - 1) for place, side in zip(centre, shape, strict=True))
    return row, column


def _union(masks: Sequence[Tensor], shape: tuple[int, int]) -> Tensor:
    return torch.stack(list(masks)).any(0) if masks else torch.zeros(shape, dtype=torch.bool)


def smoothed(values: Tensor, deviation: float) -> Tensor:
    """A map ``(H, W)`` under a Gaussian of ``deviation`` pixels; the border counts as its nearest pixel."""
    return gaussian_blur(values, max(deviation, 1e-3), max(1, int(3 * deviation)))
