"""The command `manifold`: maps of the class codes, what their axes paint, and the diagnostics of the embedding."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from cae.config import Config
from cae.counterfactuals.path_comparison import compare_routes
from cae.data import ImageSet
from cae.data.selection import image_ids, spread_over_classes
from cae.diagnostics.cache import measured
from cae.diagnostics.diagnose import matrix_of, warnings
from cae.diagnostics.figures import draw_reassignment, swap_grid
from cae.files import update_json, write_json
from cae.manifold.figures import draw_axes, draw_embedding
from cae.manifold.latent_directions import (
    LatentShift,
    class_axes,
    find_edit_axes,
    measure_class_axes,
    measure_edit_axes,
)
from cae.manifold.outliers import Candidates, Outlier, find_suspects, write_suspects
from cae.manifold.projection import embed
from cae.runs.trained_run import TrainedRun, load_run
from cae.tables.summary import table

MOST_POINTS = 2000  # of a map; more would hide one another
THUMBNAIL = 96  # largest side in pixels of images kept for thumbnails
AXES = 4  # principal axes of the class codes that are walked
POSITIONS = (-3.0, -2.0, -1.0, 0.0, 1.0, 2.0, 3.0)  # standard deviations along them
WAYS = (-0.5, 0.0, 0.25, 0.5, 0.75, 1.0, 1.5)  # shares of the way from one class's mean code to another's
MOVED = 300  # test images from which those moved along axes are drawn
ROUTES = 60  # test images whose straight way is compared with that through the graph
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
    ("cae/smote_smoothness_monotone", "the same on the way to codes made between two of a class"),
    ("axes/reached", "images that take the class at the other end of a class axis"),
    ("axes/reached_random", "    control: moved as far in a random direction"),
    ("axes/decision_relevant", "principal axes of the edits that change verdicts"),
    ("routes/line_found", "counterfactuals found on the straight way"),
    ("routes/graph_minus_line_found", "found on the way through the graph, minus that"),
    ("routes/line_gap", "distance of the straight way to the training codes, in neighbour distances"),
    ("routes/graph_minus_line_gap", "that of the way through the graph, minus that"),
)


def manifold(config: Config) -> None:
    """Draw the map of the classes and measure the embedding on the test split.

    Writes pictures and graphs to ``explanations/manifold`` and the figures into the run's ``metrics.json``.

    Raises:
        UserError: if something of the run is missing or does not fit, or an embedding is not installed.
    """
    run = load_run(config)
    folder = run.folder.explanations("manifold")
    files = [*_draw_maps(run, folder), *_draw_codes(run, folder), *_write_graphs(run, folder)]
    metrics = measured(run.cae, run.classifier, run.oracle, run.manifold, run.data, config, run.folder.path)
    more, drawn = _along_axes(run, folder)
    suspects = _suspects(run)
    write_suspects(folder / "suspects.csv", suspects)
    more |= {f"suspects/{kind}": sum(one.kind == kind for one in suspects) for kind in ("label", "verdict", "outlier")}
    more |= _routes(run)
    update_json(run.folder.path / "metrics.json", more)
    metrics |= more
    write_json(folder / "metrics.json", metrics)
    _report(run, metrics, [_draw_matrices(run, metrics, folder), *files, *drawn, folder / "suspects.csv"])


@dataclass(frozen=True, eq=False)
class _Points:
    """Images on a map: class codes ``(N, D)``, answers ``(N, K)``, labels ``(N,)``, thumbnails or None."""

    codes: Tensor
    probabilities: Tensor
    labels: Tensor
    thumbnails: Tensor | None


def _draw_maps(run: TrainedRun, folder: Path) -> list[Path]:
    """Every embedding of training codes; the principal axes of these also for test codes, which training never saw."""
    files, seed = [], run.config.seed
    train = _train_points(run)
    for method in run.config.manifold.embeddings:
        path = folder / f"{method}.png"
        _draw_map(run, embed(train.codes, method, seed), train, path, "training images")
        files.append(path)
    if "pca" in run.config.manifold.embeddings:
        test, path = _test_points(run), folder / "pca_test.png"
        _draw_map(run, embed(test.codes, "pca", seed, train=train.codes), test, path, "test images")
        files.append(path)
    return files


def _draw_map(run: TrainedRun, embedding, points: _Points, path: Path, title: str) -> None:
    verdicts = points.probabilities.argmax(1)
    draw_embedding(
        embedding, verdicts, points.probabilities, points.labels, run.classes, path, points.thumbnails,
        f"{run.config.name}, {title}",
    )  # fmt: skip


def _train_points(run: TrainedRun) -> _Points:
    manifold, images = run.manifold, run.data.train
    rows = _drawn(len(manifold), run.config.seed)
    # with other images than those of the training, codes and pictures would not belong together
    same = len(images) == len(manifold) and images[0].id == manifold.ids[0]
    thumbnails = _thumbnails(images, rows.tolist()) if same else None
    return _Points(manifold.codes[rows], manifold.probabilities[rows], manifold.labels[rows], thumbnails)


@torch.no_grad()
def _test_points(run: TrainedRun) -> _Points:
    images = run.data.test
    rows = _drawn(len(images), run.config.seed)
    codes, answers, pictures = [], [], []
    for part in rows.split(run.config.counterfactual.batch_size):
        batch = _stacked(images, part.tolist())
        codes.append(run.cae.encode(batch.to(run.device)).class_code.float().cpu())
        answers.append(run.classifier.probabilities(batch.to(run.device)).float().cpu())
        pictures.append(_reduced(batch))
    return _Points(torch.cat(codes), torch.cat(answers), images.labels[rows], torch.cat(pictures))


@torch.no_grad()
def _draw_codes(run: TrainedRun, folder: Path) -> list[Path]:
    """What the principal axes of the class codes paint, and what the classes' most central images hand on."""
    chosen = spread_over_classes(run.data.test.labels, RECIPIENTS, run.config.seed)
    recipients = _stacked(run.data.test, chosen.tolist())
    codes = run.cae.encode(recipients.to(run.device))
    axes = folder / "axes_codes.png"
    middle = codes[:1].class_code.float().cpu()[0]
    walked = axis_codes(run.manifold.codes, middle, AXES, POSITIONS)
    images, answers = _decoded(run, walked.flatten(0, 1), codes.individual_code[:1])
    _draw_deviations(
        images.unflatten(0, walked.shape[:2]), answers.unflatten(0, walked.shape[:2]), "axis", run, axes,
        "offset of the class code along its principal axes, in standard deviations (decoded)",
    )  # fmt: skip
    prototypes = _draw_prototypes(run, recipients, codes.individual_code, folder / "prototypes.png")
    return [axes, *prototypes]


