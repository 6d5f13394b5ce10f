"""A Jupyter notebook for each tutorial, made from its Markdown: ``make docs-notebooks``."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
TUTORIALS, NOTEBOOKS = ROOT / "docs" / "tutorials", ROOT / "docs" / "notebooks"
FENCE = re.compile(r"^```(?P<language>python|bash)\n(?P<code>.*?)^```$\n?", re.MULTILINE | re.DOTALL)
SHELL = "%%bash -e\n"  # the first line of a cell that a shell runs, and that ends where a command fails


def pages() -> dict[Path, Path]:
    """Every tutorial, with its notebook."""
    return {page: NOTEBOOKS / f"{page.stem}.ipynb" for page in sorted(TUTORIALS.glob("*.md"))}


def notebook_of(text: str) -> str:
    """The notebook of a page as JSON: code blocks become cells, what stands between them Markdown."""
    cells: list[dict[str, Any]] = []
    place = 0
    for block in FENCE.finditer(text):
        _add_markdown(cells, text[place : block.start()])
        code = block["code"] if block["language"] == "python" else SHELL + block["code"]
        cells.append(
            {"cell_type": "code", "execution_count": None, "id": f"cell-{len(cells)}", "metadata": {}, "outputs": [],
             "source": _lines(code)}
        )  # fmt: skip
        place = block.end()
    _add_markdown(cells, text[place:])
    metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    content = {"cells": cells, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"


def _add_markdown(cells: list[dict[str, Any]], text: str) -> None:
    if text.strip():
        cells.append(
            {"cell_type": "markdown", "id": f"cell-{len(cells)}", "metadata": {}, "source": _lines(text.strip())}
        )


def _lines(text: str) -> list[str]:
    return text.rstrip("\n").splitlines(keepends=True)


def main() -> None:
    """Write the notebooks, or with ``--check`` only say whether they are the present ones."""
    texts = {path: notebook_of(page.read_text(encoding="utf-8")) for page, path in pages().items()}
    stale = [path.name for path, text in texts.items() if not path.exists() or path.read_text(encoding="utf-8") != text]
    stale += [path.name for path in NOTEBOOKS.glob("*.ipynb") if path not in texts]
    if "--check" in sys.argv[1:]:
        raise SystemExit(f"out of date: {', '.join(stale)}; make docs-notebooks" if stale else 0)
    NOTEBOOKS.mkdir(exist_ok=True)
    for path in NOTEBOOKS.glob("*.ipynb"):
        path.unlink()
    for path, text in texts.items():
        path.write_text(text, encoding="utf-8")
    print(f"written: {len(texts)} notebooks in {NOTEBOOKS.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
