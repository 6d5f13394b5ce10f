import copy

import pytest
import torch
from tiny_training import (
    level_classifier,
    tiny_config,
    tiny_data,
    tiny_trainer,
)
from torch import distributed, nn
from two_processes import in_two_processes

from cae.training.cae import build_module, gather_classifiers, train_loader
from cae.training.class_balance import BalancedOrder
from cae.training.classifier import train_classifier
from cae.training.synchronisation import SynchronisedBatchNorm, gather_over_processes, sum_over_processes

EQUAL = {"rtol": 1e-3, "atol": 2e-5}  # sums in another order, and Adam, which makes steps of a size out of them


def norms():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.Tanh(), nn.Flatten(), nn.Linear(16, 5),
                         nn.BatchNorm1d(5, momentum=None), nn.Tanh()).double()  # fmt: skip


def images_of(rank):
    return torch.randn(8, 2, 4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1))[4 * rank :][:4]


def norm_work():
    distributed.init_process_group("gloo")
    network = SynchronisedBatchNorm().apply(norms())
    images = images_of(distributed.get_rank()).clone().requires_grad_()
    values = network(images)
    (gradient,) = torch.autograd.grad(values.square().sum(), images, create_graph=True)
    (values.mean() + gradient.square().mean()).backward()
    gathered = gather_over_processes(torch.full((2, 1), float(distributed.get_rank())))
    buffers = {name: value.clone() for name, value in network.named_buffers()}
    plain = SynchronisedBatchNorm().revert(network)
    return {
        "output": values.detach(),
        "gradients": {name: sum_over_processes(p.grad) / 2 for name, p in network.named_parameters()},
        "buffers": buffers,
        "gathered": gathered.flatten().tolist(),
        "kinds": [type(layer).__name__ for layer in plain],
    }


def test_batch_norm_of_two_processes_is_that_of_one_with_the_whole_batch():
    """Also its gradient, and the gradient of that one."""
    alone = norms()
    images = torch.cat([images_of(0), images_of(1)]).requires_grad_()
    values = alone(images)
    (gradient,) = torch.autograd.grad(values.square().sum(), images, create_graph=True)
    (values.mean() + gradient.square().mean()).backward()
    found = in_two_processes(norm_work)
    torch.testing.assert_close(torch.cat([one["output"] for one in found]), values.detach())
    for one in found:
        torch.testing.assert_close(one["gradients"], {name: p.grad for name, p in alone.named_parameters()})
        torch.testing.assert_close(one["buffers"], dict(alone.named_buffers()))
        assert one["gathered"] == [0, 0, 1, 1]
        assert one["kinds"] == [type(layer).__name__ for layer in alone]


def test_processes_are_dealt_one_order_without_overlap():
    labels = torch.arange(13) % 3
    whole, parts = BalancedOrder(labels, 13, seed=3), [BalancedOrder(labels, 13, 3, rank, 2) for rank in range(2)]
    assert [len(part) for part in parts] == [6, 6]
    together = [index for pair in zip(*map(list, parts), strict=True) for index in pair]
    assert together == list(whole)[:12]


def classifier_run(folder, *overrides):
    """Train a classifier without random changes of its images; its weights and figures."""
    config = tiny_config(
        "classifier.noise=0", "classifier.shift=0", "classifier.rotation=0", "classifier.scale=0",
        "classifier.grey_levels=0", "classifier.epochs=2", "classifier.width=4", f"runs={folder}",
        "classifier.learning_rate=0.01", *overrides,
    )  # fmt: skip
    metrics = train_classifier(config, tiny_data(config), folder)
    last = torch.load(folder / "classifier_checkpoints" / "last.ckpt", weights_only=True)
    return {"metrics": metrics, "weights": last["state_dict"], "step": last["global_step"]}


def test_a_classifier_of_two_processes_is_that_of_one_with_the_whole_batch(tmp_path):
    (tmp_path / "one").mkdir()
    alone = classifier_run(tmp_path / "one", "data.batch_size=6")
    first, second = in_two_processes(
        classifier_run, tmp_path / "two", "data.batch_size=3", "trainer.devices=2", "trainer.strategy=ddp"
    )
    assert first["step"] == alone["step"]
    torch.testing.assert_close(first["weights"], alone["weights"], **EQUAL)
    assert first["metrics"] == second["metrics"] == alone["metrics"]


def cae_run(preset, warmup, batch, devices):
    """Train the tiny CAE for a few steps; the state of this process."""
    overrides = ["cae.preset=published", "data.image_size=32"] if preset == "published" else []
    config = tiny_config(f"data.batch_size={batch}", f"cae.warmup_steps={warmup}", f"cae.recipients={batch}",
                         "cae.loss.patch_swap=0", *overrides)  # fmt: skip
    data = tiny_data(config)
    classifiers = gather_classifiers(config.cae, data, level_classifier(config.data.image_size),
                                     level_classifier(config.data.image_size))  # fmt: skip
    torch.manual_seed(0)
    module = build_module(config, data.image_shape, classifiers)
    settings = {"devices": 2, "strategy": "ddp_find_unused_parameters_true"} if devices == 2 else {}
    trainer = tiny_trainer(4, plugins=[SynchronisedBatchNorm()], **settings)
    trainer.fit(module, train_loader(config, data, classifiers.training_logits, trainer))
    return copy.deepcopy(module.state_dict())


def test_a_warm_up_of_two_processes_is_that_of_one_with_the_whole_batch():
    """Batch norm, the queue of codes and the terms over all codes included."""
    alone = cae_run("default", 8, 6, 1)
    first, second = in_two_processes(cae_run, "default", 8, 3, 2)
    torch.testing.assert_close(first, second, rtol=0, atol=0)
    torch.testing.assert_close(without_free_biases(first), without_free_biases(alone), **EQUAL)


def without_free_biases(state):
    """Without what batch norm takes away again: a bias before it, and the mean that this moves."""
    norms = [name.removesuffix(".running_mean").rsplit(".", 1) for name in state if name.endswith(".running_mean")]
    free = tuple(f"{body}.{int(place) - 1}." for body, place in norms)
    return {
        name: value
        for name, value in state.items()
        if not name.endswith("running_mean") and not (name.startswith(free) and name.endswith("bias"))
    }


@pytest.mark.slow
@pytest.mark.parametrize("preset", ["default", "published"])
def test_processes_end_with_the_same_weights(preset):
    first, second = in_two_processes(cae_run, preset, 1, 4, 2)
    torch.testing.assert_close(first, second, rtol=0, atol=0)
