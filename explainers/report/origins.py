"""Whether the results that a report shows are of the models, and of the data, that the run holds now."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cae.classifiers import TargetClassifier
from cae.classifiers.checkpoints import read_metadata
from cae.classifiers.identity import weights_digest
from cae.classifiers.saved import is_own, is_trained_here, load_own_for
from cae.config import Config
from cae.continuing import UNFINISHED, read_note
from cae.data.fingerprint import same_data
from cae.files import read_header, read_json
from cae.models.cae import read_weights
from cae.runs.trained_run import other_oracle
from explainers.report.generator_outcomes import generator_folders
from explainers.report.holdings import Holdings

DIGITS = 16  # hexadecimal, of a fingerprint
OF_PARTS = ("cae",)  # models that single methods or generators are made with, by the name in their notes


@dataclass(frozen=True)
class Origin:
    """One result of the run, and what it was made with.

    Attributes:
        words: which result, as a sentence goes on after "the".
        command: what makes it anew.
        models: fingerprints by the model's name; several where its parts were made one by one.
        data: fingerprint of its images; None where it is not known.
        whole: False where the command that makes it was stopped on its way.
    """

    words: str
    command: str
    models: Mapping[str, Sequence[str]] = field(default_factory=dict)
    data: Any = None
    whole: bool = True

    @property
    def is_known(self) -> bool:
        """Whether anything is noted of it."""
        return bool(self.models) or self.data is not None or not self.whole


@dataclass(frozen=True)
class Origins:
    """How the results of a run go with what it holds.

    Attributes:
        known: results of which it is noted what they were made with.
        alike: those of them that were made with the models that the run holds now, on the data that it learnt from.
        faults: sentences on models and results that do not belong together.
        doubts: sentences on what may be meant: another oracle than that of the training, other data.
    """

    known: int = 0
    alike: int = 0
    faults: tuple[str, ...] = ()
    doubts: tuple[str, ...] = ()

    @property
    def sentences(self) -> list[str]:
        """All of them."""
        return [*self.faults, *self.doubts]


def judged_origins(holdings: Holdings) -> Origins:
    """Compare what every result of a run was made with to what lies there now.

    What is not noted, as by former versions, is not judged; nor is a classifier that lies elsewhere and that no CAE of
    the run knows.

    Raises:
        UserError: if a note, the CAE or the classifier is damaged, or classifier and options contradict each other.
    """
    present = _Present.of(holdings)
    program = f"explain.py {{}} … name={holdings.config.name}"
    known = [origin for origin in _origins(holdings, program) if origin.is_known]
    faults = {origin.words: sentence for origin in known if (sentence := _other_models(origin, present.models))}
    doubts = {
        origin.words: f"the {origin.words} are of other data than the run learnt from; if they should not be, "
        f"`{origin.command}` makes them anew"
        for origin in known
        if not same_data(origin.data, present.data)
    }
    alike = len(known) - len(faults.keys() | doubts.keys())
    return Origins(
        len(known), alike, (*present.faults, *faults.values()), (*present.doubts, *doubts.values())
    )  # fmt: skip


@dataclass(frozen=True)
class _Present:
    """What the run holds now: fingerprints of its models by name, that of the data it learnt from, what is amiss."""

    models: Mapping[str, str]
    data: Any
    faults: Sequence[str]
    doubts: Sequence[str]

    @classmethod
    def of(cls, holdings: Holdings) -> _Present:
        """Read what is needed of the files, without the networks where it stands in them."""
        path, models, header = holdings.folder / "cae.safetensors", dict[str, str](), dict[str, Any]()
        if path.exists():
            header, weights = read_weights(path)
            models["cae"] = weights_digest(weights)[:DIGITS]
        classifier = _own_classifier(holdings.config, holdings.classes, holdings.folder)
        trained, oracle = header.get("classifier"), holdings.oracle
        known = trained if classifier is None else classifier.fingerprint()
        models |= {} if known is None else {"classifier": known}
        models |= {} if oracle is None else {"oracle": oracle.fingerprint()}
        beside = other_oracle(header, models.get("oracle", ""), path)
        other = trained not in (None, known)
        faults = ["the CAE was trained against another classifier than the run has now: "
                  "`train.py cae … overwrite=true` trains it anew"] * other  # fmt: skip
        data = header.get("data") or read_header(holdings.folder / "classifier.safetensors").get("data")
        return cls(models, data, faults, [beside] if beside else [])


def _own_classifier(config: Config, classes: Sequence[str], folder: Path) -> TargetClassifier | None:
    """The classifier, where it is one that the program has trained and its file is there; others lie elsewhere."""
    options = config.classifier
    in_run = is_trained_here(options)
    path = folder / "classifier.safetensors" if in_run else Path(options.weights or "").expanduser()
    if not is_own(options) or not path.is_file():
        return None
    described = read_metadata(path).get("classes", classes)
    names = classes if set(classes) == set(described) else described
    return load_own_for(options, names, (config.data.channels, *config.data.sides), path)


def _origins(holdings: Holdings, program: str) -> Iterator[Origin]:
    """Everything that a report shows."""
    folder, explanations, config = holdings.folder, holdings.explanations, holdings.config
    if (manifold := holdings.manifold) is not None:
        made_by = {name: [digits] for name, digits in manifold.fingerprints.items()}
        yield Origin("class codes of the training images", "train.py cae … overwrite=true", made_by)
    of = read_json(folder / "diagnostics.json").get("of")
    if isinstance(of, dict):
        yield _noted("figures of the embedding", program.format("manifold"), of, {})
    for one in holdings.sets:
        yield _in_folder(f"paths in “{one.name}”", program.format("traverse"), one.folder, "traverse.folder")
    for path in sorted(explanations.glob("*/maps")):
        if not (path.parent / "facts.json").exists():
            command = program.format("compare")
            yield _in_folder(f"maps in “{path.parent.name}”", command, path.parent, "explain.folder")
    for path in generator_folders(explanations):
        command = program.format("compare-generators")
        yield _in_folder(f"counterfactuals in “{path.name}”", command, path, "generators.folder")
    yield _in_folder("pictures of the manifold", program.format("manifold"), explanations / "manifold")
    yield _in_folder("causal scores", program.format("caes"), explanations / config.caes.folder)
    yield _in_folder("sanity tests", program.format("sanity"), folder / config.sanity.folder)


def _in_folder(words: str, command: str, folder: Path, option: str | None = None) -> Origin:
    """What the note in a folder of results says; ``option`` names the folder on the command line."""
    place = f" {option}={folder.name}" if option else ""
    return _noted(words, f"{command}{place} overwrite=true", *read_note(folder))


def _noted(words: str, command: str, note: Mapping[str, Any], parts: Mapping[str, Any]) -> Origin:
    named = {name: note.get(f"fingerprint of the {name}", note.get(name)) for name in ("classifier", "oracle", "cae")}
    models = {name: [digits[:DIGITS]] for name, digits in named.items() if isinstance(digits, str) and digits}
    for name in OF_PARTS:
        found = [part[name] for part in parts.values() if isinstance(part, dict) and isinstance(part.get(name), str)]
        models |= {name: found} if found else {}
    return Origin(words, command, models, note.get("data"), UNFINISHED not in note)


def _other_models(origin: Origin, present: Mapping[str, str]) -> str | None:
    """A sentence on a result that was made by others than these models, or only in part by these."""
    again = f"`{origin.command}` makes them anew"
    if not origin.whole:
        return f"the {origin.words} were being made anew when that was stopped, and some may be former ones: {again}"
    others = [
        "CAE" if name == "cae" else name
        for name, made_by in origin.models.items()
        if name in present and any(digits != present[name] for digits in made_by)
    ]
    if not others:
        return None
    return f"the {origin.words} were made with another {' and another '.join(others)} than the run has now: {again}"
