"""Code blocks of a Markdown page or cells of a notebook; as a program, runs those in bash and Python, in order."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

FENCE = re.compile(
    r"^```(?P<language>\w*)(?: title=\"(?P<title>[^\"]+)\")?\n(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL
)

SHELL = "%%bash -e\n"  # how a cell of a notebook begins that a shell runs


class Block(NamedTuple):
    """One fenced block: its language, its title (most often empty), and what it holds."""

    language: str
    title: str
    code: str


def blocks_of(page: Path) -> list[Block]:
    """All fenced blocks of a page, or all cells of code of a notebook, in order."""
    if page.suffix == ".ipynb":
        cells = json.loads(page.read_text(encoding="utf-8"))["cells"]
        return [_block_of("".join(cell["source"])) for cell in cells if cell["cell_type"] == "code"]
    found = FENCE.finditer(page.read_text(encoding="utf-8"))
    return [Block(match["language"], match["title"] or "", match["code"]) for match in found]


def _block_of(source: str) -> Block:
    shell = source.startswith(SHELL)
    return Block("bash" if shell else "python", "", source.removeprefix(SHELL) + "\n")


def run(page: Path) -> None:
    """Run a page's blocks, or a notebook's cells, as a reader would: a shell for each in bash, one Python session."""
    session: dict[str, object] = {"__name__": "__main__"}
    for number, block in enumerate(blocks_of(page), start=1):
        print(f"--- {page.name}, block {number} ({block.language})", flush=True)
        if block.language == "bash":
            subprocess.run(["bash", "-euo", "pipefail", "-c", block.code], check=True)
        elif block.language == "python":
            exec(compile(block.code, f"{page.name}, block {number}", "exec"), session)


if __name__ == "__main__":
    run(Path(sys.argv[1]))
