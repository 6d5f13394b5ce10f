"""The diagnostics are measured once, and anew when anything that they depend on has changed."""

from types import SimpleNamespace

import pytest
from torch import nn

import cae.diagnostics.cache
from cae.config import Config
from cae.diagnostics.cache import cached_diagnostics
from cae.files import read_json


class ClassScorer(nn.Linear):
    def fingerprint(self) -> str:
        return f"{float(self.weight.detach().sum()):.6f}"


DATA = SimpleNamespace(test=[], fingerprint={"names": "a", "levels": {}})


@pytest.fixture
def asked(monkeypatch) -> list[int]:
    calls: list[int] = []

    def diagnose(*_, **__):
        calls.append(1)
        return {"cae/reassignment": float(len(calls))}

    monkeypatch.setattr(cae.diagnostics.cache, "diagnose", diagnose)
    return calls


def test_figures_are_measured_once_and_anew_after_a_change(asked, tmp_path):
    model, classifier, config = nn.Linear(2, 2), ClassScorer(2, 2), Config()

    def ask(**changes):
        for name, value in changes.items():
            setattr(config, name, value)
        return cached_diagnostics(model, classifier, None, SimpleNamespace(), DATA, config, tmp_path)

    assert ask() == ask() == {"cae/reassignment": 1.0}
    assert ask(seed=1) == {"cae/reassignment": 2.0}
    model.weight.data += 1
    assert ask() == {"cae/reassignment": 3.0}
    assert read_json(tmp_path / "metrics.json") == {"cae/reassignment": 3.0}
    assert len(asked) == 3


def test_how_images_are_loaded_does_not_matter(asked, tmp_path):
    model, classifier = nn.Linear(2, 2), ClassScorer(2, 2)
    for workers in (0, 2):
        config = Config()
        config.data.workers = workers
        cached_diagnostics(model, classifier, None, SimpleNamespace(), DATA, config, tmp_path)
    assert len(asked) == 1
