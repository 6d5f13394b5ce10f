from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from cae.config import Config
from cae.config.command_line import load_config, parse, run_program, save_config
from cae.errors import UserError
from cae.files import read_json, write_json
from cae.runs.run_config import explanation_config, load_run_config, merge_saved
from cae.runs.run_folder import OUTPUTS, RunFolder, Start

COMMANDS = {"cae": "train", "traverse": "explain"}


@pytest.fixture(autouse=True)
def _one_process(monkeypatch):
    for name in ("RANK", "LOCAL_RANK", "SLURM_PROCID", "NODE_RANK", "GROUP_RANK", "SLURM_RESTART_COUNT"):
        monkeypatch.delenv(name, raising=False)


def config_in(folder: Path, *overrides: str) -> Config:
    return load_config(overrides=[f"runs={folder}", "name=own", *overrides])


def fill(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / "own" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)


def files(folder: Path) -> set[str]:
    """Everything but the lock."""
    found = {path.relative_to(folder / "own").as_posix() for path in (folder / "own").rglob("*") if path.is_file()}
    return {name for name in found if not name.endswith(".lock")}


def test_a_new_run_is_made_with_its_configuration(tmp_path):
    config = config_in(tmp_path, "seed=5")
    assert RunFolder(config).prepare("cae") == Start(None)
    assert files(tmp_path) == {"config.yaml", "stages.json"}
    assert load_run_config(tmp_path / "own") == config


@pytest.mark.parametrize(
    ("stage", "name"),
    [
        ("classifier", "classifier.safetensors"),
        ("classifier", "classifier.json"),
        ("classifier", "classifier_checkpoints/last.ckpt"),
        ("classifier", "classifier_logs/metrics.csv"),
        ("oracle", "oracle.safetensors"),
        ("cae", "cae.safetensors"),
        ("cae", "checkpoints/last.ckpt"),
        ("cae", "manifold.safetensors"),
        ("cae", "samples/step-000500.png"),
        ("cae", "metrics.csv"),
    ],
)
def test_nothing_is_overwritten_silently(stage, name, tmp_path, capsys):
    fill(tmp_path, name)

    def main(arguments: list[str]) -> None:
        RunFolder(parse(arguments, COMMANDS, "train.py").config).prepare(stage)

    with pytest.raises(SystemExit) as stop:
        run_program(main, ["cae", f"runs={tmp_path}", "name=own"])
    error = capsys.readouterr().err
    assert stop.value.code == 2
    assert error.startswith("error: ")
    for words in (name.split("/")[0], "exists", "resume=last", "overwrite=true"):
        assert words in error
    assert files(tmp_path) == {name}


def test_empty_folders_and_other_stages_are_in_nobodys_way(tmp_path):
    fill(tmp_path, "classifier.safetensors", "oracle.json", "explanations/traverse/a.png", "notes.txt")
    (tmp_path / "own" / "checkpoints").mkdir()
    assert RunFolder(config_in(tmp_path)).prepare("cae") == Start(None)


@pytest.mark.parametrize("stage", OUTPUTS)
def test_overwriting_removes_the_outputs_of_the_stage_and_nothing_else(stage, tmp_path):
    inside = {"checkpoints": "last.ckpt", "logs": "metrics.csv", "samples": "step-000500.png"}
    everything = {
        name if "." in name else f"{name}/{inside[name.rpartition('_')[2]]}"
        for names in OUTPUTS.values()
        for name in names
    }
    others = {"explanations/traverse/a.png", "notes.txt"}
    fill(tmp_path, *everything, *others)
    own = {name for name in everything if name.split("/")[0] in OUTPUTS[stage]}
    assert RunFolder(config_in(tmp_path, "overwrite=true")).prepare(stage) == Start(None)
    assert own
    assert files(tmp_path) == (everything - own) | others | {"config.yaml", "stages.json"}


@pytest.mark.parametrize("folder", ["checkpoints", "samples", "sampler_logs/deep"])
def test_overwriting_a_training_removes_nothing_that_it_did_not_write(folder, tmp_path):
    stage = "sampler" if "sampler" in folder else "cae"
    fill(tmp_path, f"{folder}/notes.txt", f"{folder}/step-000001.png", "cae.safetensors", "sampler.safetensors")
    before = files(tmp_path)
    with pytest.raises(UserError, match=r"also holds (deep/)?notes\.txt: move that away, or give name="):
        RunFolder(config_in(tmp_path, "overwrite=true")).prepare(stage)
    assert files(tmp_path) == before


