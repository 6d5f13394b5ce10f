import os

import pytest

from cae.errors import UserError
from cae.experiments.definition import read_experiment
from cae.experiments.jobs import expand
from cae.files import read_json, write_json
from explainers.commands import experiment_launch, programs
from explainers.commands.experiment import experiment
from explainers.commands.experiment_job import JobRun

WORDS = [*programs.TRAIN, *programs.EXPLAIN]
TRAININGS = "base: lesions\nseeds: [0]\narms: {ours: {}}\ncommands: [classifier, cae, traverse]\nshared: [classifier]\n"


@pytest.fixture
def file(tmp_path):
    def write(text):
        path = tmp_path / "trial.yaml"
        path.write_text(text, encoding="utf-8")
        return [str(path), f"runs={tmp_path / 'runs'}"]

    return write


@pytest.fixture
def called(monkeypatch):
    """The programs do nothing but note their arguments; a word in ``fails`` is a mistake of the user."""
    calls, fails = [], set()

    def program(argv):
        calls.append(argv)
        if argv[0] in fails:
            raise UserError(f"no {argv[0]} today")

    monkeypatch.setattr(programs, "train", program)
    monkeypatch.setattr(programs, "explain", program)
    return calls, fails


@pytest.mark.slow
def test_jobs_run_in_processes_and_a_failure_ends_no_other(file, tmp_path, capsys):
    arms = "{broken: {method: nonsense}, lists: {method: list}}"
    arguments = file(
        f"base: lesions\narms: {arms}\ncommands: [run]\njobs_at_once: 2\noptions: {{trainer.threads: 1}}\n"
    )
    before = dict(os.environ)
    with pytest.raises(UserError, match="1 of 2 jobs have no figures"):
        programs.train(["experiment", *arguments])
    assert os.environ == before
    out, error = capsys.readouterr()
    assert "lists-seed0: finished" in out
    assert "* broken-seed0: failed" in out
    assert "nonsense" in error
    folder = tmp_path / "runs" / "trial"
    logs = [path.read_text() for path in (folder / "logs").glob("*.out")]
    assert any("methods, and their options" in log for log in logs)


def test_a_borrower_gets_the_lenders_stages_and_their_figures(file, called):
    calls, _ = called
    lender, job = expand(read_experiment(file(TRAININGS), WORDS))
    lender.folder.mkdir(parents=True)
    for name in ("classifier.safetensors", "classifier.json"):
        (lender.folder / name).write_text(name)
    write_json(lender.folder / "metrics.json", {"classifier/test_accuracy": 0.9, "seconds": 3})
    JobRun()(job, lender.folder)
    assert [words[0] for words in calls] == ["cae", "traverse"]
    assert calls[0][-1] == "resume=last"
    assert "resume=last" not in calls[1]
    assert (job.folder / "classifier.safetensors").read_text() == "classifier.safetensors"
    assert read_json(job.folder / "metrics.json") == {"classifier/test_accuracy": 0.9}
    assert job.record()["status"] == "finished"


def test_a_job_goes_on_after_the_call_that_failed(file, called):
    calls, fails = called
    (job,) = expand(read_experiment(file(TRAININGS.replace("shared: [classifier]", "")), WORDS))
    fails.add("cae")
    JobRun()(job, None)
    assert job.record()["reason"] == "no cae today"
    assert [call.word for call in job.remaining()] == ["cae", "traverse"]
    fails.clear()
    calls.clear()
    JobRun()(job, None)
    assert [words[0] for words in calls] == ["cae", "traverse"]
    assert job.record()["status"] == "finished"


def test_without_a_lender_nothing_is_trained(file, called):
    calls, _ = called
    lender, job = expand(read_experiment(file(TRAININGS), WORDS))
    JobRun()(job, lender.folder)
    assert calls == []
    assert "has no classifier to lend" in job.record()["reason"]


def test_a_cluster_that_is_not_there_is_a_sentence(file, monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(UserError, match="this machine has no SLURM"):
        experiment([*file(TRAININGS), "executor=slurm"], WORDS)


@pytest.fixture
def cluster(tmp_path, monkeypatch):
    """Programs of SLURM that take every job, and say of each that it is over."""
    programs = tmp_path / "programs"
    programs.mkdir()
    number = f"$(ls {programs} | grep -c script)"
    answers = {
        "sbatch": f'n={number}; cp "$1" {programs}/script$n; echo "Submitted batch job 1$n"',
        "sacct": 'echo "JobID|State|NodeList"; for job in 10_0 10_1 11_0 11_1; do echo "$job|COMPLETED|node"; done',
        "srun": "exit 0",
    }
    for name, answer in answers.items():
        (programs / name).write_text(f"#!/bin/bash\n{answer}\n")
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    return programs


def test_a_cluster_gets_an_array_of_lenders_and_after_it_one_of_borrowers(file, cluster, capsys, monkeypatch):
    monkeypatch.setattr(experiment_launch, "POLL", 0.02)
    slurm = "slurm={timeout_min: 90, slurm_partition: long, gpus_per_node: 1}"
    with pytest.raises(UserError, match="4 of 4 jobs have no figures"):
        experiment([*file(TRAININGS), "executor=slurm", "seeds=[0,1]", slurm], WORDS)
    lenders, borrowers = ((cluster / f"script{number}").read_text() for number in range(2))
    for line in ("--array=0-1%2", "--time=90", "--partition=long", "--gpus-per-node=1", "--job-name=trial"):
        assert f"#SBATCH {line}\n" in lenders
    assert "dependency" not in lenders
    assert "#SBATCH --dependency=afterany:10\n" in borrowers
    assert "* ours-seed0: missing, not begun" in capsys.readouterr().out


def test_a_job_takes_one_device(file):
    with pytest.raises(UserError, match=r"takes one device, but trainer\.devices=2"):
        experiment([*file(TRAININGS), "trainer.devices=2"], WORDS)
