"""SLURM takes a job off and runs it again: it goes on from the right checkpoint of the right stage."""

import os
import signal

import pytest
import torch
from tiny_training import level_classifier, same, tiny_config, tiny_data

from cae.classifiers.saved import load_own
from cae.errors import UserError
from cae.requeue import REQUEUE, check_tasks
from cae.runs.run_folder import RunFolder
from cae.training.cae import train_cae
from cae.training.cae_module import CAEModule
from cae.training.classifier import ClassifierModule, train_classifier
from cae.training.trainer import build_loggers

JOB = {"JOB_ID": "77", "JOB_NAME": "train", "NTASKS": "1", "PROCID": "0", "LOCALID": "0", "NODEID": "0", "STEP_ID": "0"}


@pytest.fixture
def slurm(tmp_path, monkeypatch):
    """A job of SLURM, whose `scontrol` notes what it is asked, and refuses where `refuses` is there."""
    programs = tmp_path / "programs"
    programs.mkdir()
    script = programs / "scontrol"
    script.write_text(f'#!/bin/sh\necho "$@" >> {programs}/asked\ntest ! -e {programs}/refuses\n')
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    for name, value in JOB.items():
        monkeypatch.setenv(f"SLURM_{name}", value)
    with REQUEUE:
        yield programs


@pytest.fixture
def signalled(monkeypatch):
    """Send the signal in the middle of the training step of this number."""

    def at(module, step):
        begun, done = module.training_step, []

        def training_step(self, batch, batch_idx):
            if self.global_step == step and not done:
                done.append(True)
                os.kill(os.getpid(), signal.SIGUSR1)
            return begun(self, batch, batch_idx)

        monkeypatch.setattr(module, "training_step", training_step)

    return at


def tiny_cae(folder, checkpoint=None, steps=12):
    config = tiny_config(f"cae.max_steps={steps}", "cae.loss.patch_swap=0")
    folder.mkdir(exist_ok=True)
    train_cae(config, tiny_data(config), level_classifier(), level_classifier(), folder, checkpoint)
    return torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)


def test_an_embedding_stopped_within_an_epoch_ends_as_if_it_had_not_been(tmp_path, slurm, signalled):
    whole = tiny_cae(tmp_path / "whole")
    signalled(CAEModule, 7)
    with pytest.raises(SystemExit):
        tiny_cae(tmp_path / "run")
    assert (slurm / "asked").read_text() == "requeue 77\n"
    last = tmp_path / "run" / "checkpoints" / "last.ckpt"
    assert torch.load(last, weights_only=True)["global_step"] == 8
    found = tiny_cae(tmp_path / "run", last)
    for part in ("state_dict", "optimizer_states", "lr_schedulers"):
        assert same(whole[part], found[part]), part
    logs = [(tmp_path / name / "metrics.csv").read_text() for name in ("whole", "run")]
    assert logs[0] == logs[1]


def test_a_job_that_slurm_does_not_take_back_trains_on(tmp_path, slurm, signalled, capsys):
    (slurm / "refuses").touch()
    signalled(CAEModule, 3)
    assert tiny_cae(tmp_path / "run")["global_step"] == 12
    assert "the job 77 is not taken back by SLURM and goes on" in capsys.readouterr().out


def classifier_options(folder):
    return tiny_config("classifier.epochs=8", "classifier.width=4", f"runs={folder}", "name=run", "overwrite=true")


def test_a_requeued_classifier_goes_on_from_its_last_epoch_and_exports_its_own_weights(
    tmp_path, slurm, signalled, monkeypatch
):
    whole = classifier_options(tmp_path / "whole")
    train_classifier(whole, tiny_data(whole), tmp_path / "whole" / "run")
    config, folder = classifier_options(tmp_path), tmp_path / "run"
    signalled(ClassifierModule, 27)
    RunFolder(config).prepare("classifier")
    with pytest.raises(SystemExit):
        train_classifier(config, tiny_data(config), folder)
    # what Lightning's own handler leaves, here of another training
    stray = torch.load(folder / "classifier_checkpoints" / "last.ckpt", weights_only=True)
    stray["state_dict"] = {name: value * 0 for name, value in stray["state_dict"].items()}
    torch.save(stray, folder / "hpc_ckpt_1.ckpt")
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    assert RunFolder(config).prepare("classifier").checkpoint == folder / "classifier_checkpoints" / "last.ckpt"
    train_classifier(config, tiny_data(config), folder)
    one, two = (load_own(path / "run", "classifier").state_dict() for path in (tmp_path / "whole", tmp_path))
    assert same(dict(one), dict(two))


def test_outside_of_a_training_the_job_is_queued_again_at_once(slurm):
    with pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGUSR1)
    assert (slurm / "asked").read_text() == "requeue 77\n"


def test_several_tasks_without_srun_are_a_sentence(monkeypatch):
    monkeypatch.setenv("SLURM_NTASKS", "4")
    monkeypatch.delenv("SLURM_STEP_ID", raising=False)
    with pytest.raises(UserError, match="has 4 tasks .* start it with srun"):
        check_tasks()
    monkeypatch.setenv("SLURM_STEP_ID", "0")
    check_tasks()


def test_a_run_at_wandb_goes_on_under_its_id_and_a_new_training_has_another(tmp_path, monkeypatch):
    logging = tiny_config("logging.wandb=offline", "logging.wandb_group=trial").logging

    def id_of(stage, resume):
        return build_loggers(logging, tmp_path, stage, "run", resume)[-1]._wandb_init["id"]

    first = id_of("cae", False)
    assert id_of("cae", True) == first != id_of("oracle", True)
    monkeypatch.setenv("SLURM_RESTART_COUNT", "2")
    assert id_of("cae", False) == first
    monkeypatch.delenv("SLURM_RESTART_COUNT")
    assert id_of("cae", False) != first
