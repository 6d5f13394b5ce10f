"""The log of a training: continued from the resumed step on, and whole at every moment."""

from __future__ import annotations

import os

import pytest

from cae.training.csv_log import ContinuedCSVLogger, read_log


def log_of(folder, *rows, keep=False):
    logger = ContinuedCSVLogger(folder, "", keep=keep)
    for step, metrics in rows:
        logger.log_metrics(metrics, step)
    logger.finalize("success")
    return logger


def test_a_resumed_log_goes_on_where_the_training_does(tmp_path):
    log_of(tmp_path, (1, {"loss": 0.5}), (2, {"score": 0.25}), (3, {"loss": 0.75}))
    log_of(tmp_path, (3, {"loss": 1.5}), (3, {"accuracy": 1.0}), (4, {"loss": 0.0}), keep=True)
    assert read_log(tmp_path / "metrics.csv") == [
        {"step": "1", "loss": "0.5"}, {"step": "2", "score": "0.25"}, {"step": "3", "loss": "1.5"},
        {"step": "3", "accuracy": "1.0"}, {"step": "4", "loss": "0.0"},
    ]  # fmt: skip


def test_a_log_of_a_training_that_has_nothing_left_to_do_stays(tmp_path):
    log_of(tmp_path, (1, {"loss": 0.5}))
    before = (tmp_path / "metrics.csv").read_bytes()
    assert log_of(tmp_path, keep=True).experiment is not None
    assert (tmp_path / "metrics.csv").read_bytes() == before


def test_a_new_training_replaces_the_log_of_the_one_before(tmp_path):
    log_of(tmp_path, (1, {"loss": 0.5}))
    log_of(tmp_path, (1, {"score": 0.25}))
    assert read_log(tmp_path / "metrics.csv") == [{"step": "1", "score": "0.25"}]


@pytest.mark.parametrize("rows", [[(2, {"score": 0.25})], [(1, {"loss": 0.25})]])
def test_a_log_loses_no_line_where_the_program_ends_in_the_midst_of_a_rewrite(rows, tmp_path, monkeypatch):
    log_of(tmp_path, (0, {"loss": 0.5}), (1, {"loss": 0.75}))
    before = (tmp_path / "metrics.csv").read_bytes()

    def ends(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", ends)
    with pytest.raises(KeyboardInterrupt):
        log_of(tmp_path, *rows, keep=True)
    assert (tmp_path / "metrics.csv").read_bytes() == before
