"""The command `caes`: causal explanation scores of a data set, by class and by whose masks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from torch import Tensor

from cae.config import Config
from cae.continuing import made_anew
from cae.csv_files import write_csv
from cae.errors import UserError, did_you_mean
from cae.files import write_json
from cae.metrics.statistics import holm, sign_test
from cae.runs.classifier_run import ClassifierRun, open_classifier
from cae.runs.label_agreement import check_labelled_images
from cae.runs.run_folder import RunFolder
from explainers.base import Explainer
from explainers.caes.figures import class_figure
from explainers.caes.mask_sources import (
    OF_DATA,
    ClassImages,
    class_images,
    data_masks,
    explained_maps,
    thresholded,
    usable_sources,
)
from explainers.caes.ncc import NeuralCausation
from explainers.caes.result import STATEMENT, CausalScores
from explainers.caes.score_terms import INTERVENTIONAL
from explainers.caes.study import LEAST_IMAGES_FOR_RATIOS, ClassStudy, ScoreSettings
from explainers.commands.resources import build_explainers
from explainers.registry import parse_options

Scores = dict[str, dict[str, CausalScores]]  # by class, then by source


def caes(config: Config) -> None:
    """Score the masks of annotators and explainers, class by class, and compare them.

    Raises:
        UserError: for options that do not fit the run, or if no class has enough images.
    """
    options = config.caes
    RunFolder(config).check_explanations(options.folder, "caes.folder")
    run = open_classifier(config)
    data = run.require_data()
    classes = _chosen_classes(options.classes, data.classes)
    split = data.dataset(options.split)
    images = {name: class_images(split, data.classes.index(name), options.limit) for name in classes}
    has_masks = any(found.masks is not None for found in images.values())
    sources = usable_sources(options.masks, has_masks)
    methods = [name for name in sources if name not in OF_DATA]
    settings = parse_options(config.explain.options, methods)
    size = options.batch_size
    explainers = build_explainers(run, {name: {"batch_size": size, **settings[name]} for name in methods})
    ncc = NeuralCausation.load(options.ncc)
    place = run.folder.explanations(options.folder, "caes.folder")
    check_labelled_images(run, options.split, place)
    with made_anew(place, {"classifier": run.classifier.fingerprint(), "data": data.fingerprint}):
        _write(place, _scored(run, images, sources, explainers, ncc, place), sources[0])


def _scored(
    run: ClassifierRun,
    images: Mapping[str, ClassImages],
    sources: Sequence[str],
    explainers: Mapping[str, Explainer],
    ncc: NeuralCausation,
    place: Path,
) -> Scores:
    """Scores of every class that has enough images, written as they come."""
    has_masks, split = any(found.masks is not None for found in images.values()), run.config.caes.split
    scores: Scores = {}
    for name, found in images.items():
        if len(found.images) < LEAST_IMAGES_FOR_RATIOS or (has_masks and found.masks is None):
            print(f"{name}: left out, {len(found.images)} images that can be scored ({found.left_out} without a mask)")
            continue
        print(f"{name}: {len(found.images)} images, masks by {', '.join(sources)}")
        scores[name] = _score_class(run, found, sources, explainers, ncc, place)
    if not scores:
        raise UserError(f"no class has {LEAST_IMAGES_FOR_RATIOS} images that can be scored in the {split} split.")
    return scores


def _chosen_classes(wanted: Sequence[str], known: Sequence[str]) -> list[str]:
    unknown = [name for name in wanted if name not in known]
    if unknown:
        near = did_you_mean(unknown[0], known)
        raise UserError(f"caes.classes names {unknown[0]!r}, but the classes are {', '.join(known)}{near}.")
    return list(wanted or known)


def _score_class(
    run: ClassifierRun,
    found: ClassImages,
    sources: Sequence[str],
    explainers: Mapping[str, Explainer],
    ncc: NeuralCausation,
    place: Path,
) -> dict[str, CausalScores]:
    config, options = run.config, run.config.caes
    settings = ScoreSettings(
        fill=options.fill, rolls=options.rolls, blobs=options.blobs, n_boot=options.bootstrap,
        n_perm=options.permutations, link_permutations=options.link_permutations, batch_size=options.batch_size,
        seed=config.seed,
    )  # fmt: skip
    study = ClassStudy(run.classifier, found.images, found.target, settings, ncc)
    classifier = {"classifier": run.classifier.fingerprint()}
    masks: dict[str, Tensor] = {}
    scores: dict[str, CausalScores] = {}
    reference = None
    for source in sources:
        if source in OF_DATA and found.masks is not None:
            masks[source], rule, tied = data_masks(source, found.masks, config.seed), "as the data has it", 0.0
        else:
            maps = explained_maps(
                explainers[source], found, config.seed, place / "maps", classifier | explainers[source].fingerprints
            )
            masks[source], rule, tied = thresholded(maps, found, options, config.seed)
        effects = study.removal_effects(masks[source])
        scores[source] = study.score(effects, reference, source=source, threshold=rule, tied=tied)
        scores[source].save(place / "scores" / f"{scores[source].facts['class']}-{source}.safetensors")
        reference = reference or effects
    class_figure(found.images, masks, scores, place / f"{scores[sources[0]].facts['class']}.png")
    return scores


def _write(place: Path, scores: Scores, reference: str) -> None:
    """The long table, the comparison over classes, and what to read first."""
    rows = [
        scores[name][source].to_frame().assign(**{"class": name, "source": source, "area": row.facts["area_mean"]})
        for name in scores
        for source, row in scores[name].items()
    ]
    _save_table(pd.concat(rows), place / "scores.csv")
    compared = pd.DataFrame(comparison(scores, reference))
    _save_table(compared, place / "comparison.csv")
    facts = {name: {source: dict(row.facts) for source, row in by.items()} for name, by in scores.items()}
    write_json(place / "facts.json", {"statement": STATEMENT, "reference": reference, "facts": facts})
    print(_summary(scores, reference))
    print(f"caes: tables and a figure of each class in '{place}'")


def comparison(scores: Scores, reference: str) -> list[dict[str, Any]]:
    """Every source against the reference: mean difference over the classes, with Holm's correction and the sign test.

    ``survives`` counts the classes in which the source is better than the reference (interval above 0, corrected swap
    test below .05) and better than its own displaced copies (roll test below .05).
    """
    rows = []
    sources = [source for source in next(iter(scores.values())) if source != reference]
    for source in sources:
        for term in [row.name for row in next(iter(scores.values()))[source].differences]:
            by_class = {
                name: by[source].difference(term)
                for name, by in scores.items()
                if any(row.name == term for row in by[source].differences)
            }
            corrected = dict(zip(by_class, holm([row.p_swap for row in by_class.values()]), strict=True))
            sure = {name: row for name, row in by_class.items() if corrected[name] < 0.05}
            better = [name for name, row in sure.items() if row.low > 0]
            survives = [name for name in better if (scores[name][source][term].p_roll or 1) < 0.05]
            values = [row.value for row in by_class.values()]
            rows.append(
                {
                    "source": source,
                    "term": term,
                    "kind": "intervention" if term in INTERVENTIONAL else "observation",
                    "classes": len(values),
                    "mean_difference": sum(values) / len(values),
                    "better": len(better),
                    "survives": len(survives),
                    "worse": sum(row.high < 0 for row in sure.values()),
                    "p_sign": sign_test(values),
                    "smallest_p_holm": min(corrected.values()),
                }
            )
    return rows


def _summary(scores: Scores, reference: str) -> str:
    """The primary terms as text, one line per class and source."""
    shown = ("necessity", "necessity_gain", "sufficiency", "caes_do", "caes_obj")
    lines = [f"{'class':12} {'masks':20} {'area':>5}  " + "  ".join(f"{name:>24}" for name in shown)]
    for name, by in scores.items():
        for source, row in by.items():
            cells = "  ".join(f"{_cell(row, term):>24}" for term in shown)
            lines.append(f"{name:12} {source:20} {row.facts['area_mean']:5.1%}  {cells}")
    lines.append("value [95 % interval] (z: standard deviations above displaced copies of the same masks)")
    flags = sorted({flag for by in scores.values() for row in by.values() for flag in row.facts["flags"]})
    return "\n".join([*lines, *(f"note: {flag}" for flag in flags), STATEMENT])


def _cell(scores: CausalScores, term: str) -> str:
    row = scores[term]
    if row.value is None or row.low is None or row.high is None:
        return "–"
    excess = "" if row.excess is None else f" ({row.excess:.1f})"
    return f"{row.value:.2f} [{row.low:.2f}, {row.high:.2f}]{excess}"


def _save_table(frame: pd.DataFrame, path: Path) -> None:
    cells = frame.astype(object).where(frame.notna(), None)
    write_csv(path, list(frame.columns), cells.itertuples(index=False, name=None))
