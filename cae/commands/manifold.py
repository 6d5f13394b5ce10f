"""The command ``manifold``: maps of the class codes, what directions between them change, and the diagnostics."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from cae.classifiers.gates import DIAGNOSTIC_FIGURES, null_figures
from cae.config import Config
from cae.continuing import made_anew
from cae.counterfactuals.path_comparison import compare_paths
from cae.data.selection import spread_over_classes
from cae.diagnostics.cache import cached_diagnostics
from cae.diagnostics.diagnostic_warnings import diagnostic_warnings
from cae.diagnostics.direction_measures import measure_class_directions, measure_latent_directions
from cae.diagnostics.figures import draw_reassignment, swap_grid
from cae.diagnostics.reassignment import matrix_of
from cae.files import update_json, write_json
from cae.manifold.code_lines import code_lines, representatives
from cae.manifold.figures import draw_embedding, draw_traversals
from cae.manifold.image_codes import (
    THUMBNAIL,
    ImageCodes,
    encode_rows,
    holds_images_of,
    manifold_codes,
    sampled_rows,
    save_thumbnails,
    stacked_images,
)
from cae.manifold.latent_directions import class_directions
from cae.manifold.latent_shift import LatentShift, find_latent_directions
from cae.manifold.outliers import LabelIssue, Outlier, find_label_issues, find_outliers, write_rows
from cae.manifold.projection import embed
from cae.manifold.traversals import class_traversals, decode_under, latent_traversals, principal_traversals
from cae.runs.label_agreement import check_labelled_images
from cae.runs.trained_run import TrainedRun, load_run
from cae.tables.summary import table

MOST_POINTS = 2000  # of a map; more would hide one another
MOVED = 300  # test images from which those moved along directions are drawn
COMPARED = 60  # test images whose straight path is compared with that through the graph
RECIPIENTS = 6  # test images that take over the prototypes' class codes
LEAST_FOR_MAPPER = 7  # codes: its radius comes from the fifth neighbour
LINES = (
    ("cae/reassignment", "swaps that take the donor's class, by the classifier"),
    ("cae/reassignment_oracle", "the same by the oracle, which no training followed"),
    ("cae/reassignment_residual", "the same for the change added to the original, by the classifier"),
    ("cae/reassignment_residual_oracle", "the same by the oracle"),
    ("cae/reassignment_gaussian_codes", "    control: class codes drawn from a normal distribution"),
    ("cae/retention", "swaps within a class that keep it"),
    ("cae/reconstruction_mae", "mean absolute reconstruction error"),
    ("cae/reconstruction_consistency", "reconstructions that keep the class"),
    ("cae/coherency", "agreement of all swaps with one donor's class code"),
    ("cae/participation_ratio", "dimensions that the class codes fill"),
    ("cae/participation_ratio_edits", "dimensions that the edits fill"),
    ("cae/class_probe", "class read from the class code (balanced accuracy)"),
    ("cae/individual_probe", "class read from the individual code; best if no more than a guess"),
    ("cae/smote_reassignment", "swaps with codes made between two of a class that take the class"),
    ("cae/smote_reassignment_oracle", "the same by the oracle"),
    ("cae/smoothness_monotone", "steps of a path in which the target's probability does not fall"),
    ("cae/smote_smoothness_monotone", "the same on paths to codes made between two of a class"),
    ("axes/reached", "images that take the class at the other end of a direction between classes"),
    ("axes/reached_random", "    control: moved as far in a random direction"),
    ("axes/decision_relevant", "principal axes of the edits that change predictions"),
    ("paths/line_found", "counterfactuals found on the straight path"),
    ("paths/graph_minus_line_found", "found on the path through the graph, minus that"),
    ("paths/line_gap", "distance of the straight path to the training codes, in neighbour distances"),
    ("paths/graph_minus_line_gap", "that of the path through the graph, minus that"),
)


def manifold(config: Config) -> None:
    """Draw the map of the classes and measure the embedding on the test split.

    Writes pictures, graphs and lists to ``explanations/manifold`` and the figures into the run's ``metrics.json``.

    Raises:
        UserError: if something of the run is missing or does not fit, or an embedding is not installed.
    """
    run = load_run(config)
    folder = run.folder.explanations("manifold")
    check_labelled_images(run, "test", folder)
    with made_anew(folder, {**run.fingerprints, "data": run.data.fingerprint}):
        _draw_and_measure(run, folder)


def _draw_and_measure(run: TrainedRun, folder: Path) -> None:
    """Write everything, and say what there is to see."""
    config = run.config
    test = encode_rows(
        run.cae, run.classifier, run.data.test, sampled_rows(len(run.data.test), MOST_POINTS, config.seed),
        config.counterfactual.batch_size,
    )  # fmt: skip
    files = [*_draw_maps(run, test, folder), *_draw_codes(run, folder), *_write_graphs(run, folder)]
    _save_lines(run, folder / "lines.safetensors")
    metrics = cached_diagnostics(run.cae, run.classifier, run.oracle, run.manifold, run.data, config, run.folder.path)
    moved, drawn = _move_along_directions(run, folder)
    listed, lists = _write_outliers(run, test, folder)
    more = moved | listed | _compare_paths(run)
    absent = null_figures(run.oracle_doubt, DIAGNOSTIC_FIGURES)
    update_json(run.folder.path / "metrics.json", more | absent)
    metrics |= more
    write_json(folder / "metrics.json", metrics | absent)
    _report(run, metrics, [_draw_matrices(run, metrics, folder), *files, *drawn, *lists])


def _draw_maps(run: TrainedRun, test: ImageCodes, folder: Path) -> list[Path]:
    """Every embedding of training codes; the principal axes of these also for test codes, which training never saw."""
    files, seed, name = [], run.config.seed, run.config.name
    train = manifold_codes(run.manifold, sampled_rows(len(run.manifold), MOST_POINTS, seed), run.data.train)
    if train.thumbnails is not None:
        save_thumbnails(train.thumbnails, train.ids, folder / "thumbnails.safetensors")
    for method in run.config.manifold.embeddings:
        files.append(folder / f"{method}.png")
        draw_embedding(embed(train.codes, method, seed), train, run.classes, files[-1], f"{name}, training images")
    if "pca" in run.config.manifold.embeddings:
        files.append(folder / "pca_test.png")
        embedding = embed(test.codes, "pca", seed, train=train.codes)
        draw_embedding(embedding, test, run.classes, files[-1], f"{name}, test images")
    return files


@torch.no_grad()
def _draw_codes(run: TrainedRun, folder: Path) -> list[Path]:
    """What the principal axes of the class codes change, and what the classes' most central images hand on."""
    recipients = _test_images(run, RECIPIENTS)
    codes = run.cae.encode(recipients.to(run.device))
    files = [folder / "axes_codes.png"]
    batch_size = run.config.counterfactual.batch_size
    traversals = principal_traversals(run.cae, run.classifier, run.manifold, codes[:1], batch_size)
    draw_traversals(traversals, run.classes, files[0])
    if holds_images_of(run.manifold, run.data.train):
        files.append(folder / "prototypes.png")
        _draw_prototypes(run, recipients, codes.individual_code, files[1])
    return files


