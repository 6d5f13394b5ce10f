"""Budget, cache, evidence, candidates and scan of the search, each against what it promises."""

import itertools
import math

import pytest
import torch

from explainers.base import Instance
from explainers.multirex.candidates import Candidate, CandidatePool, Certificate
from explainers.multirex.disc_scan import DiscScan
from explainers.multirex.evaluation_budget import EvaluationBudget
from explainers.multirex.partition import disc, grid_centres
from explainers.multirex.scheduler import SearchTask, run_searches
from explainers.multirex.scored_masks import ScoredMasks, ScoringContext, mask_key
from explainers.multirex.search_steps import BudgetSpent, score_mask, score_masks
from explainers.multirex.sufficiency import MaskScore, SufficiencyCriterion, mask_scores, quorum_score

SIDE = 32


def score(probability: float) -> MaskScore:
    return MaskScore(probability, 1 - probability, 1, int(probability <= 0.5), probability > 0.5)


def candidate(rows: slice, columns: slice, probability: float = 0.9, certified: bool = True) -> Candidate:
    mask = torch.zeros(SIDE, SIDE, dtype=torch.bool)
    mask[rows, columns] = True
    return Candidate(mask, score(probability), Certificate((8,) if certified else ()))


def visible_share(images):
    """Class probabilities ``(N, 2)``; that of class 0 is the share of white pixels."""
    share = images.double().mean((1, 2, 3))
    return torch.stack([share, 1 - share], 1)


def task(steps, budget=100, guard=0.0, fills=1):
    image = torch.ones(1, SIDE, SIDE)
    instance = Instance(image, 0, torch.tensor([1.0, 0.0]), 0)
    context = ScoringContext.of(instance, 0.0, EvaluationBudget(budget, cost=fills))
    return SearchTask(image, torch.zeros(fills, 1, SIDE, SIDE), fills, guard, context, steps)


def test_probabilities_are_read_as_target_and_best_rival():
    found = mask_scores(torch.tensor([[0.2, 0.5, 0.3], [0.6, 0.1, 0.3]]), SufficiencyCriterion(0, 0.55))
    assert [(one.runner_up, one.top, one.sufficient) for one in found] == [(1, 1, False), (2, 0, True)]
    assert found[0].log_odds == pytest.approx(math.log(0.2 / 0.5), abs=1e-4)


@pytest.mark.parametrize("quorum", [1, 2, 3])
def test_quorum_holds_where_as_many_fills_suffice(quorum):
    for values in itertools.product([0.1, 0.9], repeat=3):
        found = quorum_score([score(value) for value in values], quorum)
        assert found.sufficient == (sum(value > 0.5 for value in values) >= quorum)


def test_budget_keeps_back_no_more_than_its_reserve():
    budget = EvaluationBudget(limit=10, reserve=4, cost=2)
    assert budget.left() == 6
    assert budget.affords(3)
    assert not budget.affords(4)
    budget.hold(1)
    assert budget.left() == 8
    budget.hold(9)
    assert budget.left() == 6
    budget.charge(6)
    assert budget.left() == 0
    budget.open_reserve()
    assert budget.left() == 4
    assert budget.by_stage == {"scan": 6}


def test_evidence_is_the_mean_support_of_the_masks_weighted_by_one_over_their_size():
    generator = torch.Generator().manual_seed(0)
    masks = torch.rand(6, 4, 4, generator=generator) < 0.4
    values = torch.rand(6, generator=generator).tolist()
    scored = ScoredMasks((4, 4))
    for mask, value in zip(masks[:3], values[:3], strict=True):
        scored.record(mask_key(mask), mask, int(mask.sum()), score(value))
    scored.evidence()  # may be asked for at any time
    for mask, value in zip(masks[3:], values[3:], strict=True):
        scored.record(mask_key(mask), mask, int(mask.sum()), score(value))
    shown, sizes = masks.double(), masks.sum((1, 2)).double()
    # sigmoid(log p / (1 - p)) = p
    weighted = (shown * (torch.tensor(values).double() / sizes)[:, None, None]).sum(0)
    wanted = torch.where(masks.any(0), weighted / (shown / sizes[:, None, None]).sum(0).clamp_min(1e-9), 0.0)
    assert torch.allclose(scored.evidence(), wanted, atol=1e-4)  # log-odds are rounded


