"""An embedding that collapses is stopped in words; one that works, or has a bad moment, is not."""

from __future__ import annotations

import pytest
from tiny_training import level_classifier, tiny_config, tiny_data

from cae.errors import UserError
from cae.training.cae import train_cae
from cae.training.collapse import CollapseGuard
from cae.training.validation import SwapValidation

BOUND = "cae.max_reconstruction_error=0.1"


def judged(*validations: tuple[float, float]) -> list[bool]:
    guard = CollapseGuard(tiny_config(BOUND))
    return [bool(guard.judge(*validation)) for validation in validations]


def test_a_training_that_works_or_has_one_bad_moment_is_not_stopped():
    assert not any(judged((0.3, 0.4), (0.2, 0.5), (0.09, 0.6), (0.2, 1.0), (0.05, 0.9), (0.3, 1.0), (0.02, 0.4)))


def test_a_reconstruction_error_that_was_never_within_its_bound_is_on_its_way():
    assert not any(judged(*[(0.3 - 0.01 * step, 0.5) for step in range(20)]))


def test_an_error_that_rises_above_its_bound_and_stays_there_is_a_collapse():
    assert judged((0.3, 0.5), (0.3, 0.5), (0.09, 0.5), (0.11, 0.5), (0.12, 0.5)) == [False] * 4 + [True]


def test_one_class_for_all_swaps_again_and_again_is_a_collapse():
    assert judged((0.05, 0.9), (0.05, 1.0), (0.05, 1.0), (0.05, 1.0)) == [False, False, False, True]


def test_swaps_that_were_never_of_several_classes_may_still_become_so():
    assert not any(judged(*[(0.05, 1.0)] * 9))


def test_what_was_counted_goes_on_with_the_training():
    first, second = CollapseGuard(tiny_config(BOUND)), CollapseGuard(tiny_config(BOUND))
    assert not first.judge(0.05, 0.5)
    assert not first.judge(0.2, 0.5)
    second.load_state_dict(first.state_dict())
    assert second.judge(0.2, 0.5)


def collapsing(monkeypatch, after: int, **figures: float) -> None:
    """Let every validation but the first ones show these figures."""
    measure, calls = SwapValidation.measure, []

    def measured(self, cae):
        calls.append(1)
        shown = len(calls) > 2 * after  # each validation also looks at training images
        return {**measure(self, cae), **(figures if shown else {"swaps_of_one_class": 0.5})}

    monkeypatch.setattr(SwapValidation, "measure", measured)


@pytest.mark.parametrize(
    "figures",
    [
        {"reconstruction_mae": 2.0, "score": -1.0},
        pytest.param({"swaps_of_one_class": 1.0}, marks=pytest.mark.slow),
    ],
)
def test_a_collapsed_training_names_step_checkpoint_and_advice_and_exports_nothing(figures, tmp_path, monkeypatch):
    collapsing(monkeypatch, 2, **figures)
    config = tiny_config("cae.max_steps=24", "cae.validate_every=4")
    words = (
        r"cae: the training has collapsed, .* at step (16|20); nothing is exported, and the last good checkpoint is "
    )
    with pytest.raises(UserError, match=rf"{words}'.*best\.ckpt'.*overwrite=true and a lower cae\.learning_rate .now"):
        train_cae(config, tiny_data(config), level_classifier(), level_classifier(), tmp_path)
    assert not list(tmp_path.glob("*.safetensors"))


@pytest.mark.slow
def test_before_the_terms_have_their_weight_nothing_is_judged(tmp_path, monkeypatch):
    collapsing(monkeypatch, 0, swaps_of_one_class=1.0)
    config = tiny_config("cae.max_steps=13", "cae.validate_every=3", "cae.warmup_steps=10", "cae.ramp_steps=2")
    train_cae(config, tiny_data(config), level_classifier(), level_classifier(), tmp_path)
    assert (tmp_path / "cae.safetensors").exists()
