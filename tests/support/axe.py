"""The accessibility checks of axe-core in a page that is open in a browser."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest


def serious_findings(page: Any, left_out: str = "") -> dict[str, list[str]]:
    """Serious and critical findings: the rule, and the beginning of some elements that break it.

    ``left_out`` selects elements that are not looked at.
    """
    axe = pytest.importorskip("axe_core_python.base")
    page.execute_script((Path(axe.__file__).parent / "axe.min.js").read_text(encoding="utf-8"))
    found = page.execute_async_script(
        "const rules = {runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'best-practice']};"
        "const where = arguments[0] ? {exclude: [[arguments[0]]]} : document, done = arguments[1];"
        "axe.run(where, rules).then(found => done(found.violations))",
        left_out,
    )
    return {
        one["id"]: [node["html"][:200] for node in one["nodes"][:3]]
        for one in found
        if one["impact"] in ("serious", "critical")
    }
