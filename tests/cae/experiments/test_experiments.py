import json

import pytest

from cae.errors import UserError
from cae.experiments.definition import read_experiment
from cae.experiments.figures import draw_arms
from cae.experiments.gathering import figures_of, lines, outcome
from cae.experiments.jobs import RECORD, call_note, expand
from cae.experiments.tables import markdown, write_results
from cae.files import write_json

WORDS = ("classifier", "oracle", "cae", "traverse", "compare")
FILE = """
base: lesions
options:
  data.seed: ${seed}
  logging: {wandb: off}
arms:
  ours: {}
  small: {cae: {model.width: 4}}
  bright: {data.lesions.contrast: 3}
seeds: [0, 1]
commands: [classifier, oracle, cae, traverse, {traverse: {traverse.folder: back}}]
shared: [classifier, oracle]
"""


def written(tmp_path, text, name="trial.yaml"):
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return str(path)


def experiment(tmp_path, text=FILE, *arguments):
    return read_experiment([written(tmp_path, text), f"runs={tmp_path}", *arguments], WORDS)


def finish(job, figures):
    write_json(job.folder / "metrics.json", figures)
    write_json(job.folder / RECORD, {"status": "finished", "finished": [call_note(call) for call in job.calls]})


def test_every_arm_has_a_job_for_each_seed_with_its_options_over_those_of_all(tmp_path):
    jobs = {job.name: job for job in expand(experiment(tmp_path, FILE, "cae.pairs=8"))}
    small = jobs["small-seed1"]
    assert [call.word for call in small.calls] == ["cae", "traverse", "traverse"]
    assert {"cae.model.width=4", "seed=1", "data.seed=${seed}", "cae.pairs=8"} <= set(small.calls[0].arguments)
    assert small.calls[0].identity["data.seed"] == 1
    assert "traverse.folder=back" in small.calls[2].arguments
    assert small.folder == tmp_path / "trial" / "small-seed1"


def test_arms_borrow_from_one_lender_unless_they_change_what_is_lent(tmp_path):
    jobs = {job.name: job for job in expand(experiment(tmp_path))}
    assert jobs["ours-seed0"].lender == jobs["small-seed0"].lender == "shared-seed0"
    own = jobs[jobs["bright-seed0"].lender]
    assert own.name == "shared,contrast=3-seed0"
    assert "data.lesions.contrast=3" in own.calls[0].arguments
    assert own.calls[0].word == "classifier"
    assert len(jobs) == 6 + 4


def test_a_grid_is_crossed_with_the_arms(tmp_path):
    text = "base: lesions\narms: {a: {}, b: {cae.loss.undo: 0}}\ngrid: {cae.pairs: [4, 8]}\ncommands: [cae]\n"
    found = experiment(tmp_path, text)
    assert list(found.arms) == ["a,pairs=4", "b,pairs=4", "a,pairs=8", "b,pairs=8"]
    assert found.arms["b,pairs=8"] == {"cae.loss.undo": "0", "cae.pairs": "8"}
    assert found.baseline == "a,pairs=4"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("arms: {a: {}}", "base: name the recipe"),
        ("base: lesions\nbaseline: b\narms: {a: {}}", "baseline: 'b' is none of the arms a"),
        ("base: lesions\narm: {a: {}}", "unknown key 'arm' (did you mean 'arms'?)"),
        ("base: lesions\narms: {a: {cae.pears: 3}}", "arms: a: unknown option 'cae.pears' (did you mean 'cae.pairs'?)"),
        ("base: lesions\noptions: {seed: 3}", "'seed' is set by the experiment itself"),
        ("base: lesions\ncommands: [caes]", "commands: 'caes' is no command (did you mean 'cae'?)"),
        ("base: lesions\nshared: [cae]", "shared: 'cae' cannot be shared"),
        ("base: lesions\nseeds: [1, 1]", "seeds: must be different whole numbers"),
        ("base: lesions\nexecutor: lsf", "executor: must be one of local, slurm, but is 'lsf'"),
        ("base: lesions\narms: [a]", "arms: must be a mapping"),
        ("base: [", "not valid YAML"),
    ],
)
def test_a_mistake_in_the_file_is_told_before_anything_runs(tmp_path, text, words):
    with pytest.raises(UserError) as error:
        experiment(tmp_path, text)
    assert words in str(error.value)


def test_a_wrong_value_is_told_once_for_each_arm(tmp_path):
    text = "base: lesions\narms: {a: {cae.pairs: none}, b: {}}\nseeds: [0, 1, 2]\ncommands: [cae]"
    with pytest.raises(UserError) as error:
        expand(experiment(tmp_path, text))
    assert len(error.value.problems) == 1
    assert error.value.problems[0].startswith("a: ")


