import copy

import torch
from torch import nn

from cae.training.step import average_weights, step_seed


def test_every_step_of_every_process_has_a_seed_of_its_own():
    seeds = {step_seed(seed, step, rank) for seed in range(3) for step in range(50) for rank in range(4)}
    assert len(seeds) == 600
    assert all(0 <= seed < 2**63 for seed in (*seeds, step_seed(2**62, 1, 1)))


def test_the_average_forgets_its_start_and_then_keeps_its_share():
    current = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    average = copy.deepcopy(current)
    for parameter in current.parameters():
        nn.init.ones_(parameter)
    for parameter in average.parameters():
        nn.init.zeros_(parameter)
    current[1].running_mean.fill_(3.0)
    average_weights(average, current, 1, 0.9)
    assert torch.allclose(average[0].weight, torch.tensor(0.9))  # 1 - 1/10
    average_weights(average, current, 1000, 0.9)
    assert torch.allclose(average[0].weight, torch.tensor(0.9 * 0.9 + 0.1))
    assert torch.equal(average[1].running_mean, current[1].running_mean)
    assert torch.equal(current[0].weight, torch.ones(2, 2))
