from __future__ import annotations

import pytest
import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader

from cae.config.command_line import load_config
from cae.errors import UserError
from cae.files import read_json
from explainers.caes.cause_effect_pairs import draw_pairs, standardised
from explainers.caes.ncc import SHIPPED, CausationNetwork, NeuralCausation, symmetrised_score
from explainers.caes.ncc_training import NCCModule, command, direction_accuracy, ncc_command


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def network() -> CausationNetwork:
    """Untrained, but with statistics of batch normalisation that make the two orders differ."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = CausationNetwork(20)
    pairs = draw_pairs(50, seeded())
    with torch.no_grad():
        for _ in range(40):
            network(torch.stack([pairs.cause, pairs.effect], 2))
        network.classify[-1].weight *= 10
    return network.eval()


@pytest.fixture(scope="module")
def variables():
    pairs = draw_pairs(40, seeded(3))
    return pairs.cause, pairs.effect


def test_the_score_is_antisymmetric(network, variables):
    x, y = variables
    scores = symmetrised_score(network, x, y)
    assert scores.std() > 1e-3
    assert torch.allclose(scores + symmetrised_score(network, y, x), torch.ones(40), atol=1e-6)
    assert symmetrised_score(network, x, x).tolist() == pytest.approx([0.5] * 40, abs=1e-6)


def test_the_order_of_the_points_is_irrelevant(network, variables):
    x, y = variables
    order = torch.randperm(x.shape[1], generator=seeded())
    assert torch.allclose(
        symmetrised_score(network, x, y), symmetrised_score(network, x[:, order], y[:, order]), atol=1e-6
    )


def test_location_and_positive_scale_are_irrelevant(network, variables):
    x, y = variables
    moved = symmetrised_score(network, 3 * x - 7, 0.01 * y + 2)
    assert torch.allclose(symmetrised_score(network, x, y), moved, atol=1e-4)


def test_any_number_of_points_is_scored(network, variables):
    x, y = variables
    twice = symmetrised_score(network, x.repeat(1, 2), y.repeat(1, 2))  # the same distribution
    assert torch.allclose(symmetrised_score(network, x, y), twice, atol=1e-5)


def test_a_constant_variable_has_no_score(network, variables):
    x, y = variables[0].clone(), variables[1]
    x[3] = 0.1
    scores = symmetrised_score(network, x, y)
    assert scores.isnan().nonzero().flatten().tolist() == [3]


def test_scoring_is_in_evaluation_mode(network, variables):
    network.train()
    first = symmetrised_score(network, *variables)
    assert not network.training
    assert torch.equal(first, symmetrised_score(network, *variables))


def test_same_seed_same_weights():
    one, two, other = (NCCModule([seed]).networks[0].state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert not torch.equal(one["embed.0.weight"], other["embed.0.weight"])


@pytest.mark.parametrize("pairs", [None, 30])
def test_what_a_step_sees_follows_from_seed_and_step(pairs):
    one, two = NCCModule([1], pairs=pairs), NCCModule([1], pairs=pairs)
    one.examples(1, 0)
    assert torch.equal(one.examples(1, 7)[0], two.examples(1, 7)[0])
    assert not torch.equal(one.examples(1, 7)[0], one.examples(1, 8)[0])
    assert not torch.equal(one.examples(1, 7)[0], one.examples(2, 7)[0])


def test_the_file_is_the_exact_inverse(tmp_path, network, variables):
    NeuralCausation([network], {"command": "make it", "accuracy": [0.7]}).save(tmp_path / "ncc.safetensors")
    read = NeuralCausation.load(tmp_path / "ncc.safetensors")
    assert read.header == {"command": "make it", "accuracy": [0.7]}
    assert torch.equal(read.scores(*variables)[0], symmetrised_score(network, *variables))


def test_another_file_is_refused_in_words(tmp_path):
    (tmp_path / "ncc.safetensors").write_text("nothing")
    with pytest.raises(UserError, match="python train.py ncc"):
        NeuralCausation.load(tmp_path / "ncc.safetensors")


def test_the_shipped_networks_are_small_name_their_command_and_tell_directions():
    shipped = NeuralCausation.load()
    assert SHIPPED.stat().st_size < 1_000_000
    assert len(shipped.networks) == 5
    assert shipped.header["command"].startswith("python train.py ncc ")
    pairs = draw_pairs(200, seeded(2**30))
    right = (shipped.scores(pairs.cause, pairs.effect).mean(0) < 0.5).float().mean()
    assert right > 0.65  # a guard far below what the benchmark measures


def additive_noise(count: int, generator: torch.Generator):
    """One fixed mechanism with additive noise, whose direction shows in the shape of the cloud."""
    cause = 4 * torch.rand(count, 60, generator=generator) - 2
    effect = (2 * cause).tanh() * 2 + cause**2 + 0.2 * torch.randn(cause.shape, generator=generator)
    return standardised(cause), standardised(effect)


def test_a_separable_family_is_learned_and_exchangeable_pairs_score_one_half():
    module = NCCModule([0], width=30, dropout=0.0, learning_rate=3e-3, pairs=None, draw=additive_noise)
    trainer = pl.Trainer(
        max_steps=80, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False,
    )  # fmt: skip
    trainer.fit(module, DataLoader(range(80), batch_size=None))
    network = module.networks[0].eval()
    assert direction_accuracy(network, *additive_noise(200, seeded(5))) > 0.9
    # exchangeable: the two variables have the same roles
    common = torch.randn(200, 60, generator=seeded(6))
    x, y = (common + torch.randn(200, 60, generator=seeded(seed)) for seed in (7, 8))
    scores = symmetrised_score(network, x, y)
    assert abs(float(scores.mean()) - 0.5) < 3 * float(scores.std()) / 200**0.5


def test_the_stage_writes_networks_that_name_their_command(tmp_path, capsys):
    options = ["name=tiny", f"runs={tmp_path}", "seed=3", "ncc.networks=2", "ncc.steps=4", "ncc.pairs=20",
               "ncc.width=5", "ncc.validation_pairs=20", "ncc.validate_every=2", "trainer.accelerator=cpu"]  # fmt: skip
    config = load_config(overrides=options)
    ncc_command(config)
    written = NeuralCausation.load(tmp_path / "tiny" / "ncc.safetensors")
    assert written.header["seeds"] == [3, 4]
    assert written.header["command"] == command(config)
    assert command(config).startswith("python train.py ncc name=ncc seed=3 ncc.networks=2 ncc.steps=4")
    assert "ncc/validation_accuracy" in read_json(tmp_path / "tiny" / "metrics.json")
    assert "synthetic pairs they have not seen" in capsys.readouterr().out
    with pytest.raises(UserError, match="overwrite=true"):
        ncc_command(config)
    ncc_command(load_config(overrides=[*options, "resume=last"]))
    assert "already finished" in capsys.readouterr().out


def test_an_interrupted_training_goes_on_as_if_nothing_had_happened(tmp_path):
    def train(name: str, *more: str) -> NeuralCausation:
        options = [f"name={name}", f"runs={tmp_path}", "ncc.networks=1", "ncc.pairs=20", "ncc.width=5",
                   "ncc.validation_pairs=5", "ncc.validate_every=2", "trainer.accelerator=cpu"]  # fmt: skip
        ncc_command(load_config(overrides=[*options, *more]))
        return NeuralCausation.load(tmp_path / name / "ncc.safetensors")

    whole = train("whole", "ncc.steps=6").networks[0].state_dict()
    train("parts", "ncc.steps=4")
    (tmp_path / "parts" / "ncc.safetensors").unlink()
    parts = train("parts", "ncc.steps=6", "resume=last").networks[0].state_dict()
    assert all(torch.equal(whole[name], parts[name]) for name in whole)
