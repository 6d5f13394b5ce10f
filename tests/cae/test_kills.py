"""Killed at any moment, and started again: nothing is lost, nothing is read half written, and the end is the same."""

from __future__ import annotations

import json
import os
import random
import signal
from collections.abc import Callable
from dataclasses import asdict, replace

import pytest
import torch
from killed import Told, config_in, contents, ended, killed_at_rename, killed_until_done, no_rests, write_models
from safetensors.torch import load_file
from tiny_training import same

from cae.commands.train import cae_stage, classifier_stage, oracle_stage
from cae.files import read_json, read_tensors, write_json, write_weights
from cae.runs.run_lock import LOCK, Owner
from cae.training.cae_module import CAEModule
from cae.written_files import remove_temporaries
from explainers.commands.compare import explain_images

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="a system without fork")


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_a_file_written_when_the_process_is_killed_is_the_former_or_the_new_one(after, tmp_path):
    path, weights = tmp_path / "own.json", tmp_path / "own.safetensors"
    for number in range(13):
        before = read_json(path)

        def work(number=number) -> None:
            write_weights(weights, {"a": torch.full((9,), float(number))}, "own", {"number": number})
            write_json(path, {"number": number})

        assert not ended(killed_at_rename(1 + number % 2, after, work))
        found = read_json(path)
        assert found in (before, {"number": number})
        if weights.exists():
            header, tensors = read_tensors(weights, "own")
            assert torch.equal(tensors["a"], torch.full((9,), float(header["number"])))
        work()
    remove_temporaries(tmp_path)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["own.json", "own.safetensors"]


def test_a_training_killed_around_every_rename_ends_as_one_that_was_not(tmp_path):
    config = config_in(tmp_path / "killed", "resume=last")
    kills = killed_until_done(lambda: classifier_stage(config))
    assert kills >= 7
    assert ended(lambda: classifier_stage(config_in(tmp_path / "whole")))
    killed, whole = tmp_path / "killed" / "own", tmp_path / "whole" / "own"
    assert read_json(killed / "metrics.json") == read_json(whole / "metrics.json")
    names = ("classifier.safetensors", "classifier.json", "stages.json", "classifier_logs/metrics.csv")
    assert [(killed / name).read_bytes() for name in names] == [(whole / name).read_bytes() for name in names]
    for name in ("best", "last"):
        states = [
            torch.load(run / "classifier_checkpoints" / f"{name}.ckpt", weights_only=True) for run in (killed, whole)
        ]
        assert same(states[0]["state_dict"], states[1]["state_dict"])
    assert no_rests(killed)


@pytest.mark.slow
def test_a_stage_that_is_killed_at_its_very_end_lacks_no_figure(tmp_path):
    for name in ("killed", "whole"):
        write_models(tmp_path / name / "own")
        for path in (tmp_path / name / "own").glob("oracle.*"):
            path.unlink()
    own, whole = tmp_path / "killed" / "own", tmp_path / "whole" / "own"
    options = ("oracle.epochs=1", "resume=last")
    kills = killed_until_done(lambda: oracle_stage(config_in(tmp_path / "killed", *options)), own / "metrics.json")
    assert kills >= 4
    assert ended(lambda: oracle_stage(config_in(tmp_path / "whole", *options)))
    for name in ("metrics.json", "oracle.safetensors", "oracle_confusion.png"):
        assert (own / name).read_bytes() == (whole / name).read_bytes(), name
    assert no_rests(own)


def test_of_eight_trainings_that_start_at_once_one_trains_and_all_others_are_told_so(tmp_path):
    config = config_in(tmp_path, "classifier.epochs=1", "resume=last")
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / LOCK).write_text(json.dumps(asdict(replace(Owner.present(), pid=2**22 + 1, start="1"))))
    found = [program.wait() for program in [Told(lambda: classifier_stage(config)) for _ in range(8)]]
    assert {code for code, _ in found} <= {0, 2}, found
    trained = [said for code, said in found if code == 0]
    assert trained  # one that came when the first had ended found its work done
    assert all(f"'{tmp_path / 'own'}' is in use: process" in said for code, said in found if code == 2), found
    assert len(found) - len(trained) >= 4
    assert ended(lambda: classifier_stage(config_in(tmp_path / "whole", "classifier.epochs=1")))
    own, whole = tmp_path / "own", tmp_path / "whole" / "own"
    for name in ("classifier.safetensors", "metrics.json", "classifier_logs/metrics.csv"):
        assert (own / name).read_bytes() == (whole / name).read_bytes(), name
    assert no_rests(own)


