"""What is remembered of the codes of earlier steps."""

from __future__ import annotations

import copy

import pytest
import torch

from cae.training.code_statistics import CodeQueue, RunningScale
from cae.training.losses import covariance_term, variance_term


def test_running_scale_starts_at_the_first_batch_and_decays():
    scale = RunningScale(decay=0.9)
    assert scale(torch.tensor([[1.0], [-1.0]])).item() == 1.0
    assert scale(torch.tensor([[3.0], [-3.0]])).item() == pytest.approx(0.9 + 0.3)
    assert scale(torch.tensor([[7.0]])).item() == pytest.approx(1.2)  # one code has no deviation


def test_running_scale_of_an_earlier_step_is_not_changed_by_a_later_one():
    scale = RunningScale()
    first = scale(torch.tensor([[1.0], [-1.0]]))
    scale(torch.tensor([[9.0], [-9.0]]))
    assert first.item() == 1.0


def test_code_queue_keeps_the_newest_codes_and_survives_a_checkpoint():
    queue = CodeQueue(size=3, class_dim=1)
    assert queue.view().shape == (0, 1)
    for first in (0.0, 2.0):
        queue.push(torch.tensor([[first], [first + 1]], requires_grad=True))
    assert queue.view().flatten().tolist() == [2.0, 3.0, 0.0]
    restored = CodeQueue(size=3, class_dim=1)
    restored.load_state_dict(queue.state_dict())
    assert restored.count == copy.deepcopy(restored).count == 3
    assert torch.equal(restored.view(), queue.view())


def test_what_is_pushed_later_leaves_the_graph_of_an_earlier_step_alone():
    queue = CodeQueue(size=8, class_dim=2)
    queue.push(torch.rand(4, 2))
    own = (torch.rand(2, 2) * 0.1).requires_grad_()
    codes = torch.cat([own, queue.view()])
    term = variance_term(codes) + covariance_term(codes)
    queue.push(own)  # before the backward pass: the graph must not hold the queue's memory
    term.backward()
    assert own.grad.abs().sum() > 0
    assert not queue.view().requires_grad
