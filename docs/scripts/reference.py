"""Pages of the reference, made from the program's own tables when the site is built."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterable, Sequence

from modules import ROOT, first_line, has_public_docstrings, modules, packages


def reference_pages() -> dict[str, str]:
    """Every generated page of the reference and of the API: address below ``docs/`` -> Markdown."""
    return {
        "reference/commands.md": _commands(),
        "reference/options.md": _options(),
        "reference/explainers.md": _explainers(),
        "reference/metrics.md": _metrics(),
        "api/index.md": _faces(),
        **dict(api_pages().values()),
    }


def api_pages() -> dict[str, tuple[str, str]]:
    """For each package with public functions or classes, by its dotted name: address and Markdown."""
    pages = {}
    for package in packages():
        name = ".".join(package.relative_to(ROOT).parts)
        shown = [path for path in modules(package) if has_public_docstrings(path)]
        if shown:
            text = f"# {name}\n\n{first_line(package / '__init__.py')}\n"
            for path in shown:
                text += f"\n::: {name}.{path.stem}\n"
            pages[name] = (f"api/{name}.md", text)
    return pages


def _faces() -> str:
    """The public names of both packages, each with its first sentence and a link to its full description."""
    import cae
    import explainers

    text = "# Public face\n\nWhat `import cae` and `import explainers` give. The other pages describe every module.\n"
    for package in (cae, explainers):
        text += f"\n## {package.__name__}\n\n"
        rows = []
        for name in getattr(package, "__all__", ()):
            value = getattr(package, name)
            if not hasattr(value, "__qualname__"):  # the version
                continue
            place = f"{value.__module__}.{value.__qualname__}"
            rows.append((f"[`{package.__name__}.{name}`][{place}]", (value.__doc__ or "").strip().partition("\n")[0]))
        text += _table(("name", "what it is"), rows) if rows else ""
    return text


def _commands() -> str:
    text = (
        "# Commands\n\nWhat `--help` prints. Installed by pip, `train.py` is called `cae-train` and `explain.py` is "
        "called `cae-explain`; a recipe of the package is found by its name, as in `cae-train cae lesions`.\n"
    )
    for program in ("train.py", "explain.py"):
        command = [sys.executable, program, "--help"]
        shown = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
        text += f"\n## {program}\n\n```text\n{shown.partition('options: name')[0].rstrip()}\n```\n"
    return text + "\nAll options: [Options](options.md).\n"


def _options() -> str:
    from cae.config.fields import all_options, all_sections, section_name, shown

    text = (
        "# Options\n\nEvery option with its default, its meaning and what is allowed. Written `section.name=value` on "
        "the command line, or nested in a YAML file.\n"
    )
    for section, cls in all_sections().items():
        own = [option for name, option in all_options().items() if section_name(name) == section]
        text += f"\n## {section or 'top level'}\n\n{(cls.__doc__ or '').strip().splitlines()[0]}\n\n"
        rows = [(f"`{o.name}`", f"`{shown(o.default)}`", o.help, o.limits or o.kind.__name__) for o in own]
        text += _table(("option", "default", "meaning", "allowed"), rows)
    return text + _former_options()


def _former_options() -> str:
    """What older configurations may hold, and what becomes of it."""
    from cae.config.former_options import DROPPED, RENAMED, RENAMED_VALUES

    rows = [(f"`{former}`", f"`{present}`") for former, present in RENAMED.items()]
    for option, values in RENAMED_VALUES.items():
        rows += [(f"`{option}={former}`", f"`{option}={present}`") for former, present in values.items()]
    rows += [(f"`{former}`", f"gone: {words}") for former, words in DROPPED.items()]
    text = "\n## Former names\n\nSaved configurations with these still open; a command line is told what changed.\n\n"
    return text + _table(("former", "now"), rows)


def _explainers() -> str:
    from explainers.registry import explainer_class, list_explainers, options_of

    text = (
        "# Explainers\n\nNames for `method=` and `methods=[…]`. Options are given as "
        "`explain.options=[METHOD.NAME=VALUE]`, or as keywords of `explainers.get_explainer`.\n\n"
    )
    rows = [
        (f"[`{name}`](#{name})", words, "yes" if explainer_class(name).needs_gradients else "no")
        for name, words in list_explainers().items()
    ]
    text += _table(("name", "what its map is", "needs gradients"), rows)
    for name, words in list_explainers().items():
        found = explainer_class(name)
        text += f"\n## {name}\n\n{words[0].upper()}{words[1:]}. [Class][{found.__module__}.{found.__qualname__}].\n\n"
        options = [(f"`{key}`", f"`{value.default!r}`") for key, value in options_of(name).items()]
        text += _table(("option", "default"), options)
    return text


def _metrics() -> str:
    from explainers.metrics import METRICS

    directions = {"high": "higher is better", "low": "lower is better", None: "describes"}
    rows = [(f"`{name}`", metric.words, directions[metric.better]) for name, metric in METRICS.items()]
    return (
        "# Metrics of explanations\n\nWhat `explain.py compare` measures, by the names of its tables. A name with "
        "`_excess` is how much better than random orders.\n\n" + _table(("metric", "meaning", "direction"), rows)
    )


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
    lines += ["| " + " | ".join(_cell(cell) for cell in row) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    return text.replace("\n", " ").replace("|", r"\|")
