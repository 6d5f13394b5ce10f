"""Tables of ``docs/results`` on comparisons of explainers and on causal scores."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

COMPARED = {
    "deletion_auc_excess": "cell deletion, better than random",
    "insertion_auc_excess": "cell insertion, better than random",
    "deletion_infill_excess": "deletion with in-fill, better than random",
    "comprehensiveness_excess": "comprehensiveness, better than random",
    "pointing": "pointing game",
    "auprc": "AUPRC of the mask",
    "iou_area": "IoU at the mask's area",
    "evaluations": "evaluations",
    "seconds": "seconds",
}
COSTS = {"evaluations": "{:.0f}", "seconds": "{:.2f}"}  # means, which are not ranked


def comparison_section(folder: Path) -> str:
    """One table for each ``explanations_*.json``."""
    text = ""
    for path in sorted(folder.glob("explanations_*.json")):
        result = json.loads(path.read_text(encoding="utf-8"))
        figures = result["figures"]
        methods = list(dict.fromkeys(name.partition("/")[0] for name in figures))
        shown = [metric for metric in COMPARED if any(f"{method}/{metric}" in figures for method in methods)]
        text += f"\n## Explainers compared: {path.stem.removeprefix('explanations_')}\n\n"
        text += "| method | " + " | ".join(COMPARED[metric] for metric in shown) + " |\n|---|" + "---|" * len(shown)
        for method in methods:
            count = result.get("counts", {}).get(method, result["images"])
            words = method if count == result["images"] else f"{method} ({count} of {result['images']} images)"
            text += f"\n| {words} | " + " | ".join(_compared(result, f"{method}/{metric}") for metric in shown) + " |"
        text += "\n\nIn brackets: 95 % bootstrap interval over images."
        if "best" in result:
            text += " Bold: the intervals of the differences to every other row exclude zero."
        text += "\n\n" + _paired(result.get("differences", {})) + _choice(result.get("choice")) + _source(result)
    return text


def _compared(result: dict[str, Any], name: str) -> str:
    """A cell of a comparison."""
    metric, value = name.rpartition("/")[2], result["figures"].get(name)
    if metric in COSTS:
        return "–" if value is None else COSTS[metric].format(value)
    cell = _interval(result, name)
    return f"**{cell}**" if name in result.get("best", ()) else cell


def _choice(choice: dict[str, Any] | None) -> str:
    """What one half of the images chose, and what it does on the other half."""
    if choice is None:
        return ""
    chosen, (first, second) = choice["chosen"], choice["images"]
    text = f"Of the information maps, `{chosen}` has the largest sum of deletion with in-fill and insertion on one half"
    text += f" ({first} images).\nIts differences on both halves; the second ({second} images) chose nothing:\n\n"
    for words in ("development", "confirmation"):
        mine = {name: values for name, values in choice[words].items() if name.startswith(f"{chosen} - ")}
        text += _paired({name.replace(chosen, f"{words}: {chosen}"): values for name, values in mine.items()})
    return text


def _paired(differences: dict[str, list[float]]) -> str:
    """Information maps against the two methods that also ask only for answers, image by image."""
    if not differences:
        return ""
    metrics = list(dict.fromkeys(name.partition("/")[2] for name in differences))
    pairs = list(dict.fromkeys(name.partition("/")[0] for name in differences))
    text = "| paired difference | " + " | ".join(COMPARED[metric] for metric in metrics) + " |"
    text += "\n|---|" + "---|" * len(metrics)
    for pair in pairs:
        cells = []
        for metric in metrics:
            mean, low, high = differences[f"{pair}/{metric}"]
            shown = f"{mean:+.3f} [{low:+.3f}, {high:+.3f}]"
            cells.append(f"**{shown}**" if low > 0 or high < 0 else shown)
        text += f"\n| {pair} | " + " | ".join(cells) + " |"
    return text + "\n\nBold: the interval excludes zero.\n\n"


IN_FILLS = {
    "evaluations": ("evaluations of one image", "{:.0f}"),
    "beyond_classifier": ("time beyond the classifier", "{:.1%}"),
    "spearman_dense": ("rank correlation with a dense map", "{:.3f}"),
}


def cost_section(folder: Path) -> str:
    """What information maps cost, by in-fill."""
    path = folder / "information_cost.json"
    if not path.exists():
        return ""
    result = json.loads(path.read_text(encoding="utf-8"))
    figures, intervals = result["figures"], result["intervals"]
    shown = [name for name in IN_FILLS if any(figure.endswith(f"/{name}") for figure in figures)]
    text = "\n## Information maps: cost at 224 x 224\n\n"
    text += "| in-fill | " + " | ".join(IN_FILLS[name][0] for name in shown) + " |\n|---|" + "---|" * len(shown)
    for fill in dict.fromkeys(name.partition("/")[0] for name in figures):
        cells = []
        for name in shown:
            value, form = figures.get(f"{fill}/{name}"), IN_FILLS[name][1]
            ends = intervals.get(f"{fill}/{name}")
            cell = "–" if value is None else form.format(value)
            cells.append(cell + (f" [{', '.join(form.format(end) for end in ends)}]" if ends else ""))
        text += f"\n| {fill} | " + " | ".join(cells) + " |"
    text += "\n\nWanted: at most 1,500 evaluations, and at most 10 % of the time beyond them.\n\n"
    return text + _source(result)


SAMPLERS = ("lowrank", "categorical", "gaussian", "diagonal_gaussian", "histogram")


def sampler_section(folder: Path) -> str:
    """Bits per dimension of the learned in-fill and of simpler ones."""
    path = folder / "samplers.json"
    if not path.exists():
        return ""
    result = json.loads(path.read_text(encoding="utf-8"))
    figures = result["figures"]
    data = list(dict.fromkeys(name.partition("/")[0] for name in figures))
    rows = [*SAMPLERS, *(f"{head} - gaussian" for head in SAMPLERS[:2])]
    text = "\n## In-fills: bits per dimension of windows of test images\n\n| model | " + " | ".join(data) + " |\n|---|"
    text += "---|" * len(data)
    for row in rows:
        if any(f"{name}/{row}" in figures for name in data):
            words = f"learned, head {row}" if row.split(" - ")[0] in SAMPLERS[:2] else row.replace("_", " ")
            cells = [_interval(result, f"{name}/{row}") for name in data]
            text += f"\n| {words} | " + " | ".join(cells) + " |"
    sizes = [f"{name}: {figures[f'{name}/window']:.0f} px, {figures[f'{name}/images']:.0f} images" for name in data]
    text += f"\n\nLower is better. Windows and test images: {'; '.join(sizes)}. In brackets: 95 % bootstrap interval "
    return text + "over images; differences are paired.\n\n" + _source(result)


def causal_section(folder: Path) -> str:
    """The accuracy of the neural causation coefficient, and the scores of mask sources."""
    path = folder / "caes_pairs.json"
    if not path.exists():
        return ""
    result = json.loads(path.read_text(encoding="utf-8"))
    figures = result["figures"]
    names = [name for name in figures if name.startswith("synthetic/") and not name.endswith("/pairs")]
    text = "\n## Neural causation coefficient: direction told\n\n"
    text += "| networks | held-out synthetic pairs | Tübingen pairs |\n|---|---|---|"
    for name in names:
        label = name.partition("/")[2]
        text += (
            f"\n| {label.replace('_', ' ')} | {_interval(result, name)} | {_interval(result, f'tuebingen/{label}')} |"
        )
    return (
        text + "\n\nIn brackets: binomial 95 % interval; for the mean, the range over networks.\n\n" + _source(result)
    )


CAUSAL = {
    "necessity": "necessity",
    "necessity_gain": "necessity beyond equal area",
    "sufficiency": "sufficiency",
    "caes_do": "do-effect of object features",
    "caes_obj": "causation of object features (NCC)",
    "caes_rank": "anticausal against object ratio (NCC)",
}
SOURCES = {  # what the masks of each study are compared with, in words
    "lesions": "lesions, exact and spoiled annotations, and explainers at equal area",
    "shortcut": "planted shortcut: the marker's area against the lesion's",
    "pneumonia": "chest X-rays, explainers alone",
}


def causal_scores_section(folder: Path) -> str:
    """One table for each study of mask sources: scores, and their difference from the masks compared with."""
    text = ""
    for part, words in SOURCES.items():
        path = folder / f"caes_{part}.json"
        if not path.exists():
            continue
        result = json.loads(path.read_text(encoding="utf-8"))
        figures = result["figures"]
        sources = list(dict.fromkeys(name.rsplit("/", 1)[0] for name in figures if name.endswith("/area")))
        sources += [name for name in ("marker minus lesion",) if f"{name}/necessity/p_swap" in figures]
        shown = [name for name in CAUSAL if any(f"{source}/{name}" in figures for source in sources)]
        text += f"\n## Causal scores: {words}\n\n| masks | share of the image | "
        text += " | ".join(CAUSAL[name] for name in shown) + " |\n|---|---|" + "---|" * len(shown)
        for source in sources:
            area = figures.get(f"{source}/area")
            cells = [_interval(result, f"{source}/{name}") for name in shown]
            text += f"\n| {source} | {'–' if area is None else f'{area:.1%}'} | " + " | ".join(cells) + " |"
        text += _differences(result, sources, shown)
        text += "\n\nIn brackets: 95 % bootstrap interval over images; scores by our own definitions "
        text += "([causal scores](../../methods/causal_scores.md)).\n\n" + _source(result)
    return text


def _differences(result: dict[str, Any], sources: list[str], shown: list[str]) -> str:
    rows = [source for source in sources if f"{source}/necessity/difference" in result["figures"]]
    if not rows:
        return ""
    text = (
        "\n\n| less the class's first masks, same images | " + " | ".join(CAUSAL[name] for name in shown) + " |\n|---|"
    )
    text += "---|" * len(shown)
    for source in rows:
        cells = [_interval(result, f"{source}/{name}/difference") for name in shown]
        text += f"\n| {source} | " + " | ".join(cells) + " |"
    return text


def _interval(result: dict[str, Any], name: str) -> str:
    value, interval = result["figures"].get(name), result["intervals"].get(name)
    if value is None:
        return "–"
    return f"{value:.3f}" + (f" [{interval[0]:.3f}, {interval[1]:.3f}]" if interval else "")


def _source(result: dict[str, Any]) -> str:
    images = f"{result['images']} image{'s' if result['images'] != 1 else ''}, " if result["images"] else ""
    return f"* {images}{result['machine']}: `{result['command']}`\n"
