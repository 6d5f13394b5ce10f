"""Pages of results are made from the result files, and say what is in them."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

import pytest

from benchmarks._cost_pictures import GAP, SIZE, draw_against_cost, free_height
from benchmarks._further_pictures import PICTURES
from benchmarks._pages import TABLES, filled, read_notes, read_results, result_pages
from benchmarks._questions import QUESTIONS
from benchmarks._result_pictures import draw, value_of

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"


def test_the_pages_are_what_the_files_give():
    for address, text in result_pages().items():
        assert (DOCS / address).read_text(encoding="utf-8") == text, f"{address}: python benchmarks/_tables.py"


def test_no_page_is_left_over():
    there = {path.relative_to(DOCS).as_posix() for path in (DOCS / "results").rglob("*.md")}
    assert there == set(result_pages())


def test_every_question_has_texts_and_a_picture():
    assert set(read_notes()) == {"overview", *(question.name for question in QUESTIONS)}
    for question in QUESTIONS:
        assert {"title", "asked", "answer", "goal"} <= set(read_notes()[question.name])
        assert (DOCS / "images" / "results" / f"{question.name}.png").stat().st_size > 5000
    drawn = {path.stem for path in (DOCS / "images" / "results").glob("*.png")}
    assert drawn == {one.name for one in (*QUESTIONS, *PICTURES)}


def test_every_result_file_is_used():
    shown = {row.stem for question in QUESTIONS for row in question.rows}
    shown |= {stem for question in QUESTIONS for stem in question.stems}
    assert shown == set(read_results())


def test_every_table_is_linked_by_a_question():
    assert {name for question in QUESTIONS for name in question.tables} == set(TABLES)


def test_every_table_of_explainers_has_its_pictures_above_it():
    pages = result_pages()
    for name in ("explanations", "information_cost", "samplers", "multirex", "shearletx", "causal_scores",
                 "causation_coefficient"):  # fmt: skip
        text = pages[f"results/tables/{name}.md"]
        shown = [one.name for one in (*QUESTIONS, *PICTURES) if name in one.tables]
        assert shown
        for picture in shown:
            assert 0 < text.index(f"../../images/results/{picture}.png") < text.index("\n| ")
    for picture in PICTURES:
        for question in picture.questions:
            assert f"../images/results/{picture.name}.png" in pages[f"results/{question}.md"]


@pytest.mark.parametrize("question", [*QUESTIONS, *PICTURES], ids=lambda question: question.name)
def test_every_row_and_column_of_a_picture_has_a_figure(question):
    results = read_results()
    values = [[value_of(results[row.stem], row.key_of(panel))[0] for panel in question.panels] for row in question.rows]
    if getattr(question, "cost", None) is not None:
        assert all(value_of(results[row.stem], row.key_of(question.cost))[0] for row in question.rows)
    assert all(any(value is not None for value in row) for row in values)
    assert all(any(value is not None for value in column) for column in zip(*values, strict=True))


def test_figures_are_filled_into_texts():
    results = {"some": {"figures": {"a/b": 0.98765, "zero": -0.001}, "intervals": {"a/b": [0.5, 1.0]}}}
    assert filled("{some:a/b}", results) == "0.99"
    assert filled("{some:a/b|i.1f}, {some:a/b|.0%}", results) == "1.0 [0.5, 1.0], 99%"
    assert filled("{some:zero|.1f}", results) == "0.0"
    with pytest.raises(KeyError):
        filled("{some:other}", results)


def test_pages_speak_of_finished_work():
    text = "\n".join(result_pages().values())
    assert "so far" not in text
    assert "published waveletx_published" not in text


def test_a_picture_is_drawn_without_missing_figures(tmp_path: Path):
    draw(QUESTIONS[0], read_results(), tmp_path / "picture.png")
    assert (tmp_path / "picture.png").stat().st_size > 5000


def test_paired_differences_are_read_with_their_intervals_also_those_of_a_half():
    result = {
        "figures": {"a": 1.0}, "intervals": {"a": [0.5, 2.0]},
        "differences": {"a - b/x": [0.1, -0.1, 0.3]},
        "choice": {"confirmation": {"a - b/x": [0.2, 0.1, 0.3]}},
    }  # fmt: skip
    assert value_of(result, "a") == (1.0, 0.5, 2.0)
    assert value_of(result, "a - b/x") == (0.1, -0.1, 0.3)
    assert value_of(result, "confirmation: a - b/x") == (0.2, 0.1, 0.3)


def test_names_of_points_keep_apart():
    assert free_height(50.0, [50.0 + GAP * SIZE, 10.0]) == 50.0
    assert free_height(50.0, [50.0, 45.0]) == 45.0 - GAP * SIZE
    taken: list[float] = []
    for height in (50.0, 49.0, 48.0):
        taken.append(free_height(height, taken))
    assert min(a - b for a, b in itertools.pairwise(taken)) >= GAP * SIZE


def test_a_picture_is_drawn_against_cost(tmp_path: Path):
    picture = next(picture for picture in PICTURES if picture.cost)
    draw_against_cost(picture, picture.cost, read_results(), tmp_path / "picture.png")
    assert (tmp_path / "picture.png").stat().st_size > 5000


def test_the_readme_has_the_figures_of_the_results():
    results = read_results()
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    rows = {
        "reassignment, classifier": ("cae/reassignment", ".3f"),
        "reassignment, oracle": ("cae/reassignment_oracle", ".3f"),
        "counterfactual found": ("counterfactual/found", ".3f"),
        "the oracle sees the target at the counterfactual itself": ("counterfactual/validity_oracle", ".2f"),
        "the oracle sees the target at the path's end": ("counterfactual/validity_oracle_end", ".3f"),
        "COUT of the path's end": ("counterfactual/end_cout", ".2f"),
    }
    for words, (key, form) in rows.items():
        cells = [
            cell.strip() for cell in re.search(rf"^\| {re.escape(words)} \|(.*)\|$", text, re.MULTILINE)[1].split("|")
        ]
        of = [results[f"pipeline_{data}"] for data in ("lesions", "digits", "pneumonia", "fruit", "brain")]
        # with the mark of a footnote where not all seeds have the figure
        assert cells == [format(one["figures"][key], form) + "¹" * (key in one.get("seeds_of", ())) for one in of]
    before = results["counterfactual_quality_lesions"]["figures"]["published/cae/reassignment"]
    assert f"published recipe has {before:.2f} on the lesions" in text