def test_overwriting_forgets_the_metrics_of_the_stage_and_warns_of_what_was_made_from_it(tmp_path, capsys):
    fill(tmp_path, "cae.safetensors", "explanations/traverse/a.png")
    metrics = {"classifier/test_accuracy": 0.9, "cae/reassignment": 0.8, "seconds/cae_training": 5, "multirex/iou": 1}
    write_json(tmp_path / "own" / "metrics.json", metrics)
    RunFolder(config_in(tmp_path, "overwrite=true")).prepare("cae")
    assert read_json(tmp_path / "own" / "metrics.json") == {"classifier/test_accuracy": 0.9, "multirex/iou": 1}
    assert "explanations' was made from the former cae" in capsys.readouterr().out


def test_a_link_is_removed_without_what_it_points_to(tmp_path):
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "file").write_text("x")
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "samples").symlink_to(tmp_path / "kept")
    RunFolder(config_in(tmp_path, "overwrite=true")).prepare("cae")
    assert (tmp_path / "kept" / "file").exists()
    assert not (tmp_path / "own" / "samples").exists()


@pytest.mark.parametrize("name", ["samples", "checkpoints"])
@pytest.mark.parametrize("target", ["elsewhere", "absent"])
@pytest.mark.parametrize("option", ["resume=last", "overwrite=true"])
def test_a_training_writes_through_no_link(name, target, option, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "cae.safetensors").touch()
    (tmp_path / "own" / name).symlink_to(tmp_path / target)
    with pytest.raises(UserError, match=rf"{name}' is a link to .*nothing is written outside the run"):
        RunFolder(config_in(tmp_path, option)).prepare("cae")
    assert (tmp_path / "own" / "cae.safetensors").exists()


def test_resuming_continues_from_the_newest_checkpoint(tmp_path, capsys):
    fill(tmp_path, "checkpoints/last.ckpt", "checkpoints/last-v1.ckpt", "checkpoints/best.ckpt")
    checkpoints = tmp_path / "own" / "checkpoints"
    for seconds, name in enumerate(["last-v1.ckpt", "last.ckpt", "best.ckpt"]):
        os.utime(checkpoints / name, (seconds, seconds))
    start = RunFolder(config_in(tmp_path, "resume=last")).prepare("cae")
    assert start == Start(checkpoints / "last.ckpt")
    assert "continuing from" in capsys.readouterr().out
    assert "checkpoints/last.ckpt" in files(tmp_path)


def test_resuming_without_a_checkpoint_starts_from_the_beginning_and_says_so(tmp_path, capsys):
    assert RunFolder(config_in(tmp_path, "resume=last")).prepare("cae") == Start(None)
    assert "starting from the beginning" in capsys.readouterr().out
    fill(tmp_path, "metrics.csv")
    assert RunFolder(config_in(tmp_path, "resume=last")).prepare("cae") == Start(None)


def test_resuming_leaves_a_finished_stage_alone(tmp_path, capsys):
    fill(tmp_path, "cae.safetensors", "checkpoints/last.ckpt")
    start = RunFolder(config_in(tmp_path, "resume=last")).prepare("cae")
    assert start.finished
    assert start.checkpoint is not None
    assert "already finished" in capsys.readouterr().out
    assert not RunFolder(config_in(tmp_path, "resume=last")).prepare("classifier").finished


OTHER = {
    "classifier": ["seed=1", "classifier.learning_rate=0.1", "classifier.epochs=3", "data.batch_size=32",
                   "classifier.noise=0.2", "trainer.precision=bf16-mixed"],
    "oracle": ["oracle.seed=1", "oracle.epochs=3", "oracle.labels=dataset", "classifier.weight_decay=0.1"],
    "cae": ["seed=1", "cae.learning_rate=0.1", "cae.loss.minimal=2", "cae.max_steps=900", "data.seed=3",
            "data.lesions.contrast=0.5", "cae.model.width=8", "data.crop=0.5"],
    "ncc": ["seed=1", "ncc.learning_rate=0.1", "ncc.pairs=9"],
    "sampler": ["seed=1", "sampler.crops=4", "data.flip=true"],
}  # fmt: skip
FREE = ("data.workers=2", "data.cache=false", "logging.every=1", "trainer.threads=1", "traverse.frames=3",
        "manifold.neighbours=3", "counterfactual.steps=5", "trainer.accelerator=cpu")  # fmt: skip


@pytest.mark.parametrize("finished", [False, True], ids=["interrupted", "finished"])
@pytest.mark.parametrize(("stage", "option"), [(stage, option) for stage in OTHER for option in OTHER[stage]])
def test_what_goes_on_with_another_option_is_refused_in_words(stage, option, finished, tmp_path):
    RunFolder(config_in(tmp_path)).prepare(stage)
    fill(tmp_path, f"{'checkpoints' if stage == 'cae' else f'{stage}_checkpoints'}/last.ckpt")
    if finished:
        fill(tmp_path, OUTPUTS[stage][0])
    before = files(tmp_path), (tmp_path / "own" / "stages.json").read_text()
    name, _, value = option.partition("=")
    with pytest.raises(UserError, match=rf"'{name}' is .*{re.escape(value)}.*, but the run was started with"
                       " .*give that value to continue, or overwrite=true .*or name=… to write elsewhere"):  # fmt: skip
        RunFolder(config_in(tmp_path, "resume=last", option)).prepare(stage)
    assert (files(tmp_path), (tmp_path / "own" / "stages.json").read_text()) == before
    start = RunFolder(config_in(tmp_path, "resume=last", *FREE)).prepare(stage)
    assert start.finished if finished else start.checkpoint is not None


