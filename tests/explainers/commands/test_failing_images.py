"""An image that cannot be explained is named and costs no other; what is finished is kept."""

from __future__ import annotations

import sys
import types
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cae.config import load_config
from cae.errors import UserError
from explainers.commands.compare import compare


@pytest.fixture
def act(tmp_path: Path, monkeypatch):
    """Compare images of the levels 0.1, 0.2, … by a function of the user."""
    folder = tmp_path / "images"
    folder.mkdir()
    for number in range(1, 8):
        Image.new("L", (16, 16), round(25.5 * number)).save(folder / f"level{number}.png")
    module = types.ModuleType("mine")
    monkeypatch.setitem(sys.modules, "mine", module)

    def run(function) -> Path:
        module.scores = function
        options = (
            "name=a", f"runs={tmp_path}", f"explain.images={folder}", "classifier.model=callable:mine:scores",
            "classifier.classes=[dark,light]", "data.image_size=16", "methods=[centre]", "explain.metrics=none",
            "explain.figures=0", "logging.progress=false", "trainer.accelerator=cpu",
        )  # fmt: skip
        compare(load_config([], options))
        return tmp_path

    return run


def levels(images: np.ndarray) -> np.ndarray:
    light = images.mean((1, 2, 3))
    return np.stack([1 - light, light], 1)


def failing_on(numbers: list[int]):
    def scores(images: np.ndarray) -> np.ndarray:
        found = levels(images)
        if any(abs(light - number / 10) < 0.01 and images.std() < 1e-6 for light in found[:, 1] for number in numbers):
            raise RuntimeError("429 too many requests")
        return found

    return scores


def finished(runs: Path) -> list[str]:
    return sorted(path.name for path in (runs / "a/explanations/compare/maps/centre").glob("*.safetensors"))


def test_one_image_that_fails_is_named_and_costs_no_other(act, tmp_path):
    numbers = [3]
    moody = failing_on(numbers)
    with pytest.raises(UserError, match=r"image 'level3.png': .*429 too many requests") as caught:
        act(moody)
    assert len(caught.value.problems) == 1
    assert [name[:6] for name in finished(tmp_path)] == ["level1", "level2", "level4", "level5", "level6", "level7"]
    numbers.clear()
    act(moody)  # the same command goes on
    assert len(finished(tmp_path)) == 7


def test_three_failures_in_a_row_end_the_work_and_keep_what_is_finished(act, tmp_path):
    with pytest.raises(UserError, match=r"3 images failed in a row.* kept in") as caught:
        act(failing_on([3, 4, 6, 7, 2]))
    assert "level5" not in str(caught.value)
    assert [name[:6] for name in finished(tmp_path)] == ["level1"]


def test_a_fault_that_is_no_mistake_of_the_user_still_says_which_image_it_was(act, tmp_path, monkeypatch, capsys):
    from explainers.baselines.controls import CentreMap

    def broken(self, instance):
        raise ZeroDivisionError

    monkeypatch.setattr(CentreMap, "explain_image", broken)
    with pytest.raises(ZeroDivisionError):
        act(levels)
    assert "stopped at image 'level1.png'" in capsys.readouterr().err
