"""What a run folder holds that a report can show: numbers, options, models and folders of results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cae.classifiers import TargetClassifier, load_own
from cae.classifiers.gates import saved_classifier_doubts, saved_oracle_doubt
from cae.config import Config
from cae.errors import UserError
from cae.files import existing_text, read_json
from cae.manifold.class_manifold import ClassManifold
from cae.runs.run_folder import RunFolder
from cae.written_files import refuse_links_out
from explainers.report.generator_outcomes import generator_folders
from explainers.report.traversals import ResultSet, result_sets

SOURCES = ("classifier.json", "oracle.json", "diagnostics.json")  # descriptions that carry numbers, beside metrics.json
DRAWN = {
    "axes.png": "Images moved along the directions between classes",
    "axes_edits.png": "Images moved along the directions that edits take",
    "axes_codes.png": "Images moved along the principal axes of the class codes",
    "prototypes.png": "Test images under the class codes of the classes' most central images",
}


@dataclass(frozen=True)
class Doubts:
    """Sentences on a classifier that cannot be explained well, and on an oracle that is not worth asking."""

    classifier: Sequence[str] = ()
    oracle: str | None = None


NO_DOUBTS = Doubts()


@dataclass(frozen=True, eq=False)
class Holdings:
    """A run as a report sees it.

    Attributes:
        config: of the run.
        folder: its place.
        classes: names; empty where nothing says them.
        metrics: every number, by name.
        sanity: outcome of each rule of the sanity tests.
        sets: folders of traversals.
        manifold: class codes of the training images, or None.
        oracle: the second classifier, or None, also where it is not worth asking.
        doubts: why classifier and oracle cannot be relied on.
    """

    config: Config
    folder: Path
    classes: Sequence[str]
    metrics: Mapping[str, float]
    sanity: Mapping[str, bool]
    sets: Sequence[ResultSet]
    manifold: ClassManifold | None
    oracle: TargetClassifier | None
    doubts: Doubts

    @property
    def explanations(self) -> Path:
        """Where results lie."""
        return self.folder / "explanations"

    @property
    def commonest(self) -> float:
        """Share of the commonest class among the training images; of equally frequent classes where it is unknown."""
        labels = None if self.manifold is None else self.manifold.labels[self.manifold.labels >= 0]
        if labels is None or not len(labels):
            return 1 / max(1, len(self.classes))
        return float(labels.bincount().max() / len(labels))


def open_holdings(config: Config) -> Holdings:
    """Read what lies in the folder of a run, without its data.

    Raises:
        UserError: if there is no such run, it holds nothing to report, or a file of it is damaged.
    """
    folder = RunFolder(config).path
    if not folder.is_dir():
        raise UserError(f"there is no run '{folder}': a report is made of what a run holds; set name= and runs=.")
    for place in ("explanations", config.sanity.folder):  # nothing else gets onto the page as a picture
        refuse_links_out(folder / place)
    sets = result_sets(folder / "explanations")
    manifold = ClassManifold.load(path) if (path := folder / "manifold.safetensors").exists() else None
    noted = _noted(folder, sets)
    metrics = {name: value for name, value in noted.items() if isinstance(value, int | float)}
    compared = any((folder / "explanations").glob("*/maps")) or generator_folders(folder / "explanations")
    if not metrics and not sets and manifold is None and not compared:
        raise UserError(
            f"'{folder}' holds nothing to report yet: run `python explain.py traverse … traverse.save=all` or "
            "`python explain.py compare …` first."
        )
    classes = _classes(folder, manifold, sets, metrics)
    doubts = Doubts(saved_classifier_doubts(folder), noted.get("oracle/doubt") or saved_oracle_doubt(folder))
    oracle = None if doubts.oracle else _oracle(folder, classes)
    return Holdings(config, folder, classes, metrics, _sanity(config, folder), sets, manifold, oracle, doubts)


def _noted(folder: Path, sets: Sequence[ResultSet]) -> dict[str, Any]:
    """Everything that the commands noted of the run by name: numbers, and reasons why some are missing."""
    found: dict[str, Any] = {}
    for name in SOURCES:
        found |= read_json(folder / name).get("metrics") or {}
    found |= read_json(folder / "metrics.json")
    if sets and "counterfactual/found" not in found:  # of files, or in a folder of another name
        found |= read_json(sets[0].folder / "metrics.json")
    return found


def _classes(
    folder: Path, manifold: ClassManifold | None, sets: Sequence[ResultSet], metrics: Mapping[str, float]
) -> list[str]:
    """Names of the classes, from the surest place that has them."""
    if manifold is not None:
        return list(manifold.classes)
    if described := read_json(folder / "classifier.json").get("classes"):
        return list(described)
    if recalled := [name.split("/", 2)[2] for name in metrics if name.startswith("classifier/recall/")]:
        return recalled
    rows = [row for one in sets for row in one.rows]
    return list(dict.fromkeys(name for row in rows for name in (row.source, row.target)))


def _sanity(config: Config, folder: Path) -> dict[str, bool]:
    """Outcome of each rule; the tests as wholes are left out."""
    found = read_json(folder / config.sanity.folder / "sanity.json")
    return {
        name.removesuffix("_passed"): value
        for name, value in found.items()
        if name.endswith("_passed") and isinstance(value, bool)
    }


def _oracle(folder: Path, classes: Sequence[str]) -> TargetClassifier | None:
    if not (folder / "oracle.safetensors").exists():
        return None
    oracle = load_own(folder, "oracle")
    return oracle if list(oracle.classes) == list(classes) else None


def pictures(holdings: Holdings) -> list[tuple[Path, str]]:
    """Pictures that other commands drew, with what they show: directions of the codes, sanity tests, causal scores."""
    named = [(holdings.explanations / "manifold" / name, words) for name, words in DRAWN.items()]
    sanity = holdings.folder / holdings.config.sanity.folder
    named += [(path, f"Sanity test: {path.stem.replace('_', ' ')}") for path in sorted(sanity.glob("*.png"))]
    caes = holdings.explanations / holdings.config.caes.folder
    named += [(path, f"Causal scores: {path.stem}") for path in sorted(caes.glob("*.png"))]
    return [(path, words) for path, words in named if path.exists()]


def model_words(config: Config) -> str:
    """The classifier in words."""
    weights = f", weights {Path(config.classifier.weights).name}" if config.classifier.weights else ""
    return f"{config.classifier.model}{weights}"


def config_text(folder: Path) -> str:
    """The saved configuration as it lies in the run; empty where there is none."""
    path = folder / "config.yaml"
    return existing_text(path) if path.exists() else ""


def commands(holdings: Holdings, program: str) -> list[tuple[str, str]]:
    """What lies in the run, and the command that makes it."""
    found = [
        ("a trained classifier", "train.py classifier", "classifier.safetensors"),
        ("a second classifier, the oracle", "train.py oracle", "oracle.safetensors"),
        ("a class association embedding", "train.py cae", "cae.safetensors"),
        ("the sanity tests", program.format("sanity"), f"{holdings.config.sanity.folder}/sanity.json"),
        ("the map of the classes", program.format("manifold"), "explanations/manifold"),
        ("causal scores", program.format("caes"), f"explanations/{holdings.config.caes.folder}/scores.csv"),
    ]
    listed = [(words, command) for words, command, place in found if (holdings.folder / place).exists()]
    listed += [(f"{len(one.rows)} paths in “{one.name}”", program.format("traverse")) for one in holdings.sets]
    return listed
