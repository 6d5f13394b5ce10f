"""The stream of training batches."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from cae.data.stream import BalancedStream

CLASSES = torch.tensor([0] * 40 + [1] * 12 + [2] * 4)


def batches(step=0, rank=0, world=1, batch_size=6, epoch_steps=50, max_steps=100, seed=0, classes=CLASSES):
    progress = SimpleNamespace(global_step=step, global_rank=rank, world_size=world)
    return list(BalancedStream(classes, batch_size, epoch_steps, max_steps, seed, progress))


def test_the_same_seed_gives_the_same_batches_and_another_seed_others():
    assert batches(seed=3) == batches(seed=3)
    assert batches(seed=3) != batches(seed=4)


def test_a_stream_taken_up_at_any_step_continues_as_if_never_stopped():
    whole = [*batches(step=0), *batches(step=50)]
    assert len(whole) == 100
    for step in (1, 13, 50, 77):
        end = 50 if step < 50 else 100
        assert batches(step=step) == whole[step:end]


def test_batches_do_not_depend_on_how_often_is_validated():
    assert [*batches(epoch_steps=20), *batches(step=20, epoch_steps=20)] == batches(epoch_steps=40)


def test_epochs_differ():
    assert batches(step=0) != batches(step=50)


def test_every_class_comes_equally_often_however_rare():
    drawn = CLASSES[torch.tensor(batches())].flatten()
    counts = torch.bincount(drawn)
    assert counts.sum() == 300
    assert (counts - 100).abs().max() <= 1 + 300 // 56  # at most one too many or too few in each round


def test_a_batch_of_two_kinds_holds_as_many_of_each():
    drawn = (CLASSES > 0).long()[torch.tensor(batches(batch_size=4, classes=(CLASSES > 0).long()))]
    assert (drawn.sum(1) == 2).all()


def test_no_image_comes_again_before_all_of_its_class_came():
    # one round: 10 batches of 6, 20 images of each class
    drawn = torch.tensor(batches()[:10]).flatten()
    of_first = drawn[CLASSES[drawn] == 0]
    assert len(of_first.unique()) == len(of_first)
    of_last = drawn[CLASSES[drawn] == 2]
    assert all(len(part.unique()) == 4 for part in of_last.split(4))


def test_processes_share_a_step_without_overlap():
    classes = torch.arange(60) % 3
    first, second = (torch.tensor(batches(rank=rank, world=2, batch_size=5, classes=classes)[:6]) for rank in (0, 1))
    assert len(torch.cat([first, second]).unique()) == 60  # one round goes through all images once


@pytest.mark.parametrize(("step", "length"), [(0, 5), (3, 5), (5, 5), (10, 2), (11, 2), (12, 2)])
def test_the_last_epoch_ends_with_the_training(step, length):
    progress = SimpleNamespace(global_step=step, global_rank=0, world_size=1)
    assert len(BalancedStream(CLASSES, 6, 5, 12, 0, progress)) == length


@pytest.mark.parametrize(("step", "length"), [(0, 5), (3, 5), (5, 5), (10, 5), (11, 2)])
def test_a_training_that_is_taken_up_first_ends_its_epoch(step, length):
    progress = SimpleNamespace(
        global_step=step, global_rank=0, world_size=1, fit_loop=SimpleNamespace(is_resuming=True)
    )
    assert len(BalancedStream(CLASSES, 6, 5, 12, 0, progress)) == length


def test_two_processes_go_on_together_after_a_stop():
    whole = [batches(rank=rank, world=2) for rank in (0, 1)]
    assert [batches(step=9, rank=rank, world=2) for rank in (0, 1)] == [stream[9:] for stream in whole]
