"""From a run folder to the page: what goes in, how the size is shared out, and what is left out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from cae import __version__ as VERSION
from cae.config import Config
from explainers.report import card
from explainers.report.class_map import Room, ShownMap, shown_map
from explainers.report.comparisons import ShownComparisons, shown_comparisons
from explainers.report.generator_outcomes import ShownGenerators, shown_generators
from explainers.report.holdings import (
    Holdings,
    commands,
    config_text,
    model_words,
    open_holdings,
    pictures,
)
from explainers.report.lights import lights, sentences
from explainers.report.origins import Origins, judged_origins
from explainers.report.page import render
from explainers.report.sprites import picture_file
from explainers.report.text import printable
from explainers.report.traversals import Shown, oracle_probabilities, shown_traversals, spread

MEGABYTE = 1_000_000
# shares of the size at most; traversals take what is left
MAP, LINES, DRAWN, COMPARED, GENERATED = 0.12, 0.08, 0.10, 0.35, 0.20
SPARE = 0.02  # of the size, for escapes
BATCH = 64


@dataclass(frozen=True)
class Report:
    """The page, and in words what was left out to keep it small, and what on it does not belong together."""

    html: str
    left_out: Sequence[str]
    doubts: Sequence[str] = ()


def build_report(config: Config) -> Report:
    """Make the page of a run from whatever its folder holds.

    Raises:
        UserError: if there is no run, it holds nothing to report, or a file of it is damaged.
    """
    holdings = open_holdings(config)
    options, size = config.report, int(config.report.size * MEGABYTE)
    origins = judged_origins(holdings)
    content = _content(holdings, origins)
    room = int(size * (1 - SPARE)) - len(_rendered(content, _Parts()).encode())
    drawn = _drawn(holdings, int(room * DRAWN))
    compared = shown_comparisons(
        holdings.explanations, holdings.classes, options.images, int(room * COMPARED)
    )  # fmt: skip
    generated = shown_generators(holdings.explanations, options.images, int(room * GENERATED))
    rest = room - _bytes(drawn) - sum(
        _bytes(part.pictures) + len(str(part.folders).encode()) for part in (compared, generated)
    )  # fmt: skip
    chosen = spread(holdings.sets, options.images)
    has_map = holdings.manifold is not None
    map_room, lines_room = (int(room * share) if has_map else 0 for share in (MAP, LINES))
    oracle = None if holdings.oracle is None else oracle_probabilities(holdings.oracle, BATCH)
    traversals = shown_traversals(chosen, oracle, rest - 2 * map_room - lines_room)
    class_map = ShownMap()
    if holdings.manifold is not None:
        class_map = shown_map(
            holdings.folder,
            holdings.manifold,
            traversals,
            config.manifold.embeddings,
            config.seed,
            Room(map_room, lines_room),
        )
    parts = _Parts(class_map, traversals, compared, generated, drawn)
    return Report(_rendered(content, parts), _left_out(holdings, parts, chosen), origins.sentences)


@dataclass(frozen=True)
class _Drawn:
    """A picture that another command drew."""

    key: str
    words: str
    data: str
    width: int
    height: int


@dataclass(frozen=True)
class _Parts:
    """What the page shows in pictures."""

    class_map: ShownMap = field(default_factory=ShownMap)
    traversals: Shown = field(default_factory=Shown)
    compared: ShownComparisons = field(default_factory=ShownComparisons)
    generated: ShownGenerators = field(default_factory=ShownGenerators)
    drawn: Sequence[_Drawn] = ()

    @property
    def pictures(self) -> dict[str, str]:
        """All pictures by their keys."""
        found = {one.key: one.data for one in self.drawn}
        for part in (self.traversals, self.class_map, self.compared, self.generated):
            found |= part.pictures
        return found


def _drawn(holdings: Holdings, budget: int) -> list[_Drawn]:
    found, spent = [], 0
    for number, (path, words) in enumerate(pictures(holdings)):
        data, width, height = picture_file(path)
        if spent + len(data) <= budget:
            spent += len(data)
            found.append(_Drawn(f"d{number}", words, data, width, height))
    return found


def _bytes(parts: Any) -> int:
    if isinstance(parts, dict):
        return sum(map(len, parts.values()))
    return sum(len(one.data) for one in parts)


def _left_out(holdings: Holdings, parts: _Parts, chosen: Sequence[Any]) -> list[str]:
    rows = sum(len(one.rows) for one in holdings.sets)
    found = []
    if rows > len(chosen):
        found.append(f"{rows - len(chosen)} of {rows} paths are not shown (report.images)")
    if parts.traversals.left_out:
        found.append(f"{parts.traversals.left_out} of {len(chosen)} paths did not fit (report.size)")
    if parts.compared.left_out:
        found.append(f"maps of {parts.compared.left_out} images are not shown (report.size, report.images)")
    if parts.generated.left_out:
        found.append(f"{parts.generated.left_out} images of generators are not shown (report.size, report.images)")
    return found


def _content(holdings: Holdings, origins: Origins) -> dict[str, Any]:
    """What the page says in words, numbers and tables."""
    config, metrics, classes = holdings.config, holdings.metrics, holdings.classes
    program = f"explain.py {{}} … name={config.name}"
    rows = holdings.sets[0].rows if holdings.sets else []
    return {
        "run": config.name,
        "date": datetime.now(timezone.utc).astimezone().strftime("%-d %B %Y"),
        "sentences": sentences(metrics, config.name, classes, model_words(config)),
        "lights": lights(metrics, holdings.sanity, classes, holdings.commonest, program, holdings.doubts, origins),
        "facts": _facts(holdings),
        "recalls": card.recalls(metrics),
        "matrices": card.matrices(metrics, rows, classes),
        "calibration": card.calibration(rows),
        "least_calibrated": card.LEAST_CALIBRATED,
        "sanity": list(holdings.sanity.items()),
        "sanity_command": program.format("sanity"),
        "causal": card.causal_scores(holdings.explanations / config.caes.folder),
        "commands": commands(holdings, program),
        "numbers": card.all_numbers(metrics),
        "config": config_text(holdings.folder),
    }


def _facts(holdings: Holdings) -> list[tuple[str, str]]:
    config, metrics = holdings.config, holdings.metrics
    found = [
        ("classifier", model_words(config)),
        ("classes", ", ".join(holdings.classes[: card.MOST_CLASSES])),
        ("data", config.data.source + (f", {Path(config.data.path).name}" if config.data.path else "")),
        ("images", f"{config.data.channels} × {config.data.image_size} × {config.data.image_size}"),
        ("commonest class", f"{holdings.commonest:.2f} of the training images"),
        ("oracle", "none" if holdings.oracle is None else config.oracle.model),
        ("seed", str(config.seed)),
        ("program", f"cae-explain {VERSION}"),
    ]
    timed = {name: value for name, value in metrics.items() if name.startswith("seconds/") and "_l" not in name}
    found += [(name.removeprefix("seconds/").replace("_", " "), f"{value:,.0f} s") for name, value in timed.items()]
    return found


def _rendered(content: dict[str, Any], parts: _Parts) -> str:
    points = parts.class_map.content.get("points", [])
    lowest = min((point["probability"] for point in points), default=0.0)
    folders, generators = parts.compared.folders, parts.generated.folders
    shown = {
        "traversals": bool(parts.traversals.entries),
        "map": bool(points),
        "folders": folders,
        "generators": generators,
        "drawn": parts.drawn,
        "left_out": _sentence(parts.traversals),
        "maps_left_out": _absent("Maps of {} images", parts.compared.left_out),
        "generators_left_out": _absent("{} images of generators", parts.generated.left_out),
        "footer": f"Made by cae-explain {VERSION} from what the run “{printable(content['run'])}” holds. "
        "Nothing on this page is loaded from anywhere. An edit shows one way to change the answer; it is evidence of "
        "what the classifier responds to, not of disease.",
    }
    data = {
        "traversals": parts.traversals.entries,
        "map": {**parts.class_map.content, "lowest": round(lowest, 4)} if points else None,
        "folders": [_without_table(folder) for folder in folders],
        "generators": [_without_table(folder) for folder in generators],
    }
    return render({**content, **shown}, data, parts.pictures)


def _without_table(folder: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in folder.items() if key != "table"}


def _absent(words: str, count: int) -> str:
    return f"{words.format(count)} are not in this file." if count else ""


def _sentence(traversals: Shown) -> str:
    """How finely the paths are kept, and how many did not fit."""
    if traversals.detail is None:
        return ""
    words = f"Kept of each path: {traversals.detail.words}."
    if traversals.left_out:
        words += f" {traversals.left_out} paths did not fit into the file; report.size makes room for them."
    return words
