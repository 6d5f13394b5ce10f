"""Trainings of the explainers in two processes; those of classifier and CAE are in ``cae/training``."""

from __future__ import annotations

import copy

import pytest
import torch
from tiny_training import tiny_config, tiny_data, tiny_trainer
from torch.utils.data import DataLoader
from two_processes import in_two_processes

from cae.data.stream import BalancedStream, stream_loader
from cae.training.synchronisation import SynchronisedBatchNorm
from explainers.caes.ncc_training import NCCModule
from explainers.infills.training import build_module

pytestmark = pytest.mark.slow
TWO = {"devices": 2, "strategy": "ddp"}


def ncc_run(pairs, **settings):
    module = NCCModule([0, 1], width=6, dropout=0.0, batch_pairs=pairs, pairs=40)
    trainer = tiny_trainer(5, plugins=[SynchronisedBatchNorm()], **settings)
    trainer.fit(module, DataLoader(range(5), batch_size=None))
    clouds = torch.randn(4, 100, 2, generator=torch.Generator().manual_seed(2))
    # in training mode, as running means follow biases that batch norm takes away again, and rounding moves
    return [network.train()(clouds).detach() for network in SynchronisedBatchNorm().revert(module.networks)]


def sampler_run(**settings):
    config = tiny_config("sampler.window=4", "sampler.width=8", "sampler.crops=16", "data.batch_size=5")
    data = tiny_data(config)
    module, trainer = build_module(config, data), tiny_trainer(4, **settings)
    stream = BalancedStream(torch.zeros(len(data.train), dtype=torch.int64), 5, 4, 4, 0, trainer)
    trainer.fit(module, stream_loader(data.train, stream, 0))
    return copy.deepcopy(module.state_dict())


def test_networks_of_the_causation_coefficient_are_those_of_one_process_with_all_pairs():
    alone = ncc_run(6)
    for found in in_two_processes(ncc_run_of_two):
        torch.testing.assert_close(found, alone, rtol=1e-3, atol=1e-4)


def ncc_run_of_two():
    return ncc_run(3, **TWO)


def test_processes_end_with_the_same_in_fill():
    first, second = in_two_processes(sampler_run_of_two)
    torch.testing.assert_close(first, second, rtol=0, atol=0)


def sampler_run_of_two():
    return sampler_run(**TWO)
