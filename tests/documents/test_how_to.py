"""Examples of the how-tos run as they stand."""

from __future__ import annotations

import sys
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from code_blocks import blocks_of
from level_run import level_run, some_images
from PIL import Image

from cae.generators.registry import build_arms

HOW_TO = Path(__file__).resolve().parents[2] / "docs" / "how-to"


def run_blocks(page: str) -> dict:
    """What the Python blocks of a page leave; a block with a title is a file of that name."""
    session: dict = {"__name__": "__main__"}
    for block in blocks_of(HOW_TO / page):
        if block.language == "python" and block.title:
            Path(block.title).write_text(block.code, encoding="utf-8")
        elif block.language == "python":
            exec(compile(block.code, page, "exec"), session)
    return session


@pytest.mark.filterwarnings("ignore")
def test_other_libraries_are_used_as_the_page_shows(tmp_path, monkeypatch):
    pytest.importorskip("quantus", exc_type=ImportError)
    monkeypatch.chdir(tmp_path)
    index = tmp_path / "runs" / "demo" / "explanations" / "traverse" / "index.parquet"
    index.parent.mkdir(parents=True)
    pd.DataFrame({"source": ["a"], "target": ["b"], "found": [True]}).to_parquet(index)
    monkeypatch.setattr(plt, "show", lambda: plt.close("all"))
    found = run_blocks("use_from_other_libraries.md")
    assert found["maps"].shape == found["smooth"].shape == found["images"].shape
    assert found["changes"].shape == (3,)
    assert len(found["scores"]) == 3
    assert found["found"].target.tolist() == [1, 1, 1]
    assert found["index"].found.tolist() == [True]


def test_a_python_function_is_explained_as_the_page_shows(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    pixels = np.random.default_rng(0).integers(0, 255, (32, 32)).astype(np.uint8)
    Image.fromarray(pixels).save("image.png")
    found = run_blocks("explain_a_black_box.md")
    sys.modules.pop("my_function", None)
    assert found["classifier"].scores == "probabilities"
    assert found["found"].attribution.shape == (1, 1, 32, 32)
    assert capsys.readouterr().out == "False [65]\n"


def test_a_generator_of_the_users_own_joins_as_the_page_shows(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    run_blocks("compare_generators.md")
    run = level_run(tmp_path)
    _, brighter = build_arms(run, ["callable:my_generator:Brighter"])
    sys.modules.pop("my_generator", None)
    images, targets = some_images(run, 2)
    made = brighter.generator.generate(images, targets).images
    assert (brighter.name, brighter.generator.words) == ("Brighter", "the whole image, brighter")
    assert brighter.generator.reached(made, targets).all()
    assert (made >= images).all()
