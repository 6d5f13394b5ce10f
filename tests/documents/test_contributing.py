"""What CONTRIBUTING.md adds by one file and one line works as it stands there."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest
import torch
from code_blocks import blocks_of

from cae.classifiers import TargetClassifier
from cae.config import DataConfig
from cae.data import sources
from explainers import registry

PAGE = Path(__file__).resolve().parents[2] / "CONTRIBUTING.md"
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
    for name, value in added("cae/data/stripes.py", "cae/data/sources.py", {}).items():
        monkeypatch.setitem(sources.SOURCES, name, value)
    config = DataConfig(source="stripes", image_size=16, channels=1)
    splits, again = sources.open_source(config), sources.open_source(config)
    assert splits.classes == ("lying", "standing")
    assert [len(part) for part in (splits.train, splits.val, splits.test)] == [44, 8, 8]
    sample = splits.train[0]
    assert sample.image.shape == (1, 16, 16)
    assert sample.mask is not None
    assert int(sample.mask.sum()) == 3 * 16
    assert float(sample.image[sample.mask].min()) > float(sample.image[~sample.mask].max())
    torch.testing.assert_close(sample.image, again.train[0].image)
