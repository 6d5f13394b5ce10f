"""What CONTRIBUTING.md adds by one file and one line works as it stands there."""

from __future__ import annotations

import importlib
import os
import shutil
import sys
from pathlib import Path

import forked
import pytest
import torch
from code_blocks import blocks_of

from cae.classifiers import TargetClassifier
from cae.config import DataConfig, data_sources
from cae.data import open_source
from explainers import registry

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "CONTRIBUTING.md"
BLOCKS = [block for block in blocks_of(PAGE) if block.title]


def place(title: str) -> str:
    """Dotted name of the module at a path."""
    return title.removesuffix(".py").replace("/", ".")


@pytest.fixture
def added(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Writes the file of an example outside the packages; returns its entry of a table there, ``{name: value}``."""

    def add(file: str, table: str, names: dict[str, object]) -> dict:
        source = next(block.code for block in BLOCKS if block.title == file)
        line = next(block.code for block in BLOCKS if block.title == table)
        module = f"contributed_{Path(file).stem}"
        (tmp_path / f"{module}.py").write_text(source, encoding="utf-8")
        monkeypatch.syspath_prepend(tmp_path)
        monkeypatch.delitem(sys.modules, module, raising=False)
        importlib.import_module(module)
        assert len(line.strip().splitlines()) == 1
        return eval("{" + line.replace(place(file), module) + "}", dict(names))

    return add


def test_the_explainer_is_one_file_and_one_line(added, monkeypatch):
    entry = added("explainers/baselines/quarters.py", "explainers/registry.py", {"Entry": registry.Entry})
    for name, value in entry.items():
        monkeypatch.setitem(registry.EXPLAINERS, name, value)

    # a classifier of the mean of the upper left quarter: the answer is known exactly
    def network(x):
        mean = torch.as_tensor(x)[:, :, :4, :4].mean((1, 2, 3))
        return torch.stack([1 - mean, mean], 1)

    classifier = TargetClassifier(network, ["dark", "bright"], image_shape=(1, 8, 8), scores="probabilities")
    explainer = registry.get_explainer("quarters", classifier, grey=0.25)
    found = explainer(torch.full((2, 1, 8, 8), 0.75))
    assert found.method == "quarters"
    assert found.parameters == {"batch_size": 64, "grey": 0.25}
    torch.testing.assert_close(found.attribution[0, 0, :4, :4], torch.full((4, 4), 0.5))
    assert found.attribution[0, 0, 4:].abs().max() == 0
    assert found.evaluations.tolist() == [5, 5]
    assert "quarters" in registry.list_explainers()
    assert registry.parse_options(["quarters.grey=0.1"], ["quarters"]) == {"quarters": {"grey": 0.1}}


def test_the_data_source_is_one_file_and_one_line(added, monkeypatch):
    known = {"DataSource": data_sources.DataSource}
    for name, value in added("cae/data/stripes.py", "cae/config/data_sources.py", known).items():
        monkeypatch.setitem(data_sources.SOURCES, name, value)
    config = DataConfig(source="stripes", image_size=16, channels=1)
    splits, again = open_source(config), open_source(config)
    assert splits.classes == ("lying", "standing")
    assert [len(part) for part in (splits.train, splits.val, splits.test)] == [44, 8, 8]
    sample = splits.train[0]
    assert sample.image.shape == (1, 16, 16)
    assert sample.mask is not None
    assert int(sample.mask.sum()) == 3 * 16
    assert float(sample.image[sample.mask].min()) > float(sample.image[~sample.mask].max())
    torch.testing.assert_close(sample.image, again.train[0].image)


USE_OF_THE_METRIC = """
from dataclasses import fields
from types import SimpleNamespace

import torch

from cae.tables.index import IndexRow
from cae.tables.metric_table import METRICS
from cae.tables.scored_result import ScoredResult

metric = next(metric for metric in METRICS if metric.name == "half_share")
for saliency in (torch.ones(1, 4, 4).where(torch.arange(4) < 2, 0), None):
    print(metric.value(ScoredResult(SimpleNamespace(saliency=saliency), probabilities=None, margin=0.05)))
print(metric.better, "half_share" in {field.name for field in fields(IndexRow)})
"""


@pytest.mark.skipif(not (ROOT / "cae/tables/metric_table.py").exists(), reason="there is no table of metrics yet")
def test_the_metric_of_counterfactuals_is_one_function_and_one_entry(tmp_path):
    """In a copy of the package, since the columns of the index are made when it is imported."""
    shutil.copytree(ROOT / "cae", tmp_path / "cae", ignore=shutil.ignore_patterns("weights", "__pycache__"))
    formulas, table = (next(block for block in BLOCKS if block.title == f"cae/tables/{name}.py")
                       for name in ("formulas", "metric_table"))  # fmt: skip
    path = tmp_path / formulas.title
    path.write_text(path.read_text(encoding="utf-8") + "\n\n" + formulas.code, encoding="utf-8")
    path = tmp_path / table.title
    text = path.read_text(encoding="utf-8")
    assert text.count("\nCHANGE = (\n") == 1
    path.write_text(
        text.replace("\nCHANGE = (\n", f"\nCHANGE = (\n{table.code.rstrip()},\n"),
        encoding="utf-8",
    )
    (tmp_path / "use.py").write_text(USE_OF_THE_METRIC, encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = forked.run(["use.py"], tmp_path, environment)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["0.25", "None", "lower", "True"]