def test_finished_calls_are_skipped_and_other_options_refused(tmp_path):
    for job in expand(experiment(tmp_path)):
        finish(job, {})
    assert not any(job.remaining() for job in expand(experiment(tmp_path)))
    longer = FILE.replace("{traverse.folder: back}}", "{traverse.folder: back}}, compare")
    remaining = [[call.word for call in job.remaining()] for job in expand(experiment(tmp_path, longer)) if job.arm]
    assert remaining == [["compare"]] * 6
    with pytest.raises(UserError, match=r"small-seed0' holds results of `cae` with another cae\.model\.width"):
        expand(experiment(tmp_path, FILE.replace("width: 4", "width: 8")))


def test_an_explanations_options_leave_the_training_finished(tmp_path):
    text = "base: lesions\ncommands: [cae, traverse]\n"
    (job,) = expand(experiment(tmp_path, text))
    write_json(job.folder / RECORD, {"finished": [call_note(job.calls[0])]})
    (job,) = expand(experiment(tmp_path, text, "traverse.limit=5", "trainer.threads=2"))
    assert [call.word for call in job.remaining()] == ["traverse"]


def test_differences_are_paired_by_seed_over_the_seeds_that_both_finished(tmp_path):
    jobs = {job.name: job for job in expand(experiment(tmp_path)) if job.arm}
    for name, value in {"ours-seed0": 1.0, "ours-seed1": 5.0, "small-seed0": 2.5, "bright-seed0": 2.0}.items():
        finish(jobs[name], {"cae/reassignment": value})
    finish(jobs["bright-seed1"], {"cae/reassignment": 8.0})
    outcomes = [outcome(job) for job in jobs.values()]
    found = {line.arm: line for line in lines(outcomes, "ours")}
    assert (found["ours"].mean, found["ours"].low, found["ours"].high, found["ours"].difference) == (3, 1, 5, None)
    assert (found["small"].seeds, found["small"].difference, found["small"].pairs) == ((0,), 1.5, 1)
    bright = found["bright"]
    assert (bright.difference, bright.difference_low, bright.difference_high, bright.pairs) == (2, 1, 3, 2)


def test_the_table_says_which_jobs_are_missing_and_why(tmp_path):
    jobs = {job.name: job for job in expand(experiment(tmp_path)) if job.arm}
    finish(jobs["ours-seed0"], {"cae/reassignment": 0.5})
    write_json(jobs["ours-seed1"].folder / RECORD, {"status": "failed", "reason": "no memory", "finished": []})
    write_json(jobs["small-seed0"].folder / RECORD, {"status": "running", "reason": "", "finished": []})
    outcomes = [outcome(job) for job in jobs.values()]
    text = markdown(outcomes, lines(outcomes, "ours"), (), "ours")
    assert "| cae/reassignment | 0.500 | – | – |" in text
    assert "* ours-seed1: failed, no memory" in text
    assert "* small-seed0: missing, stopped" in text
    assert "* bright-seed1: missing, not begun" in text


def test_files_hold_every_figure_and_a_picture_the_chosen_ones(tmp_path):
    jobs = [job for job in expand(experiment(tmp_path)) if job.arm]
    for job in jobs:
        finish(job, {"cae/reassignment": 0.5 + job.seed, "other": 100.0})
    outcomes = [outcome(job) for job in jobs]
    table = lines(outcomes, "ours")
    text = write_results(tmp_path, outcomes, table, ["cae/*"], "ours")
    assert "other" not in text
    results = json.loads((tmp_path / "results.json").read_text())
    assert results["figures"]["small/other"] == 100
    assert results["intervals"]["ours/cae/reassignment"] == [0.5, 1.5]
    assert "0.5" in (tmp_path / "jobs.csv").read_text()
    draw_arms(tmp_path / "figures.png", outcomes, table, ["cae/*"], "ours")
    assert (tmp_path / "figures.png").stat().st_size > 1000


def test_explanations_in_other_folders_count_under_their_names(tmp_path):
    write_json(tmp_path / "metrics.json", {"cae/x": 1, "words": "no number", "true": True})
    write_json(tmp_path / "explanations" / "traverse" / "metrics.json", {"cae/x": 7})
    write_json(tmp_path / "explanations" / "back" / "metrics.json", {"found": 0.5})
    rows = [{"metric": "deletion", "method": "rise", "mean": 0.25}, {"metric": "dice", "method": "rise", "mean": None}]
    write_json(tmp_path / "explanations" / "compare" / "table.json", rows)
    assert figures_of(tmp_path) == {"cae/x": 1, "back/found": 0.5, "compare/rise/deletion": 0.25}