@pytest.mark.slow
def test_explanations_killed_around_every_rename_end_as_those_that_were_not(tmp_path):
    for name in ("killed", "whole"):
        write_models(tmp_path / name / "own")
    options = ("explain.limit=4", "explain.figures=1", "explain.metrics=none", "explain.options=[occlusion.window=8]")

    def work(name: str) -> Callable[[], None]:
        return lambda: explain_images(config_in(tmp_path / name, *options), ["random", "occlusion"], "compare")

    assert killed_until_done(work("killed")) >= 7
    assert ended(work("whole"))
    killed, whole = (tmp_path / name / "own" / "explanations" / "compare" for name in ("killed", "whole"))
    found, expected = contents(killed), contents(whole)
    maps = [name for name in expected if name.startswith("maps/")]
    assert len(maps) == 8
    assert found.keys() == expected.keys()
    for name in maps:  # which also hold the seconds that they took
        parts = [load_file(folder / name) for folder in (killed, whole)]
        assert torch.equal(parts[0]["attribution"], parts[1]["attribution"])
    others = [name for name in expected if name not in maps and not name.endswith(".png")]  # figures tell seconds
    assert others
    assert [found[name] for name in others] == [expected[name] for name in others]
    assert no_rests(killed)


@pytest.mark.slow
def test_an_embedding_killed_twenty_times_at_any_step_ends_as_one_that_was_not(tmp_path):
    for name in ("killed", "whole"):
        write_models(tmp_path / name / "own")
    steps = ("cae.max_steps=60", "cae.validate_every=3")
    moments, kills = random.Random(0), 0

    def doomed(step: int) -> Callable[[], None]:
        def work() -> None:
            batch = CAEModule.training_step

            def training_step(self, *arguments):
                if self.global_step == step:
                    os.kill(os.getpid(), signal.SIGKILL)
                return batch(self, *arguments)

            CAEModule.training_step = training_step  # of this process alone
            cae_stage(config_in(tmp_path / "killed", *steps, "resume=last"))

        return work

    for number in range(20):
        kills += not ended(doomed(3 * number + moments.randrange(3)))
    assert kills == 20
    assert ended(lambda: cae_stage(config_in(tmp_path / "killed", *steps, "resume=last")))
    assert ended(lambda: cae_stage(config_in(tmp_path / "whole", *steps)))
    killed, whole = tmp_path / "killed" / "own", tmp_path / "whole" / "own"
    for name in ("cae.safetensors", "manifold.safetensors", "metrics.csv", "stages.json"):
        assert (killed / name).read_bytes() == (whole / name).read_bytes(), name
    figures = [read_json(run / "metrics.json") for run in (killed, whole)]
    assert {name: value for name, value in figures[0].items() if not name.startswith("seconds")} == {
        name: value for name, value in figures[1].items() if not name.startswith("seconds")
    }
    assert no_rests(killed)


@pytest.mark.slow
def test_a_deterministic_training_repeats_bit_for_bit(tmp_path):
    for name in ("first", "second"):
        assert ended(lambda name=name: classifier_stage(config_in(tmp_path / name, "classifier.epochs=2")))
    first, second = tmp_path / "first" / "own", tmp_path / "second" / "own"
    for name in ("classifier.safetensors", "metrics.json", "classifier_logs/metrics.csv"):
        assert (first / name).read_bytes() == (second / name).read_bytes(), name


@pytest.mark.slow
def test_an_embedding_repeats_bit_for_bit_and_forgets_nothing_where_it_is_resumed_at_its_end(tmp_path):
    options, names = ("cae.max_steps=6", "cae.validate_every=3"), ("first", "second")
    for name in names:
        write_models(tmp_path / name / "own")
        assert ended(lambda name=name: cae_stage(config_in(tmp_path / name, *options)))
    first, second = (tmp_path / name / "own" for name in names)
    figures = read_json(first / "metrics.json")
    assert {"cae/validation_last", "cae/training_last"} <= figures.keys()
    for _ in range(2):
        for name in ("cae.safetensors", "manifold.safetensors", "metrics.csv"):
            assert (first / name).read_bytes() == (second / name).read_bytes(), name
        again = read_json(second / "metrics.json")
        assert all(again[name] == value for name, value in figures.items() if not name.startswith("seconds"))
        (second / "cae.safetensors").unlink()  # as if it was killed before it wrote them
        (second / "metrics.json").unlink()
        assert ended(lambda: cae_stage(config_in(tmp_path / "second", *options, "resume=last")))
