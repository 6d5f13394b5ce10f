"""Code blocks of a Markdown page; as a program, runs those in bash and Python, in order, in the present folder."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

FENCE = re.compile(
    r"^```(?P<language>\w*)(?: title=\"(?P<title>[^\"]+)\")?\n(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL
)


class Block(NamedTuple):
    """One fenced block: its language, its title (most often empty), and what it holds."""

    language: str
    title: str
    code: str


def blocks_of(page: Path) -> list[Block]:
    """All fenced blocks of a page, in order."""
    found = FENCE.finditer(page.read_text(encoding="utf-8"))
    return [Block(match["language"], match["title"] or "", match["code"]) for match in found]


def run(page: Path) -> None:
    """Run a page's blocks as a reader would: one shell for each bash block, one Python session for all others."""
    session: dict[str, object] = {"__name__": "__main__"}
    for number, block in enumerate(blocks_of(page), start=1):
        print(f"--- {page.name}, block {number} ({block.language})", flush=True)
        if block.language == "bash":
            subprocess.run(["bash", "-euo", "pipefail", "-c", block.code], check=True)
        elif block.language == "python":
            exec(compile(block.code, f"{page.name}, block {number}", "exec"), session)


if __name__ == "__main__":
    run(Path(sys.argv[1]))