def _save_lines(run: TrainedRun, path: Path) -> None:
    """Images on lines between codes, for a report, which cannot compute any; none where the images are not at hand."""
    rows = representatives(run.manifold)
    if len(rows) < 2 or not holds_images_of(run.manifold, run.data.train):
        return path.unlink(missing_ok=True)
    images, batch_size = stacked_images(run.data.train, rows), run.config.counterfactual.batch_size
    shift = LatentShift.of(run.cae, {"target": run.classifier}, images, batch_size)
    code_lines(shift, [run.manifold.ids[row] for row in rows], THUMBNAIL).save(path)


def _draw_prototypes(run: TrainedRun, recipients: Tensor, individual: Tensor, path: Path) -> None:
    """Test images under the class code of each class's medoid, the training image at the centre of its class."""
    found = [run.manifold.prototypes(k) for k in range(len(run.classes))]
    medoids = [prototype.medoid for prototype in found if prototype is not None]
    codes, batch_size = run.manifold.codes[medoids], run.config.counterfactual.batch_size
    swaps = [decode_under(run.cae, codes, code[None], batch_size) for code in individual]
    swap_grid(recipients, stacked_images(run.data.train, medoids), torch.stack(swaps), path)


@torch.no_grad()
def _move_along_directions(run: TrainedRun, folder: Path) -> tuple[dict[str, float], list[Path]]:
    """Images moved along directions between classes and along those of the edits, measured and drawn."""
    seed, std = run.config.seed, run.manifold.std
    classifiers = {"target": run.classifier} | ({"oracle": run.oracle} if run.oracle is not None else {})
    shift = LatentShift.of(run.cae, classifiers, _test_images(run, MOVED), run.config.counterfactual.batch_size)
    probabilities = shift.probabilities(shift.originals)
    predictions = probabilities.argmax(1)
    named, edits = class_directions(run.manifold), find_latent_directions(shift, predictions, run.manifold, seed)
    metrics = measure_class_directions(shift, predictions, named, std, seed)
    metrics |= measure_latent_directions(shift, predictions, edits, std, seed)
    files = []
    if (between := class_traversals(shift, named, probabilities, run.classes)) is not None:
        files.append(folder / "axes.png")
        draw_traversals(between, run.classes, files[-1])
    files.append(folder / "axes_edits.png")
    draw_traversals(latent_traversals(shift, edits, predictions, std, seed), run.classes, files[-1])
    return metrics, files


