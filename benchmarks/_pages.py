"""The pages below ``docs/results``: one for each question, one for each set of long tables."""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from benchmarks._end_to_end_table import end_to_end_section
from benchmarks._explainer_tables import (
    causal_scores_section,
    causal_section,
    comparison_section,
    cost_section,
    sampler_section,
)
from benchmarks._further_pictures import PICTURES, Picture
from benchmarks._generators_table import generators_section
from benchmarks._multirex_table import multirex_section
from benchmarks._quality_table import quality_section, training_cost_section
from benchmarks._questions import QUESTIONS, Question
from benchmarks._sanity_table import sanity_section
from benchmarks._shearletx_table import shearletx_section

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"
TABLES: dict[str, tuple[str, Callable[[Path], str]]] = {
    "end_to_end": ("Training and traversal, end to end", end_to_end_section),
    "counterfactual_quality": ("Counterfactuals and their ablation", quality_section),
    "generators": ("Generators compared", generators_section),
    "training_cost": ("What a training step costs", training_cost_section),
    "sanity": ("Sanity tests", sanity_section),
    "explanations": ("Explainers compared", comparison_section),
    "information_cost": ("What information maps cost", cost_section),
    "samplers": ("In-fills", sampler_section),
    "multirex": ("MultiReX", multirex_section),
    "shearletx": ("ShearletX and its family", shearletx_section),
    "causal_scores": ("Causal scores", causal_scores_section),
    "causation_coefficient": ("Neural causation coefficient", causal_section),
}
PLACEHOLDER = re.compile(r"\{(?P<stem>\w+):(?P<key>[^{}|]+)(?:\|(?P<form>[^{}]+))?\}")
MADE = "<!-- made by `python benchmarks/_tables.py` from benchmarks/results -->\n"
Notes = Mapping[str, Mapping[str, str]]


def navigation() -> list[dict[str, Any]]:
    """Entries of the site's navigation."""
    notes = read_notes()
    pages = [{"Overview": "results/index.md"}]
    pages += [{notes[question.name]["title"]: f"results/{question.name}.md"} for question in QUESTIONS]
    return [*pages, {"Tables": [{words: f"results/tables/{name}.md"} for name, (words, _) in TABLES.items()]}]


def result_pages() -> dict[str, str]:
    """Every page by its address below ``docs/``."""
    results, notes = read_results(), read_notes()
    pages = {"results/index.md": _overview(results, notes)}
    for question in QUESTIONS:
        pages[f"results/{question.name}.md"] = _page(question, notes[question.name], results)
    for name, (words, section) in TABLES.items():
        pages[f"results/tables/{name}.md"] = f"{MADE}\n# {words}\n{_pictures_of_table(name, notes)}{section(RESULTS)}"
    return pages


def read_results() -> dict[str, dict[str, Any]]:
    """Contents of every file of results, by its name without suffix."""
    return {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(RESULTS.glob("*.json"))}


def read_notes() -> dict[str, dict[str, str]]:
    """The texts of ``notes.md``: for each section, its ``title`` and its parts, by their headings in small letters."""
    found: dict[str, dict[str, str]] = {}
    text = (RESULTS / "notes.md").read_text(encoding="utf-8")
    for section in re.split(r"^## ", text, flags=re.MULTILINE)[1:]:
        head, *parts = re.split(r"^### ", section, flags=re.MULTILINE)
        name, _, title = head.strip().partition(": ")
        found[name] = {"title": title}
        for part in parts:
            heading, _, body = part.partition("\n")
            found[name][heading.strip().lower()] = body.strip()
    return found


def filled(text: str, results: Mapping[str, Mapping[str, Any]]) -> str:
    """A text with ``{file:figure}`` replaced by the figure, ``{file:figure|.0%}`` by the figure in that form.

    A form that begins with ``i`` adds the interval in brackets. Where a form is left out, it is ``.2f``.
    """

    def figure(match: re.Match[str]) -> str:
        result, key, form = results[match["stem"]], match["key"], match["form"] or ".2f"
        shape = form.removeprefix("i") or ".2f"
        shown = _rounded(result["figures"][key], shape)
        if shape == form or key not in result.get("intervals", {}):
            return shown
        low, high = result["intervals"][key]
        return f"{shown} [{_rounded(low, shape)}, {_rounded(high, shape)}]"

    return PLACEHOLDER.sub(figure, text)


def _rounded(value: float, form: str) -> str:
    """The value in a form, without the sign of a zero."""
    shown = format(value, form)
    return shown.removeprefix("-") if not shown.strip("-0.%") else shown


def _page(question: Question, texts: Mapping[str, str], results: Mapping[str, Mapping[str, Any]]) -> str:
    def paragraph(name: str) -> str:
        words = f"**{name}.** " + filled(texts[name.lower()], results)
        return textwrap.fill(" ".join(words.split()), 118, break_long_words=False, break_on_hyphens=False) + "\n\n"

    text = f"{MADE}\n# {texts['title']}\n\n{paragraph('Asked')}{paragraph('Answer')}"
    text += _picture(texts["title"], question.name, question.caption, "../")
    for picture in PICTURES:
        if question.name in picture.questions:
            text += _picture(picture.title, picture.name, picture.caption, "../")
    text += paragraph("Goal")
    if "beside other tables" in texts:
        text += paragraph("Beside other tables")
    links = ", ".join(f"[{TABLES[name][0]}](tables/{name}.md)" for name in question.tables)
    text += f"**All figures:** {links}.\n\n**Command.**\n\n{_commands(question, results)}"
    for heading in ("what falls short", "pictures"):
        if heading in texts:
            text += f"\n## {heading.capitalize()}\n\n{texts[heading]}\n"
    return filled(text, results)


def _pictures_of_table(name: str, notes: Notes) -> str:
    """The pictures drawn from a table's figures, above it."""
    shown: list[tuple[str, Question | Picture]]
    shown = [(notes[question.name]["title"], question) for question in QUESTIONS if name in question.tables]
    shown += [(picture.title, picture) for picture in PICTURES if name in picture.tables]
    return "\n" + "".join(_picture(title, one.name, one.caption, "../../") for title, one in shown)


def _picture(title: str, name: str, caption: str, root: str) -> str:
    return f"![{title}]({root}images/results/{name}.png)\n\n*{caption}*\n\n"


def _commands(question: Question, results: Mapping[str, Mapping[str, Any]]) -> str:
    stems = question.stems or tuple(dict.fromkeys(row.stem for row in question.rows))
    lines = []
    for stem in stems:
        found = results[stem]
        for part in found.get("origins", {"": found}).values():
            images = found.get("images")
            shown = f"; {images} image{'s' if images != 1 else ''}" if images else ""
            lines.append(f"* `{part['command']}` ({part['machine']}{shown})")
    return "\n".join(lines) + "\n"


def _overview(results: Mapping[str, Mapping[str, Any]], notes: Notes) -> str:
    text = f"{MADE}\n{notes['overview']['asked']}\n\n"
    for question in QUESTIONS:
        texts = notes[question.name]
        short = filled(texts["answer"].partition("\n\n")[0].replace("\n", " "), results)
        text += f"**[{texts['title']}]({question.name}.md)** {short}\n\n"
    links = "\n".join(f"* [{words}](tables/{name}.md)" for name, (words, _) in TABLES.items())
    return f"# Results\n\n{text}## All tables\n\n{links}\n"
