"""The site builds without a warning, asks nothing of the network, and its texts name files that exist."""

from __future__ import annotations

import os
import re
from pathlib import Path

import forked
import pytest

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(DOCS.rglob("*.md"))]
PRESENT = [page for page in PAGES if page.name != "history.md" and "results" not in page.parts]


@pytest.mark.parametrize("page", PRESENT, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_files_that_a_page_names_exist(page: Path):
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    names = re.findall(
        r"`((?:cae|explainers|benchmarks|configs|tests|docs)/[\w/.-]+?\.(?:py|yaml|md|safetensors))`", text
    )
    assert [name for name in names if not (ROOT / name).exists() and "NAME" not in name] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_between_files_lead_somewhere(page: Path):
    made = {"api/index.md", "reference/options.md", "reference/commands.md", "reference/explainers.md"}
    made |= {"reference/metrics.md", "changelog.md", "contributing.md"}
    links = re.findall(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))
    missing = [link for link in links if not (page.parent / link).exists()]
    missing = [link for link in missing if os.path.relpath(page.parent / link, DOCS) not in made]
    assert missing == []


@pytest.mark.slow
def test_the_site_builds_without_a_warning_and_without_the_network(tmp_path: Path):
    pytest.importorskip("mkdocs")
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1", "OMP_NUM_THREADS": "1", "http_proxy": "http://localhost:9",
                   "https_proxy": "http://localhost:9", "PYTHONPATH": str(ROOT)}  # fmt: skip
    program, site = tmp_path / "build.py", tmp_path / "site"
    program.write_text("from mkdocs.__main__ import cli\ncli()\n", encoding="utf-8")
    done = forked.run([str(program), "build", "--strict", "--site-dir", str(site)], ROOT, environment)
    assert done.returncode == 0, done.stdout + done.stderr
    for page in site.rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        assert not re.search(r"<(?:script|link|img|iframe)[^>]+(?:src|href)=\"?https?://", text), page
    for name in ("index", "reference/options", "api/cae.counterfactuals", "results/counterfactuals", "changelog"):
        assert (site / f"{name}.html").stat().st_size > 2000