def test_the_options_of_one_stage_are_not_those_of_another(tmp_path):
    RunFolder(config_in(tmp_path, "cae.learning_rate=0.1")).prepare("cae")
    fill(tmp_path, "checkpoints/last.ckpt")
    RunFolder(config_in(tmp_path, "sampler.crops=3")).prepare("sampler")
    assert RunFolder(config_in(tmp_path, "resume=last", "cae.learning_rate=0.1")).prepare("cae").checkpoint


def test_a_training_goes_on_with_the_models_and_data_that_it_began_with(tmp_path):
    close = {"data": lambda before, now: "" if abs(before - now) < 0.1 else "brighter images"}
    RunFolder(config_in(tmp_path)).prepare("cae", {"data": 1.0, "classifier": "a"}, close)
    fill(tmp_path, "checkpoints/last.ckpt")
    again = RunFolder(config_in(tmp_path, "resume=last"))
    again.depends_on("cae", {"oracle": "b"})  # not known before
    again.prepare("cae", {"data": 1.05, "classifier": "a"}, close)
    again.depends_on("cae", {"oracle": "b"})
    with pytest.raises(UserError, match=r"the data are others than those .* \(brighter images\)"):
        again.prepare("cae", {"data": 2.0, "classifier": "a"}, close)
    with pytest.raises(UserError, match=r"another classifier \(fingerprint a\) than the present one \(c\)"):
        again.prepare("cae", {"data": 1.0, "classifier": "c"}, close)
    with pytest.raises(UserError, match=r"another oracle \(fingerprint b\) than the present one \(c\)"):
        again.depends_on("cae", {"oracle": "c"})
    RunFolder(config_in(tmp_path, "overwrite=true")).prepare("cae", {"data": 2.0, "classifier": "c"}, close)
    again.depends_on("cae", {"oracle": "c"})


def test_more_steps_of_a_training_whose_steps_do_not_depend_on_their_number(tmp_path):
    RunFolder(config_in(tmp_path, "ncc.steps=10")).prepare("ncc")
    fill(tmp_path, "ncc_checkpoints/last.ckpt")
    assert RunFolder(config_in(tmp_path, "ncc.steps=20", "resume=last")).prepare("ncc").checkpoint
    fill(tmp_path, "ncc.safetensors")
    with pytest.raises(UserError, match="'ncc.steps' is 30, but the run was started with 20"):
        RunFolder(config_in(tmp_path, "ncc.steps=30", "resume=last")).prepare("ncc")


def test_a_run_of_version_0_1_goes_on_if_its_sizes_are_the_same(tmp_path):
    RunFolder(config_in(tmp_path, "cae.model.class_dim=4", "data.image_size=32")).prepare("cae")
    (tmp_path / "own" / "stages.json").unlink()
    fill(tmp_path, "checkpoints/last.ckpt")
    with pytest.raises(UserError) as raised:
        RunFolder(config_in(tmp_path, "resume=last", "cae.pairs=2")).prepare("cae")
    assert len(raised.value.problems) == 2
    assert "'cae.model.class_dim' is 8, but the run was started with 4" in str(raised.value)
    same = config_in(tmp_path, "resume=last", "cae.pairs=2", "cae.model.class_dim=4", "data.image_size=32")
    assert RunFolder(same).prepare("cae").checkpoint is not None


def test_a_requeued_job_goes_on_even_if_it_was_to_overwrite(tmp_path, monkeypatch):
    fill(tmp_path, "checkpoints/last.ckpt")
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    start = RunFolder(config_in(tmp_path, "overwrite=true")).prepare("cae")
    assert start == Start(tmp_path / "own" / "checkpoints" / "last.ckpt")


@pytest.mark.parametrize("variable", ["RANK", "LOCAL_RANK", "SLURM_PROCID", "NODE_RANK"])
def test_only_the_first_process_clears_and_saves(variable, tmp_path, monkeypatch):
    fill(tmp_path, "cae.safetensors")
    monkeypatch.setenv(variable, "1")
    for options in ([], ["overwrite=true"]):
        assert RunFolder(config_in(tmp_path, *options)).prepare("cae") == Start(None)
    assert RunFolder(config_in(tmp_path, "resume=last")).prepare("cae").finished
    assert files(tmp_path) == {"cae.safetensors"}
    monkeypatch.setenv(variable, "0")
    with pytest.raises(UserError, match="exists"):
        RunFolder(config_in(tmp_path)).prepare("cae")