def _write_outliers(run: TrainedRun, test: ImageCodes, folder: Path) -> tuple[dict[str, float], list[Path]]:
    """Training and test images whose codes stand out, as two tables, and how many there are."""
    parts = manifold_codes(run.manifold, run.manifold.subset), test
    issues = [issue for part in parts for issue in find_label_issues(run.manifold, part)]
    outliers = [outlier for part in parts for outlier in find_outliers(run.manifold, part)]
    files = [folder / "label_issues.csv", folder / "outliers.csv"]
    write_rows(files[0], LabelIssue, issues)
    write_rows(files[1], Outlier, outliers)
    counts = {f"outliers/{kind}_issues": sum(one.kind == kind for one in issues) for kind in ("label", "prediction")}
    return {**counts, "outliers/far_codes": len(outliers)}, files


def _compare_paths(run: TrainedRun) -> dict[str, float]:
    """The straight path beside that through the graph, for the same test images."""
    return compare_paths(
        run.cae, run.classifier, run.oracle, run.manifold, _test_images(run, COMPARED), run.config.counterfactual,
        run.config.seed,
    )  # fmt: skip


def _write_graphs(run: TrainedRun, folder: Path) -> list[Path]:
    """The Mapper graph of the training codes, for Gephi, Cytoscape and the like, and as JSON."""
    if len(run.manifold.subset) < LEAST_FOR_MAPPER:
        return []
    graph, paths = run.manifold.mapper(), [folder / "graph.graphml", folder / "graph.json"]
    for path in paths:
        graph.save(path)
    return paths


def _draw_matrices(run: TrainedRun, metrics: dict[str, float], folder: Path) -> Path:
    path = folder / "reassignment.png"
    oracle = matrix_of(metrics, run.classes, "cae/reassignment_oracle") if run.oracle is not None else None
    draw_reassignment(matrix_of(metrics, run.classes), oracle, run.classes, path)
    return path


def _report(run: TrainedRun, metrics: dict[str, float], files: Sequence[Path]) -> None:
    print(f"{metrics['cae/test_images']:.0f} test images; a guess is right with {1 / len(run.classes):.2f}")
    print(f"{'':2}{'':8}  {'95 % interval':<17}")
    print(table(metrics, LINES))
    for sentence in diagnostic_warnings(metrics, run.classes):
        print(f"warning: {sentence}")
    print(f"all figures in '{run.folder.path / 'metrics.json'}'")
    print(f"look at '{files[0].parent}': {', '.join(path.name for path in files)}")


def _test_images(run: TrainedRun, count: int) -> Tensor:
    """At most ``count`` test images ``(N, C, H, W)``, spread over the classes of their labels."""
    rows = spread_over_classes(run.data.test.labels, count, run.config.seed)
    return stacked_images(run.data.test, rows.tolist())
