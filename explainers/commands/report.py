"""The command `report`: one self-contained HTML file of what a run holds."""

from __future__ import annotations

from cae.config import Config
from cae.errors import printable
from cae.files import atomic_path
from cae.runs.run_folder import RunFolder
from explainers.report.build import build_report

FILE = "report.html"


def report(config: Config) -> None:
    """Write ``report.html`` into the run folder: made from what lies there, and made anew at every call.

    Raises:
        UserError: if there is no such run, or it holds nothing to report.
    """
    made = build_report(config)
    path = RunFolder(config).path / FILE
    with atomic_path(path) as temporary:
        temporary.write_text(made.html, encoding="utf-8")
    for sentence in made.doubts:
        print(printable(f"warning: {sentence}"))
    for sentence in made.left_out:
        print(f"note: {sentence}")
    print(f"open '{path}' in a browser: {path.stat().st_size / 1e6:.1f} MB, nothing else is needed")
