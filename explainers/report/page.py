"""The page: texts, numbers and pictures put into one HTML file that asks nothing of anybody."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from cae.canvas import DIVERGING, OKABE_ITO, SEQUENTIAL
from explainers.report.text import printable, script_json

SCRIPTS = ("core.js", "traversals.js", "map.js", "compare.js", "generators.js")
CLASS_COLOURS = OKABE_ITO[:6]  # yellow and black are lost on white and on dark ground


def render(content: Mapping[str, Any], data: Mapping[str, Any], pictures: Mapping[str, str]) -> str:
    """The page as text.

    Args:
        content: what the template shows, by name; every text in it is escaped.
        data: what the scripts show.
        pictures: base64 of WebP pictures by key, of letters and digits alone.
    """
    script, style = Markup("\n".join(_part(name) for name in SCRIPTS)), Markup(_part("style.css"))
    return _template().render(
        **content,
        data=Markup(script_json({**data, "colours": _colours()})),
        pictures=[(key, Markup(text)) for key, text in pictures.items()],
        script=script, style=style, script_hash=_digest(script), style_hash=_digest(style),
    )  # fmt: skip


@cache
def _template() -> Any:
    environment = Environment(
        loader=PackageLoader("explainers.report"), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True, finalize=_finalized,
    )  # fmt: skip
    environment.filters["with_code"] = with_code
    return environment.get_template("page.html")


def with_code(text: str) -> Markup:
    """A sentence whose parts between backticks are code.

    >>> with_code("Run `a < b`.")
    Markup('Run <code>a &lt; b</code>.')
    """
    parts = printable(text).split("`")
    return Markup("").join(
        Markup("<code>{}</code>").format(part) if n % 2 else escape(part) for n, part in enumerate(parts)
    )


def _finalized(value: Any) -> Any:
    """Texts without control characters; what is markup already stays as it is."""
    return printable(value) if type(value) is str else value


@cache
def _part(name: str) -> str:
    return (files("explainers.report") / "templates" / name).read_text(encoding="utf-8")


def _digest(text: str) -> str:
    """What names a script or a style in the policy of the page, so that no other is run."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode("ascii")


@cache
def _colours() -> dict[str, Any]:
    """The colour maps of all pictures, 256 colours of six hexadecimal digits each, and the colours of the classes."""
    import matplotlib
    import numpy as np

    steps = np.linspace(0, 1, 256)
    maps = {"diverging": DIVERGING, "sequential": SEQUENTIAL}
    tables = {
        key: (matplotlib.colormaps[name](steps)[:, :3] * 255).round().astype("uint8").tobytes().hex()
        for key, name in maps.items()
    }
    return {**tables, "classes": list(CLASS_COLOURS)}
