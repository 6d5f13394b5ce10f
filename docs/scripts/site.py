"""What mkdocs calls while it builds the site: adds the generated pages and their entries in the navigation."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
for folder in (ROOT, ROOT / "docs" / "scripts"):
    sys.path.insert(0, str(folder))

from mkdocs.structure.files import File, Files  # noqa: E402 (the paths above come first)
from reference import api_pages, reference_pages  # noqa: E402

from benchmarks._pages import navigation  # noqa: E402

SHIM = '<script src="https://unpkg.com/iframe-worker/shim"></script>'  # the theme's, from outside
COPIES = {"changelog.md": "CHANGELOG.md", "contributing.md": "CONTRIBUTING.md"}  # pages that lie beside README.md


def on_config(config: Any) -> Any:
    """Replace the entries `API` and `Results` of the navigation by their pages."""
    api = [{name: address} for name, (address, _) in api_pages().items()]
    whole = {"API": [{"Public face": "api/index.md"}, *api], "Results": navigation()}
    config["nav"] = [{name: whole.get(name, pages) for name, pages in entry.items()} for entry in config["nav"]]
    return config


def on_files(files: Files, config: Any) -> Files:
    """Add what is not written by hand."""
    pages = reference_pages()
    for address, source in COPIES.items():
        # links of the root folder, seen from the folder of the documents
        pages[address] = (ROOT / source).read_text(encoding="utf-8").replace("](docs/", "](")
    for address, text in pages.items():
        files.append(File.generated(config, address, content=text))
    return files


def on_post_page(output: str, page: Any, config: Any) -> str:
    """A page without scripts from elsewhere."""
    return output.replace(SHIM, "")


def on_post_template(output_content: str, template_name: str, config: Any) -> str:
    """The same for pages that are no documents, such as 404.html."""
    return output_content.replace(SHIM, "")