def _draw_deviations(images: Tensor, answers: Tensor, word: str, run: TrainedRun, path: Path, title: str) -> None:
    names = [f"{word} {number + 1}" for number in range(len(images))]
    positions = [f"{position:+g}" if position else "0" for position in POSITIONS]
    draw_axes(images, answers, names, positions, run.classes, path, title)


@torch.no_grad()
def _along_axes(run: TrainedRun, folder: Path) -> tuple[dict[str, float], list[Path]]:
    """Images moved along the axes between classes and along the principal axes of the edits, drawn and measured."""
    seed, std = run.config.seed, run.manifold.std
    rows = spread_over_classes(run.data.test.labels, MOVED, seed)
    judges = {"target": run.classifier} | ({"oracle": run.oracle} if run.oracle is not None else {})
    mover = LatentShift.of(
        run.cae, judges, _stacked(run.data.test, rows.tolist()), run.config.counterfactual.batch_size
    )
    answers = mover.answers(mover.transfer.images)
    verdicts, named = answers.argmax(1), class_axes(run.manifold)
    edits = find_edit_axes(mover, verdicts, run.manifold, seed)
    metrics = measure_class_axes(mover, verdicts, named, std, seed)
    metrics |= measure_edit_axes(mover, verdicts, edits, std, seed)
    starts = [(axis, members[0]) for axis in named if len(members := _sure(answers, axis.first))]
    files = []
    if starts:
        moves = torch.stack([torch.tensor(WAYS)[:, None] * axis.step for axis, _ in starts])
        images, scores = _moved(mover, torch.stack([row for _, row in starts]), moves)
        names = [f"{run.classes[axis.first]}\n↔ {run.classes[axis.second]}" for axis, _ in starts]
        title = "shares of the way from the first class's mean code to the second's"
        draw_axes(images, scores, names, [f"{way:g}" for way in WAYS], run.classes, folder / "axes.png", title)
        files.append(folder / "axes.png")
    steps = torch.tensor(POSITIONS)[None, :, None] * (edits.directions * std).float()[:, None]
    row = spread_over_classes(verdicts, 1, seed)
    images, scores = _moved(mover, row.expand(len(steps)), steps)
    title = "offset of the class code along the principal axes of the edits, in standard deviations"
    _draw_deviations(images, scores, "edit", run, folder / "axes_edits.png", title)
    return metrics, [*files, folder / "axes_edits.png"]


def _sure(answers: Tensor, k: int) -> Tensor:
    """Rows of the images of verdict ``k``, the surest first."""
    members = (answers.argmax(1) == k).nonzero()[:, 0]
    return members[answers[members, k].argsort(descending=True, stable=True)]


