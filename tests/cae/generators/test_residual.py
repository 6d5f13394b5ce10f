"""The residual network: identity before it has learnt, exact losses, a training that goes on where it was killed."""

from __future__ import annotations

import pytest
import torch
from level_run import level_run, some_images

from cae.errors import UserError
from cae.generators.residual import ResidualNetwork
from cae.generators.residual_losses import discriminator_loss, drawn_classes, generator_terms, variation_in_levels
from cae.generators.residual_module import EVERY, ResidualModule
from cae.generators.residual_networks import ResidualGenerator, blended

OPTIONS = ("generators.steps=12", "generators.width=2", "cae.validate_every=5", "data.batch_size=15")


@pytest.mark.parametrize("side", [(16, 16), (13, 22)])
def test_before_it_has_learnt_it_changes_nothing_whatever_the_class(side):
    torch.manual_seed(0)
    network = ResidualGenerator(3, classes=4, width=2, halvings=3).eval()
    images = 2 * torch.rand(4, 3, *side) - 1
    assert torch.equal(blended(images, network(images, torch.arange(4))), images)


def test_the_class_wanted_decides_what_is_added():
    torch.manual_seed(0)
    network = ResidualGenerator(1, classes=2, width=2, halvings=2).eval()
    torch.nn.init.normal_(network.exit.weight)
    torch.nn.init.normal_(network.last.norm.shift.weight)
    image = torch.rand(1, 1, 8, 8)
    first, second = (network(image, torch.tensor([k])) for k in range(2))
    assert not torch.equal(first, second)


def test_a_residual_moves_by_a_share_of_the_room_and_stays_in_range():
    images = torch.tensor([-1.0, -1.0, 0.0, 0.5, 1.0])
    residuals = torch.tensor([0.5, -0.5, 1.0, -1.0, 0.5])
    assert blended(images, residuals).tolist() == [0.0, -1.0, 1.0, -1.0, 1.0]


def test_a_residual_of_zero_can_be_learned_from():
    residuals = torch.zeros(2, requires_grad=True)
    blended(torch.tensor([-1.0, 0.5]), residuals).sum().backward()
    assert residuals.grad is not None
    assert residuals.grad.tolist() == [2.0, 0.5]  # the room upwards


def test_losses_are_zero_where_everything_is_as_wanted():
    images, sure = torch.rand(2, 1, 4, 4), torch.tensor([[100.0, 0.0], [0.0, 100.0]])
    terms = generator_terms(images, images, images, torch.ones(2), sure, torch.tensor([0, 1]))
    assert {name: term.item() for name, term in terms.items()} == dict.fromkeys(terms, 0.0)
    assert discriminator_loss(torch.ones(2), torch.zeros(2)).item() == 0


def test_terms_have_the_published_weights():
    images, made, back = torch.zeros(1, 1, 2, 2), torch.full((1, 1, 2, 2), 0.5), torch.full((1, 1, 2, 2), -0.25)
    made[..., 0, 0] = 1.5
    terms = generator_terms(images, made, back, torch.tensor([3.0]), torch.zeros(1, 2), torch.tensor([1]))
    assert terms["adversarial"].item() == 4  # (3 - 1)²
    assert terms["classifier"].item() == pytest.approx(0.693147, abs=1e-6)
    assert terms["change"].item() == 0.75
    assert terms["cycle"].item() == 0.25
    assert terms["variation"].item() == pytest.approx(5e-5 * 127.5 * 2)  # two steps of 1 in [-1, 1]
    assert discriminator_loss(torch.tensor([0.0]), torch.tensor([2.0])).item() == 2.5


def test_variation_counts_grey_levels_of_255():
    change = torch.tensor([[0.0, 2.0]])[None, None]  # from black to white
    assert variation_in_levels(change).item() == 255


def test_every_class_is_wanted_of_every_image():
    torch.manual_seed(0)
    assert drawn_classes(1000, 3).bincount(minlength=3).min() > 280


def test_the_generator_learns_at_every_fifth_step_and_the_classifier_never(tmp_path):
    run = level_run(tmp_path, *OPTIONS, f"generators.steps={EVERY - 1}")
    generator, before = ResidualNetwork(run, 0), run.classifier.fingerprint()
    generator.prepare(tmp_path / "models")
    images, targets = some_images(run)
    made = generator.generate(images, targets)
    torch.testing.assert_close(made.images, images)  # its turn has not come
    assert made.passes.tolist() == [1]
    assert run.classifier.fingerprint() == before


def test_killed_and_continued_it_has_learnt_the_same(tmp_path, monkeypatch):
    whole = ResidualNetwork(level_run(tmp_path / "a", *OPTIONS), 0)
    assert whole.prepare(tmp_path / "whole") > 0
    step = ResidualModule.training_step

    def stopping(self, batch, batch_idx):
        if self.global_step == 7:
            raise KeyError("killed")
        step(self, batch, batch_idx)

    stopped = ResidualNetwork(level_run(tmp_path / "b", *OPTIONS), 0)
    with monkeypatch.context() as patch:
        patch.setattr(ResidualModule, "training_step", stopping)
        with pytest.raises(KeyError, match="killed"):
            stopped.prepare(tmp_path / "stopped")
    assert not (tmp_path / "stopped" / "residual.safetensors").exists()
    stopped.prepare(tmp_path / "stopped")
    images, targets = some_images(whole.run)
    assert torch.equal(stopped.generate(images, targets).images, whole.generate(images, targets).images)
    assert whole.network.generator.exit.weight.abs().max() > 1e-4  # two updates of 2e-4 at most
    again = ResidualNetwork(level_run(tmp_path / "c", *OPTIONS, "generators.width=3"), 0)
    with pytest.raises(UserError, match=r"trained with other settings \(width\)"):
        again.prepare(tmp_path / "whole")
