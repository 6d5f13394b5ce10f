"""Training of the preset `published`: the published alternation, counted and continued like ours."""

from __future__ import annotations

import copy
import csv

import pytest
import torch
from tiny_training import level_classifier, same, tiny_config, tiny_data, tiny_trainer, train_few_steps

from cae.errors import UserError
from cae.models.loading import load_cae
from cae.models.published import PublishedCAE
from cae.training.cae import build_module, gather_classifiers, train_cae, train_loader
from cae.training.published_losses import published_learning_rate
from cae.training.published_module import PublishedModule

SIDE = 32  # the smallest that the published network takes
PUBLISHED = ("cae.preset=published", f"data.image_size={SIDE}", "cae.model.width=4", "cae.target=labels")


def config_of(*overrides):
    return tiny_config(*PUBLISHED, "cae.max_steps=8", "cae.validate_every=3", *overrides)


def train(folder, *overrides, checkpoint=None):
    config = config_of(*overrides)
    classifiers = level_classifier(SIDE), level_classifier(SIDE)
    return train_cae(config, tiny_data(config), *classifiers, folder, checkpoint)


def state_of(folder, name="last"):
    return torch.load(folder / "checkpoints" / f"{name}.ckpt", weights_only=True)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("published")
    return folder, train(folder)


def test_the_preset_trains_validates_and_is_read_back(finished):
    folder, cae = finished
    assert state_of(folder)["global_step"] == 8
    loaded, header = load_cae(folder / "cae.safetensors")
    assert isinstance(loaded, PublishedCAE)
    assert header["config"]["target"] == "labels"
    assert same(dict(loaded.state_dict()), dict(cae.state_dict()))
    with (folder / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["step"]) for row in rows if row["train/reconstruction"]] == list(range(8))
    assert [int(row["step"]) for row in rows if row["val/score"]] == [2, 5, 7]
    assert {"train/cycle", "train/class_head", "train/discriminator_real"} <= set(rows[0])
    assert len(list((folder / "samples").iterdir())) == 3
    assert (folder / "manifold.safetensors").exists()


def test_both_networks_move_in_every_step_which_counts_once():
    config = config_of()
    classifiers = gather_classifiers(config.cae, tiny_data(config), level_classifier(SIDE), level_classifier(SIDE))
    start = copy.deepcopy(dict(build_module(config, (1, SIDE, SIDE), classifiers).state_dict()))
    module, trainer = train_few_steps(config, level_classifier(SIDE), 1)
    assert isinstance(module, PublishedModule)
    assert trainer.global_step == 1
    after = dict(module.state_dict())
    for network in ("cae.encoders", "cae.decoder", "discriminator"):
        assert any(not torch.equal(start[name], after[name]) for name in start if name.startswith(network)), network
    steps = [state["step"] for optimiser in trainer.optimizers for state in optimiser.state.values()]
    assert set(map(int, steps)) == {1}


def test_the_discriminator_learns_from_its_own_loss_alone(monkeypatch):
    seen = []
    step = PublishedModule._generator_step

    def watched(module, images, labels):
        before = [parameter.grad.clone() for parameter in module.discriminator.parameters()]
        terms = step(module, images, labels)
        after = [parameter.grad for parameter in module.discriminator.parameters()]
        seen.append(all(torch.equal(a, b) for a, b in zip(before, after, strict=True)))
        seen.append(all(parameter.requires_grad for parameter in module.discriminator.parameters()))
        return terms

    monkeypatch.setattr(PublishedModule, "_generator_step", watched)
    train_few_steps(config_of(), level_classifier(SIDE), 2)
    assert seen == [True] * 4


def test_the_learning_rate_halves_at_every_tenth_of_the_training(finished):
    optimisers = state_of(finished[0])["optimizer_states"]
    rates = [group["lr"] for optimiser in optimisers for group in optimiser["param_groups"]]
    config = config_of().cae
    assert rates == [
        published_learning_rate(7, 8, config.learning_rate),
        published_learning_rate(7, 8, config.discriminator_learning_rate),
    ]


def test_every_batch_holds_as_many_normal_images_as_others():
    config = config_of("data.batch_size=4")
    data = tiny_data(config)
    classifiers = gather_classifiers(config.cae, data, level_classifier(SIDE), level_classifier(SIDE))
    for batch in train_loader(config, data, classifiers.training_logits, tiny_trainer(8)):
        assert (batch.labels == 0).sum() == 2


def test_predictions_can_stand_in_for_the_labels():
    config = config_of("cae.target=classifier")
    data = tiny_data(config)
    classifier = level_classifier(SIDE)
    data.train.labels = (data.train.labels + 1) % 3  # labels that the classifier disagrees with
    classifiers = gather_classifiers(config.cae, data, classifier, classifier)
    batch = next(iter(train_loader(config, data, classifiers.training_logits, tiny_trainer(8))))
    predictions = classifier.logits(batch.images).argmax(1)
    assert (predictions == 0).sum() == len(batch) // 2
    assert not torch.equal(predictions, batch.labels)


def test_the_classifier_stays_as_it_was():
    classifier = level_classifier(SIDE)
    before = copy.deepcopy(dict(classifier.state_dict()))
    module, _ = train_few_steps(config_of("cae.target=classifier"), classifier, 3)
    module.train()
    assert not any(part.training for part in classifier.modules())
    assert same(before, dict(classifier.state_dict()))


def test_a_stopped_training_continues_bit_for_bit(finished, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        step = PublishedModule.training_step

        def stopping(module, batch, batch_idx):
            if module.global_step == 5:
                raise InterruptedError
            return step(module, batch, batch_idx)

        patch.setattr(PublishedModule, "training_step", stopping)
        with pytest.raises(InterruptedError):
            train(tmp_path)
    assert state_of(tmp_path)["global_step"] == 3
    train(tmp_path, checkpoint=tmp_path / "checkpoints" / "last.ckpt")
    expected, found = state_of(finished[0]), state_of(tmp_path)
    assert found["global_step"] == 8
    assert same(expected["state_dict"], found["state_dict"])
    assert same(expected["optimizer_states"], found["optimizer_states"])
    logs = [(folder / "metrics.csv").read_text() for folder in (finished[0], tmp_path)]
    assert logs[0] == logs[1]


def test_sizes_reach_the_published_network(tmp_path):
    config = config_of("cae.model.class_dim=5", "cae.model.residual_blocks=2", "cae.model.width=8")
    classifiers = gather_classifiers(config.cae, tiny_data(config), level_classifier(SIDE), level_classifier(SIDE))
    cae = build_module(config, (1, SIDE, SIDE), classifiers).average
    assert cae.sizes == {"class_dim": 5, "width": 8, "blocks": 2}
    assert cae.encode(torch.rand(2, 1, SIDE, SIDE)).individual_code.shape == (2, 32, SIDE // 4, SIDE // 4)


def test_what_does_not_fit_the_preset_is_refused_in_words(tmp_path):
    with pytest.raises(UserError, match="16-mixed") as caught:
        config_of("trainer.precision=16-mixed", "data.batch_size=1", "cae.model.residual_blocks=0")
    assert "'data.batch_size' must be at least 2" in str(caught.value)
    assert "residual_blocks" in str(caught.value)
    config = config_of()
    data = tiny_data(config)
    data.train.labels = data.train.labels.clamp_min(1)
    classifiers = gather_classifiers(config.cae, data, level_classifier(SIDE), level_classifier(SIDE))
    with pytest.raises(UserError, match="first class \\('dark'\\)"):
        train_loader(config, data, classifiers.training_logits, tiny_trainer(8))
