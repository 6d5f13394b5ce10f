"""Windows and fills that a budget of evaluations allows."""

import pytest
import torch

from cae.errors import UserError
from explainers.infills.windows import Level
from explainers.information.window_plan import OWN_EVALUATIONS, WindowPlan

SHAPE = (64, 64)


def plan(**changed) -> WindowPlan:
    settings = {
        "window": None, "stride": None, "samples": None, "scales": False, "refine": False, "adaptive": False,
        "max_evaluations": 1500, "border": "inside", "deterministic": False, "only_window": None,
    }  # fmt: skip
    return WindowPlan(**(settings | changed))


def cost(asked: WindowPlan) -> int:
    return OWN_EVALUATIONS + sum(level.samples * len(asked.windows(SHAPE, level)) for level in asked.levels(SHAPE))


def test_defaults_are_half_a_window_and_a_quarter_where_one_fill_is_enough():
    assert plan().levels(SHAPE) == [Level(8, 4, 6)]
    assert plan(deterministic=True).levels(SHAPE) == [Level(8, 2, 1)]
    assert plan(only_window=16).levels(SHAPE)[0].window == 16
    assert plan(only_window=16, window=8).levels(SHAPE)[0].window == 8


@pytest.mark.parametrize("changed", [{}, {"scales": True}, {"refine": True}, {"deterministic": True}])
@pytest.mark.parametrize("most", [700, 1500, 9000])
def test_no_default_costs_more_than_the_budget(changed, most):
    assert cost(plan(max_evaluations=most, **changed)) <= most


def test_the_refinement_keeps_half_of_the_budget():
    asked = plan(refine=True)
    assert cost(asked) <= OWN_EVALUATIONS + asked.budget // 2
    assert asked.share(1000, [], SHAPE) == 1000 - asked.budget // 2


def test_levels_to_come_keep_what_they_need():
    later = [Level(32, 16, 5), Level(16, 16, 2)]
    assert plan().share(1000, later, SHAPE) == 1000 - 9 * 5 - 16 * 2
    assert plan(adaptive=True).share(1000, later, SHAPE) == 1000 - 9 * 4 - 16 * 2
    assert plan().share(10, later, SHAPE) == 0


def test_finer_windows_lie_where_the_map_is_strongest_and_keep_the_budget():
    strength = torch.zeros(SHAPE)
    strength[10:14, 20:24] = 1
    windows, samples = plan().finer(strength, [Level(16, 8, 6), Level(8, 4, 6)], left=12)
    assert (windows.size, samples, len(windows)) == (4, 4, 3)
    assert all(y0 < 14 and y1 > 10 and x0 < 24 and x1 > 20 for y0, x0, y1, x1 in windows.boxes.tolist())


def test_what_was_asked_for_and_does_not_fit_is_refused_with_its_cost():
    with pytest.raises(UserError, match="take 3602 evaluations .* `max_evaluations` is 1500: use fewer"):
        plan(samples=16, window=8).levels(SHAPE)
