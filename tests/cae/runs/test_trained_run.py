"""Opening a run: real files of tiny, untrained networks."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

import explain
from cae.classifiers import SmallResNet, load_classifier, save_classifier
from cae.classifiers.networks import PlainConvNet
from cae.config import Config, OracleConfig
from cae.config.command_line import load_config, run_program, save_config
from cae.data import CAEDataModule
from cae.devices import device_for
from cae.errors import UserError
from cae.manifold.class_manifold import ClassManifold
from cae.models.cae import CAE
from cae.models.loading import load_cae
from cae.models.published import PublishedCAE
from cae.runs.classifier_run import open_classifier
from cae.runs.trained_run import load_run
from cae.tables.index import read_index

OPTIONS = (
    "name=tiny", "data.image_size=32", "data.lesions.train=24", "data.lesions.val=3", "data.lesions.test=6",
    "classifier.width=4", "cae.model.class_dim=3", "cae.model.individual_channels=2", "cae.model.width=8",
    "cae.model.individual_downsampling=2", "cae.model.class_downsampling=3", "cae.model.residual_blocks=0",
    "counterfactual.steps=4", "counterfactual.bisections=2", "counterfactual.references=1", "logging.progress=false",
    "trainer.accelerator=cpu",
)  # fmt: skip


def config_in(runs: Path, *overrides: str) -> Config:
    return load_config(overrides=[*OPTIONS, f"runs={runs}", *overrides])


def balanced_classifier(images: torch.Tensor) -> SmallResNet:
    """Untrained, its logits standardised over the images, so that every class is the verdict of some."""
    network = SmallResNet(3, width=4).eval()
    with torch.no_grad():
        logits = network(images)
        network.head.weight *= 3 / logits.std(0)[:, None]
        network.head.bias.zero_()
        network.head.bias -= network(images).mean(0)
    return network


def write_run(folder: Path) -> None:
    config = config_in(folder.parent)
    data = CAEDataModule(config.data)
    folder.mkdir(parents=True)
    save_config(config, folder / "config.yaml")
    torch.manual_seed(0)
    network = balanced_classifier(torch.stack([data.train[i].image for i in range(len(data.train))]))
    save_classifier(folder, network, config.classifier, data.classes, data.image_shape)
    save_classifier(
        folder, PlainConvNet(3, width=4), OracleConfig(width=4), data.classes, data.image_shape, name="oracle"
    )
    classifier = load_classifier(config.classifier, data.classes, data.image_shape, folder)
    cae = CAE(data.image_shape, config.cae.model).eval()
    cae.save(folder / "cae.safetensors", {"classifier": classifier.fingerprint(), "classes": list(data.classes)})
    ClassManifold.build(cae, classifier, data.loader(data.train)).save(folder / "manifold.safetensors")


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("written")
    write_run(folder / "tiny")
    return folder


@pytest.fixture
def runs(written, tmp_path):
    shutil.copytree(written, tmp_path / "runs")
    return tmp_path / "runs"


def refusal(runs: Path, *overrides: str) -> str:
    with pytest.raises(UserError) as refused:
        load_run(config_in(runs, *overrides))
    return str(refused.value)


def test_a_run_is_opened_whole_frozen_and_in_evaluation_mode(runs):
    run = load_run(config_in(runs, "manifold.neighbours=3", "seed=5"))
    assert run.classes == ("healthy", "mass", "cyst")
    assert isinstance(run.cae, CAE)
    assert run.oracle is not None
    for model in (run.cae, run.classifier, run.oracle):
        assert not model.training
        assert not any(parameter.requires_grad for parameter in model.parameters())
    assert len(run.manifold) == 24
    assert (run.manifold.config.neighbours, run.manifold.seed) == (3, 5)
    assert len(set(run.fingerprints.values())) == 3
    assert run.fingerprints == load_run(config_in(runs)).fingerprints


def test_a_run_without_an_oracle_has_none(runs):
    (runs / "tiny" / "oracle.safetensors").unlink()
    run = load_run(config_in(runs))
    assert run.oracle is None
    assert run.fingerprints["oracle"] == ""


@pytest.mark.parametrize(
    ("name", "command"),
    [
        ("cae.safetensors", "python train.py cae"),
        ("manifold.safetensors", "python train.py cae"),
        ("classifier.safetensors", "python train.py classifier"),
    ],
)
def test_a_missing_file_says_which_command_makes_it(name, command, runs):
    (runs / "tiny" / name).unlink()
    assert command in refusal(runs)


def test_an_unknown_run_names_those_that_are_there(runs):
    words = refusal(runs, "name=tinny")
    assert "there is no run" in words
    assert "did you mean 'tiny'" in words


def test_a_cae_of_another_classifier_is_refused_with_both_named(runs):
    path = runs / "tiny" / "cae.safetensors"
    before = load_run(config_in(runs)).classifier.fingerprint()
    torch.manual_seed(1)
    config = config_in(runs)
    save_classifier(path.parent, SmallResNet(3, width=4), config.classifier, ("healthy", "mass", "cyst"), (1, 32, 32))
    words = refusal(runs)
    after = load_classifier(config.classifier, ("healthy", "mass", "cyst"), (1, 32, 32), path.parent).fingerprint()
    for part in (before, after, "another classifier", "overwrite=true", "classifier.weights"):
        assert part in words


def test_a_cae_that_was_trained_beside_another_oracle_is_told_and_opens(runs, capsys):
    path, config = runs / "tiny" / "cae.safetensors", config_in(runs)
    cae, header = load_cae(path)
    present = load_run(config).fingerprints["oracle"]
    assert "warning" not in capsys.readouterr().out  # a file of a former version does not tell
    for oracle, told in ((present, False), ("0123456789abcdef", True)):
        cae.save(path, {**header, "oracle": oracle})
        assert load_run(config).fingerprints["oracle"] == present
        out = capsys.readouterr().out
        assert (f"beside another oracle (fingerprint {oracle}) than the present one ({present})" in out) == told
    (runs / "tiny" / "oracle.safetensors").unlink()
    load_run(config)
    assert "warning" not in capsys.readouterr().out


def test_codes_of_another_cae_are_refused(runs):
    path = runs / "tiny" / "cae.safetensors"
    cae, header = load_cae(path)
    torch.manual_seed(7)
    CAE(cae.image_shape, cae.model).save(path, {"classifier": header["classifier"]})
    assert "was made by another CAE" in refusal(runs)
    wider = config_in(runs, "cae.model.class_dim=5").cae.model
    CAE(cae.image_shape, wider).save(path, {"classifier": header["classifier"]})
    assert "holds codes of 3 numbers, but the CAE gives 5" in refusal(runs)


def test_other_images_than_those_of_the_training_are_refused(runs):
    words = refusal(runs, "data.image_size=40")
    assert "(1, 32, 32)" in words
    assert "(1, 40, 40)" in words


def test_the_preset_is_read_from_the_file(tmp_path):
    torch.manual_seed(0)
    cae = PublishedCAE((1, 32, 32), class_dim=2, width=4, blocks=1)
    cae.save(tmp_path / "cae.safetensors", {"classifier": "0123"})
    loaded, header = load_cae(tmp_path / "cae.safetensors")
    assert isinstance(loaded, PublishedCAE)
    assert header["classifier"] == "0123"


def test_explaining_takes_one_device_that_is_there(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert device_for() == torch.device("cpu")
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(UserError, match="this machine has none"):
        device_for(accelerator="gpu")
    with pytest.raises(UserError, match="did you mean 'cuda'"):
        device_for(accelerator="cud")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert device_for() == torch.device("cuda", 0)
    assert device_for(accelerator="gpu", devices="1,") == torch.device("cuda", 1)
    with pytest.raises(UserError, match="names GPU 3"):
        device_for(accelerator="gpu", devices="3,")


def program(*arguments: str) -> None:
    with pytest.raises(SystemExit) as stop:
        run_program(explain.main, list(arguments))
    assert stop.value.code == 0


def test_both_stages_run_from_the_command_line_with_what_the_run_was_trained_with(runs, capsys):
    call = (f"runs={runs}", "name=tiny", "logging.progress=false", "trainer.accelerator=cpu")
    program("traverse", *call, "traverse.limit=2", "traverse.split=val")
    rows = read_index(runs / "tiny" / "explanations" / "traverse" / "index.parquet")
    assert [row.id for row in rows] == ["val/00000", "val/00001"]
    assert capsys.readouterr().out.splitlines()[-1].startswith("look at ")
    program("manifold", *call, "manifold.embeddings=[pca]", "manifold.pairs=12")
    assert (runs / "tiny" / "explanations" / "manifold" / "reassignment.png").exists()
    assert capsys.readouterr().out.splitlines()[-1].startswith("look at ")


def test_help_names_both_stages(capsys):
    program("--help")
    text = capsys.readouterr().out
    assert "traverse" in text
    assert "manifold" in text
    assert "traverse.folder" in text


def test_a_run_is_opened_by_its_folder_by_its_name_and_by_its_configuration(runs, monkeypatch):
    by_config = load_run(config_in(runs))
    by_folder = load_run(runs / "tiny", "trainer.accelerator=cpu")
    monkeypatch.chdir(runs.parent)
    for found in (by_folder, load_run("runs/tiny"), load_run("tiny"), load_run("runs/tiny/")):
        assert found.fingerprints == by_config.fingerprints
        assert found.folder.path.resolve() == (runs / "tiny").resolve()


def test_a_run_that_was_moved_opens_where_it_is_now(runs):
    (runs / "tiny").rename(runs / "elsewhere")
    run = load_run(runs / "elsewhere", "seed=3", "manifold.neighbours=2")
    assert (run.config.name, run.config.seed, run.manifold.config.neighbours) == ("elsewhere", 3, 2)


def test_overrides_over_a_configuration_leave_it_as_it_is(runs):
    config = config_in(runs, "data.lesions.test=9")
    run = load_run(config, "manifold.neighbours=2")
    assert (run.config.manifold.neighbours, run.config.data.lesions.test) == (2, 9)
    assert config.manifold.neighbours == 10


def test_only_the_classifier_of_a_run_is_opened_where_there_is_no_more(runs):
    (runs / "tiny" / "cae.safetensors").unlink()
    run = open_classifier(runs / "tiny")
    assert run.classes == ("healthy", "mass", "cyst")
    assert run.require_data() is run.data


@pytest.mark.parametrize(
    ("name", "words"),
    [("tiny2", "did you mean 'tiny'"), ("tiny/config.yaml", "is a file"), ("none/there", "there is no run")],
)
def test_what_is_no_run_is_told_in_words(name, words, runs):
    with pytest.raises(UserError, match=words):
        load_run(runs / name)