def test_front_rises_in_size_and_probability_and_leaves_out_other_classes():
    scored = ScoredMasks((SIDE, SIDE))
    for width, value in ((4, 0.6), (8, 0.55), (12, 0.8), (2, 0.4)):
        one = candidate(slice(0, 1), slice(0, width), value)
        scored.record(mask_key(one.mask), one.mask, one.pixels, one.score)
    assert scored.front() == [(4, 0.6), (12, 0.8)]


def test_same_mask_costs_one_evaluation():
    mask = candidate(slice(0, 20), slice(0, SIDE)).mask

    def steps():
        first = yield from score_masks([mask, ~mask, mask])
        return [*first, (yield from score_mask(mask))]

    one = task(steps())
    run_searches([one], visible_share, 64)
    assert [found.sufficient for found in one.result] == [True, False, True, True]
    assert one.context.budget.spent == 2
    assert one.context.masks.cache_hits == 2


def test_close_calls_and_what_is_asked_alone_are_scored_image_by_image():
    half = candidate(slice(0, SIDE // 2), slice(0, SIDE)).mask
    sizes = []

    def counted(images):
        sizes.append(len(images))
        return visible_share(images)

    def steps():
        yield from score_masks([half, torch.ones_like(half)])
        return (yield from score_mask(~half, alone=True))

    one = task(steps(), guard=0.01)
    run_searches([one], counted, 64)
    assert sizes == [2, 1, 1]
    assert one.context.budget.spent == 4


def test_search_that_asks_for_more_than_is_left_is_told_so_and_keeps_what_was_scored():
    masks = [candidate(slice(0, row), slice(0, SIDE)).mask for row in (1, 2, 3)]

    def steps():
        try:
            yield from score_masks(masks)
        except BudgetSpent:
            return "spent"

    one = task(steps(), budget=5, fills=2)
    run_searches([one], visible_share, 64)
    assert one.result == "spent"
    assert one.context.budget.spent == 4
    assert len(one.context.masks.by_key) == 2


def test_pool_chooses_the_most_certified_candidates_that_do_not_overlap():
    pool = CandidatePool(overlap=0.0, most=10)
    assert not pool.choose()
    pool.candidates.append(candidate(slice(0, 4), slice(0, 4), certified=False))
    assert pool.choose()
    assert pool.chosen == pool.candidates  # the smallest one, as long as none is certified
    assert not pool.choose()
    left, right, both = (candidate(slice(8, 16), columns) for columns in (slice(0, 8), slice(8, 16), slice(4, 11)))
    pool.candidates += [both, left, right]
    assert pool.choose()
    assert pool.chosen == [left, right]
    assert pool.exact
    assert CandidatePool(overlap=0.0, most=1).compatible([left, right]) == ([left], True)


def test_scan_gives_the_smallest_disc_around_each_centre_that_suffices():
    radii, needed = (3.0, 5.0, 7.0, 9.0), 60  # pixels: a disc of radius 5 has 80, one of 3 has 32 at most
    centres = grid_centres((SIDE, SIDE), 10.0)
    free = torch.ones(SIDE, SIDE, dtype=torch.bool)
    free[:, :11] = False
    steps = DiscScan(free, radii).run(centres)
    try:
        request = next(steps)
        while True:
            request = steps.send([score(0.9 if int(mask.sum()) >= needed else 0.1) for mask in request.masks])
    except StopIteration as end:
        found = end.value
    assert found
    for one in found:
        assert int((one.mask & ~free).sum()) == 0
        assert one.pixels >= needed
        smaller = [disc((SIDE, SIDE), centre, radius) & free for centre in centres for radius in radii]
        assert any(torch.equal(one.mask, mask) for mask in smaller)