def _moved(mover: LatentShift, rows: Tensor, moves: Tensor) -> tuple[Tensor, Tensor]:
    """Images ``(A, S, C, H, W)`` and answers ``(A, S, K)``: each of ``rows (A,)`` under its moves ``(A, S, D)``."""
    codes = mover.codes[rows][:, None] + moves
    images = mover.images(rows.repeat_interleave(moves.shape[1]), codes.flatten(0, 1))
    return images.unflatten(0, moves.shape[:2]), mover.answers(images).unflatten(0, moves.shape[:2])


def _suspects(run: TrainedRun) -> list[Outlier]:
    """Training and test images whose codes stand out."""
    manifold, rows = run.manifold, run.manifold.subset
    ids = [manifold.ids[row] for row in rows.tolist()]
    train = Candidates(manifold.codes[rows], manifold.probabilities[rows], manifold.labels[rows], ids, "train")
    points = _test_points(run)
    names, drawn = image_ids(run.data.test), _drawn(len(run.data.test), run.config.seed)
    chosen = [names[row] for row in drawn.tolist()]
    test = Candidates(points.codes, points.probabilities, points.labels, chosen, "test")
    return [suspect for part in (train, test) for suspect in find_suspects(manifold, part)]


def _routes(run: TrainedRun) -> dict[str, float]:
    """The straight way beside that through the graph, for the same test images."""
    rows = spread_over_classes(run.data.test.labels, ROUTES, run.config.seed)
    return compare_routes(
        run.cae, run.classifier, run.oracle, run.manifold, _stacked(run.data.test, rows.tolist()),
        run.config.counterfactual, run.config.seed,
    )  # fmt: skip


def axis_codes(codes: Tensor, start: Tensor, axes: int, positions: Sequence[float]) -> Tensor:
    """Class codes along the principal axes of a cloud of codes, through one code.

    Args:
        codes: ``(N, D)``.
        start: ``(D,)`` where all axes cross.
        axes: A at most, those of the largest variance first.
        positions: S offsets, in standard deviations of the cloud along the axis.

    Returns:
        ``(A, S, D)``.
    """
    cloud = codes.double() - codes.double().mean(0)
    _, sizes, directions = torch.linalg.svd(cloud, full_matrices=False)
    steps = directions[:axes] * (sizes[:axes, None] / len(codes) ** 0.5)  # one standard deviation along each axis
    offsets = torch.tensor(list(positions), dtype=torch.float64)
    return (start.double() + offsets[None, :, None] * steps[:, None]).to(start.dtype)


def _draw_prototypes(run: TrainedRun, recipients: Tensor, individual: Tensor, path: Path) -> list[Path]:
    """Test images under the class code of each class's medoid, the training image at the centre of its verdicts."""
    found = [run.manifold.prototypes(k) for k in range(len(run.classes))]
    medoids = [prototype.medoid for prototype in found if prototype is not None]
    images = run.data.train
    if len(images) != len(run.manifold) or images[0].id != run.manifold.ids[0]:
        return []
    swaps = [_decoded(run, run.manifold.codes[medoids], code[None])[0] for code in individual]
    swap_grid(recipients, _stacked(images, medoids), torch.stack(swaps), path)
    return [path]


def _decoded(run: TrainedRun, codes: Tensor, individual: Tensor) -> tuple[Tensor, Tensor]:
    """Images and answers of class codes ``(N, D)``, all with one individual code ``(1, S, h, w)``."""
    images, answers = [], []
    for part in codes.split(run.config.counterfactual.batch_size):
        image = run.cae.decode(part.to(run.device), individual.expand(len(part), -1, -1, -1)).clamp(0, 1)
        answers.append(run.classifier.probabilities(image).float().cpu())
        images.append(image.float().cpu())
    return torch.cat(images), torch.cat(answers)


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
    for sentence in warnings(metrics, run.classes):
        print(f"warning: {sentence}")
    print(f"all figures in '{run.folder.path / 'metrics.json'}'")
    print(f"look at '{files[0].parent}': {', '.join(path.name for path in files)}")


def _drawn(count: int, seed: int) -> Tensor:
    order = torch.randperm(count, generator=torch.Generator().manual_seed(seed))
    return order[:MOST_POINTS].sort().values


def _stacked(images: ImageSet, rows: Sequence[int]) -> Tensor:
    return torch.stack([images[row].image for row in rows])


def _thumbnails(images: ImageSet, rows: Sequence[int]) -> Tensor:
    return torch.cat([_reduced(images[row].image[None]) for row in rows])


def _reduced(images: Tensor) -> Tensor:
    """Images ``(B, C, H, W)`` no larger than a thumbnail: thousands of large ones would not fit into memory."""
    scale = THUMBNAIL / max(images.shape[-2:])
    if scale >= 1:
        return images
    return F.interpolate(images, scale_factor=scale, mode="area")