def test_what_belongs_to_one_call_is_not_saved(tmp_path):
    for option in ("resume=last", "overwrite=true"):
        RunFolder(config_in(tmp_path, option)).prepare("cae")
        saved = load_run_config(tmp_path / "own")
        assert (saved.resume, saved.overwrite) == (None, False)


def test_a_folder_that_cannot_be_made_is_told_in_words(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(UserError, match="cannot be made"):
        RunFolder(config_in(tmp_path / "file")).prepare("cae")


def test_a_missing_run_or_file_says_how_to_make_it(tmp_path):
    with pytest.raises(UserError, match=r"config\.yaml' is missing"):
        load_run_config(tmp_path / "own")
    run = RunFolder(config_in(tmp_path))
    with pytest.raises(UserError, match=r"cae\.safetensors' is missing: make it with `python train\.py cae"):
        run.require("cae.safetensors", "python train.py cae …")
    fill(tmp_path, "cae.safetensors")
    assert run.require("cae.safetensors", "python train.py cae …").is_file()


def test_explanations_go_on_unless_they_are_to_be_overwritten(tmp_path):
    fill(tmp_path, "explanations/manifold/b.png")
    folder = RunFolder(config_in(tmp_path)).explanations("traverse")
    write_json(folder / "deep" / "a.json", {})
    RunFolder(config_in(tmp_path)).explanations("traverse")
    assert "explanations/traverse/deep/a.json" in files(tmp_path)
    assert RunFolder(config_in(tmp_path, "overwrite=true")).explanations("traverse") == folder
    assert folder.is_dir()
    assert files(tmp_path) == {"explanations/manifold/b.png"}


def test_merging_keeps_the_run_except_for_what_is_explicit():
    own = ["seed=7", "cae.model.class_dim=4", "trainer.accelerator=gpu", "data.columns.label=y"]
    saved = load_config(overrides=own)
    config = load_config(overrides=["cae.model.class_dim=16", "cae.pairs=3", "data.columns.path=p"])
    merged = merge_saved(config, saved, {"cae.pairs"})
    assert (merged.seed, merged.cae.model.class_dim, merged.cae.pairs) == (7, 4, 3)
    assert merged.trainer.accelerator == "auto"
    assert merge_saved(config, saved, {"data.columns.path"}).data.columns == config.data.columns
    assert saved.cae.pairs == Config().cae.pairs


def explained(folder: Path, *arguments: str) -> Config:
    return explanation_config(parse(["traverse", f"runs={folder}", "name=own", *arguments], COMMANDS, "explain.py"))


def test_an_explanation_takes_what_was_trained_from_the_run(tmp_path):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("data:\n  image_size: 64\ncae:\n  model:\n    class_dim: 8\ncounterfactual:\n  steps: 9\n")
    trained = load_config([recipe], [f"runs={tmp_path}", "name=own", "cae.model.class_dim=4", "data.image_size=32"])
    save_config(trained, tmp_path / "own" / "config.yaml")

    config = explained(tmp_path, str(recipe), "traverse.limit=2")
    assert (config.cae.model.class_dim, config.data.image_size) == (4, 32)
    assert (config.traverse.limit, config.counterfactual.steps) == (2, 9)

    recipe.write_text("counterfactual:\n  steps: 11\n")
    assert explained(tmp_path, str(recipe)).counterfactual.steps == 11
    assert explained(tmp_path).counterfactual.steps == 9
    assert explained(tmp_path, "data.path=moved", "data.batch_size=3").data.batch_size == 3


def test_an_explanation_runs_where_it_is_called_not_where_the_run_was_trained(tmp_path):
    trained = config_in(tmp_path, "trainer.accelerator=gpu", "logging.progress=false", "traverse.limit=5")
    save_config(trained, tmp_path / "own" / "config.yaml")
    (tmp_path / "own").rename(tmp_path / "moved")
    config = explained(tmp_path, "name=moved")
    assert config.name == "moved"
    assert (config.trainer.accelerator, config.logging.progress, config.traverse.limit) == ("auto", True, None)


def test_an_explanation_without_a_saved_run_keeps_its_own_options(tmp_path):
    assert explained(tmp_path, "seed=3").seed == 3


def test_an_explanation_that_contradicts_the_run_is_told_in_words(tmp_path):
    save_config(config_in(tmp_path), tmp_path / "own" / "config.yaml")
    save_config(load_config(overrides=["data.source=folder", "data.path=x"]), tmp_path / "own" / "config.yaml")
    with pytest.raises(UserError, match=r"needs data\.path"):
        explained(tmp_path, "data.path=")
