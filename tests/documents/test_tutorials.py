"""Every tutorial runs as it is written, as the notebook that is made of it, in an empty folder."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import forked
import pytest
from code_blocks import blocks_of

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted((ROOT / "docs" / "tutorials").glob("*.md"))
NOTEBOOKS = ROOT / "docs" / "notebooks"
PROGRAMS = {"cae-train": "train.py", "cae-explain": "explain.py"}


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """Where the installed commands are the programs of this checkout, whatever is installed beside it."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for name, script in PROGRAMS.items():
        path = programs / name
        path.write_text(f'#!/usr/bin/env bash\nexec {forked.shell_line()} "{ROOT / script}" "$@"\n', encoding="utf-8")
        path.chmod(0o755)
    return {
        **os.environ, "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}", "PYTHONPATH": str(ROOT),
        "MPLBACKEND": "Agg", "OMP_NUM_THREADS": "1",
    }  # fmt: skip


def test_there_are_tutorials_with_code():
    assert len(PAGES) >= 4
    assert all({"bash", "python"} <= {block.language for block in blocks_of(page)} for page in PAGES)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_notebook_is_that_of_the_page(page: Path):
    notebook = NOTEBOOKS / f"{page.stem}.ipynb"
    shown = [(block.language, block.code) for block in blocks_of(page) if block.language in ("bash", "python")]
    assert [(block.language, block.code) for block in blocks_of(notebook)] == shown
    done = subprocess.run(
        [sys.executable, "docs/scripts/notebooks.py", "--check"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("page", [NOTEBOOKS / f"{page.stem}.ipynb" for page in PAGES], ids=lambda page: page.stem)
def test_the_tutorial_runs_as_written(page: Path, tmp_path: Path, environment: dict[str, str]):
    folder = tmp_path / "work"
    folder.mkdir()
    done = forked.run([str(ROOT / "tests" / "support" / "code_blocks.py"), str(page)], folder, environment)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-6000:]
