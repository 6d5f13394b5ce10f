"""The command `compare-generators`: generators of counterfactuals on the same images, judged alike, in one table."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from cae.config import Config
from cae.continuing import continue_work
from cae.counterfactuals.find import targets_for
from cae.data.selection import Selection, changed_work, images_identity, readable, select_images
from cae.errors import UserError
from cae.files import read_json, update_json
from cae.generators.comparison import ARMS, GeneratorComparison, images_to_explain
from cae.generators.figures import draw_outcomes
from cae.generators.outcomes import LIST, read_features, read_values, write_images
from cae.generators.registry import build_arms
from cae.generators.table import Figure, stacked, write_tables
from cae.runs.label_agreement import check_labelled_images
from cae.runs.run_folder import RunFolder
from cae.runs.trained_run import TrainedRun, load_run
from cae.training.sharing import process_count

PICTURE = "generators.png"
FOLDER = "generators"  # whose figures become those of the run


def compare_generators(config: Config) -> None:
    """Give the same images to every generator and judge what comes of them; what is stopped goes on.

    Raises:
        UserError: for options that do not fit, before anything is trained; if some images could not be read, after all
            others are explained.
    """
    options = config.generators
    RunFolder(config).check_explanations(options.folder, "generators.folder")
    if process_count(config.trainer) > 1:
        raise UserError("compare-generators works in one process: set trainer.devices=1.")
    run = load_run(config)
    _check_target(config.counterfactual.target, run.classes)
    arms = build_arms(run, options.arms)
    chosen = select_images(config.data, run.data, options.images, options.split, options.limit)
    folder = run.folder.explanations(options.folder, "generators.folder")
    made_by = {arm.name: arm.identity for arm in arms}
    continue_work(folder, identity(run, chosen), "generators.folder", parts=made_by, changed=changed_work)
    check_labelled_images(run, options.split, folder)
    problems = list[str]()
    samples = [sample for _, sample in readable(chosen.images, chosen.order, problems)]
    if not samples:
        raise UserError(problems)
    images = images_to_explain(run, samples, config.counterfactual.target)
    write_images(folder, images)
    comparison = GeneratorComparison(run, arms, images, folder)
    comparison.work()
    text, figures = report(folder, options.pictures, config.seed)
    print(text)
    # figures of images that the networks were trained on, or that nobody else has, are not those of the run
    if options.images is None and options.split != "train" and options.folder == FOLDER:
        found = {f"generators/{one.arm}/{one.metric}": one.mean for one in figures}
        update_json(run.folder.path / "metrics.json", found, drop=("generators/",))
    left = len(samples) - len(images)
    already = f" ({left} more were of the target class already)" if left else ""
    print(f"{len(images)} images of {chosen.words}{already}; look at '{folder / PICTURE}', all numbers in "
          f"'{folder / 'table.csv'}' and 'rows.csv'")  # fmt: skip
    if problems:
        raise UserError(problems)


def identity(run: TrainedRun, chosen: Selection) -> dict[str, Any]:
    """Everything that all outcomes depend on, whatever made them, by the name of the option or model."""
    config, options = run.config, run.config.generators
    files = options.images is not None
    found: dict[str, Any] = {"seed": config.seed}
    found |= {f"generators.{name}": getattr(options, name) for name in ("images", "diversity")}
    found |= {} if files else {"generators.split": options.split}
    found |= {f"counterfactual.{name}": getattr(config.counterfactual, name) for name in ("target", "margin")}
    found |= images_identity(config.data, run.data, chosen.images)
    prints = {name: digits for name, digits in run.fingerprints.items() if name != "cae"}
    return found | {f"fingerprint of the {name}": digits for name, digits in prints.items()}


def report(folder: Path, pictures: int, seed: int = 0) -> tuple[str, list[Figure]]:
    """Tables and picture of what a folder of outcomes holds; the main table as text, and all figures."""
    listed = read_json(folder / LIST)
    images, arms = listed["images"], listed["arms"]
    places = {arm["name"]: folder / ARMS / arm["folder"] for arm in arms}
    values = {name: [read_values(place, one["file"]) for one in images] for name, place in places.items()}
    features = {name: stacked([read_features(place, one["file"]) for one in images]) for name, place in places.items()}
    found = write_tables(folder, [one["id"] for one in images], values, features, arms, seed)
    draw_outcomes(folder, listed, pictures, folder / PICTURE)
    return found


def _check_target(target: str, classes: tuple[str, ...]) -> None:
    """Raise a UserError unless every image has one target."""
    if target in ("any", "all") and target not in classes:
        raise UserError(
            f"every generator is to reach the same class: counterfactual.target must be a class ({', '.join(classes)}) "
            f"or runner-up, but got {target}."
        )
    targets_for(torch.zeros(1, len(classes)), target, classes)
