"""Killed, moved, continued, and explained in another number of processes, a run holds what an undisturbed one holds."""

from __future__ import annotations

import csv
import dataclasses
import os
import random
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch
from killed import computing_time, config_in, ended, killed_after, no_rests
from safetensors.torch import load_file
from two_processes import in_two_processes

from cae.commands.train import cae_stage, classifier_stage
from cae.commands.traverse import traverse
from cae.config import Config
from cae.files import read_json
from cae.tables.index import read_index
from explainers.commands.compare import compare

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="a system without fork"),
    pytest.mark.slow,
]
TRAININGS: dict[str, Callable[[Config], None]] = {"classifier": classifier_stage, "cae": cae_stage}
EXPLANATIONS: dict[str, Callable[[Config], None]] = {"traverse": traverse, "compare": compare}
OPTIONS = ("oracle.epochs=3", "classifier.epochs=8", "classifier.learning_rate=0.02", "counterfactual.steps=5",
           "manifold.embeddings=[pca]", "traverse.limit=9", "traverse.gif=false", "traverse.save=all",
           "explain.limit=6", "explain.figures=1",
           "explain.metrics=none", "methods=[random,cae]")  # fmt: skip
KILLS = {"classifier": 2, "cae": 4, "traverse": 5, "compare": 5}


def test_a_run_that_was_killed_moved_continued_and_shared_out_is_equal_to_one_that_was_not(tmp_path):
    draw, place = random.Random(0), 0
    steps = {**TRAININGS, **EXPLANATIONS}
    whole, runs = tmp_path / "whole", tmp_path / "runs0"
    takes = {name: computing_time(partial(step, config_in(whole, *OPTIONS))) for name, step in steps.items()}
    kills = 0
    for name, step in steps.items():
        more = ["resume=last"] if name in TRAININGS else []
        for _ in range(KILLS[name]):
            work = partial(step, config_in(runs, *OPTIONS, *more))
            kills += not ended(killed_after(draw.uniform(0, 0.7 * takes[name]), work))
            place += 1
            if runs.exists():
                runs = Path(shutil.move(runs, tmp_path / f"runs{place}"))
        if name in TRAININGS:
            assert ended(partial(step, config_in(runs, *OPTIONS, *more)))
        else:
            in_two_processes(step, config_in(runs, *OPTIONS, "trainer.devices=2"))
    assert kills >= 8  # what is done already is not done again, and may end before its time
    compare_runs(runs / "own", whole / "own")


def rows_of(log: Path) -> set[frozenset[tuple[str, str]]]:
    """What the rows of a log say, whatever other columns there are."""
    with log.open(newline="") as file:
        return {frozenset((name, value) for name, value in row.items() if value) for row in csv.DictReader(file)}


def compare_runs(found: Path, expected: Path) -> None:
    """Every weight, code, log, figure, row and map."""
    for name in ("classifier", "oracle", "cae", "manifold"):
        assert (found / f"{name}.safetensors").read_bytes() == (expected / f"{name}.safetensors").read_bytes(), name
    for name in ("classifier_logs/metrics.csv", "oracle_logs/metrics.csv", "metrics.csv"):
        rows = [rows_of(run / name) for run in (found, expected)]
        assert rows[0] == rows[1] != set(), name
    assert (found / "stages.json").read_bytes() == (expected / "stages.json").read_bytes()
    figures = [read_json(run / "metrics.json") for run in (found, expected)]
    timeless = [{name: value for name, value in one.items() if "seconds" not in name} for one in figures]
    assert timeless[0] == timeless[1]
    explained = [run / "explanations" for run in (found, expected)]
    rows = [
        [dataclasses.replace(row, seconds=0) for row in read_index(f / "traverse" / "index.parquet")] for f in explained
    ]
    assert rows[0] == rows[1]
    assert len(rows[0]) == 9
    for path in sorted(explained[1].rglob("*.safetensors")):
        parts = [load_file(path), load_file(explained[0] / path.relative_to(explained[1]))]
        assert parts[0].keys() == parts[1].keys()
        for name, value in parts[0].items():
            assert "seconds" in name or torch.equal(value, parts[1][name]), (path.name, name)
    assert no_rests(found)
