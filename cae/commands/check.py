"""The command `check`: what the data is, in words, as JSON, and as a contact sheet with the masks drawn in."""

from __future__ import annotations

from cae.config import Config
from cae.data import CAEDataModule
from cae.data.contact_sheet import contact_sheet
from cae.data.notes import printable
from cae.data.report import examine
from cae.errors import UserError
from cae.files import write_json
from cae.runs.result_folder import result_folder
from cae.runs.run_folder import RunFolder

FOLDER = "data"


def check(config: Config) -> None:
    """Report on the data: printed, and as ``data/report.json`` and ``data/contact_sheet.png`` in the run folder.

    Raises:
        UserError: if the source cannot be opened; at the end, if some of its files are damaged.
    """
    data = CAEDataModule(config.data)
    data.setup()
    folder = result_folder(RunFolder(config).path, "", FOLDER, None)
    report = examine(config.data, data.splits, config.logging.progress)
    for line in report.lines():
        print(printable(line))
    write_json(folder / "report.json", report.as_json())
    title = f"{config.data.source}: {config.data.path}" if config.data.path else config.data.source
    contact_sheet(data.splits, folder / "contact_sheet.png", title)
    print(f"look at '{folder / 'contact_sheet.png'}'; ids and numbers in '{folder / 'report.json'}'")
    if report.problems:
        raise UserError(report.problems)
