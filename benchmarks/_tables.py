"""Make ``docs/results`` and its pictures from the files in ``benchmarks/results``, and from nothing else."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks._cost_pictures import draw_against_cost  # noqa: E402 (runs as a script)
from benchmarks._further_pictures import PICTURES  # noqa: E402
from benchmarks._pages import read_results, result_pages  # noqa: E402
from benchmarks._questions import QUESTIONS  # noqa: E402
from benchmarks._result_pictures import draw  # noqa: E402

DOCS = ROOT / "docs"
IMAGES = DOCS / "images" / "results"


def main() -> None:
    """Write the pages, then the pictures."""
    for address, text in result_pages().items():
        path = DOCS / address
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    results = read_results()
    for question in QUESTIONS:
        draw(question, results, IMAGES / f"{question.name}.png")
    for picture in PICTURES:
        path = IMAGES / f"{picture.name}.png"
        if picture.cost is None:
            draw(picture, results, path)
        else:
            draw_against_cost(picture, picture.cost, results, path)
    print(f"written: docs/results, {len(QUESTIONS)} questions, {len(PICTURES)} further pictures")


if __name__ == "__main__":
    main()
