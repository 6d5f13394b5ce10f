"""The demo in a shortened form, by the commands that a user types: what it must write, and that it can be repeated."""

from __future__ import annotations

import csv
import json
import subprocess
from pathlib import Path

import forked
import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
OPTIONS = ["configs/lesions.yaml", "configs/quick.yaml", "name=demo", "trainer.accelerator=cpu"]


def call(folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    return forked.run([*command, f"runs={folder}"], ROOT)


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run folder after the five commands of `make demo`."""
    runs = tmp_path_factory.mktemp("runs")
    for command in (
        ["train.py", "classifier", *OPTIONS, "resume=last"],
        ["train.py", "cae", *OPTIONS, "resume=last"],
        ["explain.py", "traverse", *OPTIONS],
        ["explain.py", "manifold", *OPTIONS],
        ["explain.py", "report", *OPTIONS],
    ):
        done = call(runs, *command)
        assert done.returncode == 0, done.stdout + done.stderr
    return runs / "demo"


def test_every_product_of_the_demo_is_there(demo: Path):
    for name in (
        "config.yaml",
        "classifier.safetensors",
        "oracle.safetensors",
        "cae.safetensors",
        "manifold.safetensors",
    ):
        assert (demo / name).stat().st_size > 0, name
    assert list((demo / "samples").glob("*.png"))
    pictures = list((demo / "explanations").rglob("*.png")) + list((demo / "explanations").rglob("*.gif"))
    assert len(pictures) >= 6
    for picture in pictures:
        with Image.open(picture) as image:
            low, high = image.convert("L").getextrema()
            unchanged = image.info.get("maximum") == "0.0"  # evidence of a path that changes nothing
            assert low < high or unchanged, f"{picture} is blank"


def test_the_demo_ends_with_a_report_of_paths_map_and_lines(demo: Path):
    page = (demo / "report.html").read_text(encoding="utf-8")
    data = json.loads(page.partition('id="data">')[2].partition("</script>")[0])
    assert data["traversals"]
    assert data["map"]["points"]
    assert data["map"]["lines"]


def test_the_figures_have_the_names_that_scripts_read(demo: Path):
    metrics = json.loads((demo / "metrics.json").read_text(encoding="utf-8"))
    wanted = {
        "classifier/test_accuracy", "oracle/agreement", "cae/reassignment", "cae/reassignment_oracle",
        "cae/reconstruction_mae", "cae/reconstruction_consistency", "cae/participation_ratio", "counterfactual/found",
        "seconds/cae_training",
    }  # fmt: skip
    assert wanted <= set(metrics)
    doubted = {"oracle/doubt"} | {name for name, value in metrics.items() if value is None}
    assert all(isinstance(value, int | float) for name, value in metrics.items() if name not in doubted)
    assert doubted == {"oracle/doubt"} or "oracle/doubt" in metrics  # null only where the reason stands beside it
    assert metrics["cae/steps"] == 12


def test_the_index_has_a_row_for_each_explained_image(demo: Path):
    with (demo / "explanations" / "traverse" / "index.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 3  # traverse.limit of configs/quick.yaml
    assert len({row["id"] for row in rows}) == 3


def test_a_second_call_trains_nothing_again(demo: Path):
    before = (demo / "cae.safetensors").stat().st_mtime_ns
    done = call(demo.parent, "train.py", "cae", *OPTIONS, "resume=last")
    assert done.returncode == 0
    assert "already finished" in done.stdout
    assert (demo / "cae.safetensors").stat().st_mtime_ns == before


def test_a_finished_run_is_not_overwritten_silently(demo: Path):
    done = call(demo.parent, "train.py", "cae", *OPTIONS)
    assert done.returncode == 2
    assert "resume=last" in done.stderr
    assert "overwrite=true" in done.stderr
    assert "Traceback" not in done.stderr
