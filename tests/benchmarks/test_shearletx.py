"""What the tables on ShearletX say follows from the figures; nothing is explained here."""

from __future__ import annotations

import json

import pytest

from benchmarks._shearletx_summary import summary, wilson
from benchmarks._shearletx_table import shearletx_section
from benchmarks.shearletx import photographs
from cae.errors import UserError

DEVELOPMENT = {0, 1, 20, 21, 40, 41, 60, 61, 80, 81}


def test_interval_of_a_share():
    assert wilson(18, 20) == pytest.approx([0.70, 0.97], abs=5e-3)
    assert wilson(90, 100) == pytest.approx([0.83, 0.94], abs=5e-3)


def test_differences_are_paired_and_what_is_unknown_is_left_out():
    rows = [
        {"ours": {"retained": 0.9, "edges": None}, "theirs": {"retained": 0.5, "edges": 0.1}},
        {"ours": {"retained": 1.2, "edges": 0.2}, "theirs": {"retained": 0.8, "edges": 0.1}},
        {"ours": {"retained": 0.89, "edges": 0.2}, "theirs": {"retained": 0.49, "edges": None}},
    ]
    figures, intervals = summary(rows, ["ours", "theirs"])
    assert figures["ours/kept_at_least"] == pytest.approx(2 / 3)
    assert figures["ours_minus/theirs/retained"] == pytest.approx(0.4)
    assert intervals["ours_minus/theirs/retained"] == pytest.approx([0.4, 0.4])
    assert figures["ours_minus/theirs/edges"] == pytest.approx(0.1)


def test_usual_photographs_are_none_of_the_development(tmp_path):
    names = [f"{place:03}.jpg" for place in range(100)]
    (tmp_path / "labels.csv").write_text("file\n" + "\n".join(reversed(names)), encoding="utf-8")
    taken = [int(path.stem) for path in photographs(tmp_path, offset=3, stride=5, count=20)]
    assert len(taken) == 20
    assert not DEVELOPMENT & set(taken)


def test_photographs_that_are_not_there_are_named(tmp_path):
    with pytest.raises(UserError, match="'labels.csv'"):
        photographs(tmp_path, 3, 5, 20)
    (tmp_path / "labels.csv").write_text("name\na.jpg\n", encoding="utf-8")
    with pytest.raises(UserError, match="column `file`, but has name"):
        photographs(tmp_path, 3, 5, 20)
    (tmp_path / "labels.csv").write_text("file\na.jpg\n", encoding="utf-8")
    with pytest.raises(UserError, match="none is at 3, 8"):
        photographs(tmp_path, 3, 5, 20)


def test_goals_are_called_met_or_missed_by_the_figures(tmp_path):
    figures = {
        "shearletx/kept_at_least": 0.95, "waveletx_published/kept_at_least": 0.6,
        "shearletx/hallucination_gradient": 0.03, "waveletx_published/hallucination_gradient": 0.08,
        "shearletx/second_network": 0.5, "waveletx_published/second_network": 0.8,
    }  # fmt: skip
    for method in ("shearletx", "waveletx_published"):
        for score in ("cp_l1_capped", "cp_entropy_capped", "cp_l1_bright", "cp_entropy_bright"):
            figures[f"{method}/{score}"] = 2.0 if method == "shearletx" else 1.5
    result = {"command": "c", "machine": "m", "seeds": [0], "images": 20, "figures": figures, "intervals": {}}
    (tmp_path / "shearletx_quality.json").write_text(json.dumps(result), encoding="utf-8")
    text = shearletx_section(tmp_path)
    lines = {line.split("|")[1].strip(): line for line in text.splitlines() if line.startswith("| CPU: ")}
    assert lines["CPU: shown picture keeps 0.9, share"].endswith("| met |")
    assert lines["CPU: CP-l1, capped"].endswith("| ≥ 1.5 (published waveletx) | 2 | met |")
    assert lines["CPU: invented edges (gradient)"].endswith("| met |")
    assert lines["CPU: probability kept, second network"].endswith("| **missed** |")
    assert not any("GPU" in line for line in text.splitlines())
