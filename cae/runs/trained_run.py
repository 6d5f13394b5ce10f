"""Opening a trained run to explain with it: everything is loaded once and checked against everything else."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from cae.classifiers import ClassifierReader, TargetClassifier, readable
from cae.classifiers.gates import load_oracle
from cae.classifiers.identity import state_digest
from cae.config import Config
from cae.data import CAEDataModule
from cae.errors import UserError, did_you_mean
from cae.manifold.class_manifold import ClassManifold
from cae.models.cae import CAE
from cae.models.loading import load_cae
from cae.models.published import PublishedCAE
from cae.runs.classifier_run import ClassifierRun, open_classifier
from cae.runs.run_config import known_runs, run_config
from cae.runs.run_folder import CAE_COMMAND, RunFolder

STALE = 0.05  # standard deviations by which a code may differ from the manifold's; another device moves it by far less


@dataclass(frozen=True, eq=False)
class TrainedRun(ClassifierRun):
    """A trained run: models frozen, in evaluation mode, on ``device``.

    ``oracle`` is None where the run has none, or none worth asking: then ``oracle_doubt`` says why.
    """

    data: CAEDataModule
    oracle: TargetClassifier | None
    cae: CAE | PublishedCAE
    manifold: ClassManifold
    oracle_doubt: str | None = None

    @cached_property
    def fingerprints(self) -> dict[str, str]:
        """16 hexadecimal digits for each model by name; those of an absent oracle are empty."""
        return {
            "cae": state_digest(self.cae)[:16],
            "classifier": self.classifier.fingerprint(),
            "oracle": self.oracle.fingerprint() if self.oracle is not None else "",
        }


def load_run(run: Config | str | Path, *overrides: str, trust_programs: bool = False) -> TrainedRun:
    """Load what ``train.py`` left in a run folder, ready to explain.

    Args:
        run: the folder of the run, such as ``runs/demo``; its name, where it lies in ``runs``; ``pretrained`` for the
            models that the package carries; or a configuration.
        overrides: ``key=value`` settings of this call, such as ``trainer.accelerator=cpu``.
        trust_programs: let the folder name a classifier that is a program (Python code, TorchScript). Without it, a
            folder is data, and such a classifier runs only if an override names it.

    Raises:
        UserError: if something is missing (with the command that makes it), unreadable, or does not belong together,
            such as a CAE that was trained against another classifier.
    """
    config = run_config(run, overrides, trust_programs)
    folder = RunFolder(config)
    weights, codes = _trained_files(folder)
    opened = open_classifier(config)
    oracle, doubt = load_oracle(folder.path, opened.classifier)
    if doubt is not None:
        print(f"warning: {doubt}")
    cae, header = load_cae(weights, lambda header: _reader(opened, header, weights))
    # how many neighbours a code has is a matter of this call, not of the training
    manifold = dataclasses.replace(ClassManifold.load(codes), config=config.manifold, seed=config.seed)
    found = TrainedRun(
        config, folder, opened.require_data(), opened.classifier, opened.device, oracle, cae, manifold, doubt
    )
    problems = [*_misfits(found, header, weights), *_manifold_misfits(found, codes)]
    if problems:
        raise UserError(problems)
    if sentence := other_oracle(header, found.fingerprints["oracle"], weights):
        print(f"warning: {sentence}")
    for model in (cae, opened.classifier, oracle):
        if model is not None:
            model.to(opened.device).eval().requires_grad_(False)
    return found


def _trained_files(folder: RunFolder) -> tuple[Path, Path]:
    if not folder.path.is_dir():
        runs = folder.path.parent
        others = known_runs(runs, "cae.safetensors")
        there = f"; runs with a trained CAE are {', '.join(others)}" if others else ""
        raise UserError(
            f"there is no run '{folder.path}'{did_you_mean(folder.path.name, others)}: train it with `{CAE_COMMAND}`, "
            f"or set name= and runs={there}."
        )
    return folder.require("cae.safetensors", CAE_COMMAND), folder.require("manifold.safetensors", CAE_COMMAND)


def _reader(run: ClassifierRun, header: dict[str, Any], path: Path) -> ClassifierReader | None:
    """What reads the classifier, for a CAE that is built on its features; those of another may be of other sizes."""
    problem = _other_classifier(run, header, path)
    if problem:
        raise UserError(problem)
    return readable(run.classifier)


def _other_classifier(run: ClassifierRun, header: dict[str, Any], path: Path) -> str | None:
    """What is wrong where the CAE was trained against another classifier."""
    trained, present = header.get("classifier"), run.classifier.fingerprint()
    if trained in (None, present):
        return None
    return (
        f"'{path}' was trained against another classifier (fingerprint {trained}) than the present one ({present}, "
        f"classifier.model={run.config.classifier.model}), whose decisions it cannot explain: train the CAE anew "
        f"with `{CAE_COMMAND} overwrite=true`, or set classifier.model and classifier.weights to the former one."
    )


def other_oracle(header: Mapping[str, Any], present: str, path: Path) -> str | None:
    """What to say where a CAE was trained beside another oracle than the present one, of this fingerprint.

    Nothing is wrong with its edits then, nor with what is measured of them now. None also where either is not there, or
    the file, of a former version, does not tell.
    """
    trained = header.get("oracle")
    if not trained or not present or trained == present:
        return None
    return (
        f"'{path}' was trained beside another oracle (fingerprint {trained}) than the present one ({present}): the "
        "best checkpoint was chosen by the former, and cae/validation_best and metrics.csv tell of it; what is "
        "measured now is judged by the present one. To have one judge for all, train the CAE anew with "
        f"`{CAE_COMMAND} overwrite=true`"
    )


def _misfits(run: TrainedRun, header: dict[str, Any], path: Path) -> list[str]:
    """What the CAE's header says otherwise than the data and the classifier at hand."""
    if header.get("classifier") is None:
        print(f"note: '{path}' does not say which classifier it was trained against; it is taken to be the present one")
    problems = [problem for problem in [_other_classifier(run, header, path)] if problem]
    classes = header.get("classes", list(run.data.classes))
    if list(classes) != list(run.data.classes):
        problems.append(f"'{path}' knows the classes {_listed(classes)}, but the data has {_listed(run.data.classes)}.")
    if tuple(run.cae.image_shape) != run.data.image_shape:
        problems.append(
            f"'{path}' was trained on images (C, H, W) = {tuple(run.cae.image_shape)}, but data.channels and "
            f"data.image_size give {run.data.image_shape}: leave them as the run was trained."
        )
    if run.oracle is not None and run.oracle.classes != run.data.classes:
        problems.append(
            f"'{run.folder.path / 'oracle.safetensors'}' knows the classes {_listed(run.oracle.classes)}, but the data "
            f"has {_listed(run.data.classes)}: train it anew with `python train.py oracle … overwrite=true`."
        )
    return problems


@torch.no_grad()
def _manifold_misfits(run: TrainedRun, path: Path) -> list[str]:
    """Whether the manifold holds codes of this CAE; a training stopped at its very end leaves former ones."""
    remedy = f"train the CAE anew with `{CAE_COMMAND} overwrite=true`."
    manifold, width = run.manifold, run.cae.class_dim
    if manifold.codes.shape[1] != width:
        return [f"'{path}' holds codes of {manifold.codes.shape[1]} numbers, but the CAE gives {width}: {remedy}"]
    others = [name for name, digits in manifold.fingerprints.items() if run.fingerprints.get(name) != digits]
    if others:
        models = " and another ".join("CAE" if name == "cae" else name for name in others)
        return [f"'{path}' was made by another {models} than that of the run: {remedy}"]
    first = run.data.train[0] if tuple(run.cae.image_shape) == run.data.image_shape else None
    if first is None or manifold.ids[0] != first.id:  # other images than those of the training: nothing to compare
        return []
    code = run.cae.encode(first.image[None]).class_code[0]
    if float(((code - manifold.codes[0]) / manifold.std).abs().max()) > STALE:
        return [f"'{path}' was made by another CAE than '{path.with_name('cae.safetensors')}': {remedy}"]
    return []


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names)
