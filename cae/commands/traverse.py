"""The command `traverse`: counterfactual paths for many images, written as it goes and continued where it stopped."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from tqdm.auto import tqdm

from cae.commands.traverse_inputs import Reference, check_options, identity, open_reference
from cae.config import Config
from cae.counterfactuals.figures import gallery, traversal_gif, traversal_strip
from cae.counterfactuals.find import find_counterfactuals, targets_for
from cae.counterfactuals.result import Counterfactual
from cae.data import Sample
from cae.data.selection import Selection, readable, select_images
from cae.errors import UserError
from cae.files import file_name, read_json, write_json
from cae.runs.trained_run import TrainedRun, load_run
from cae.tables.index import Index, IndexRow, rows_to_continue
from cae.tables.scoring import Files, index_row, opinions
from cae.tables.summary import summarise, summarise_features, table

CHUNK = 16  # images searched at once and entered into the index together
GALLERY = 12  # images of the gallery; no more than a chunk, so that it is there early
FOLDER = "traverse"  # whose figures become those of the run
TOPICS = ("counterfactual/", "localisation/")
LINES = (
    ("counterfactual/found", "images whose decision changes to the target, with the margin asked for"),
    ("counterfactual/validity_oracle", "... and the oracle, which no training followed, sees the target too"),
    ("counterfactual/validity_oracle_end", "... or sees it at the end of the path, well beyond the boundary"),
    ("counterfactual/oracle_gain", "by how much the oracle's probability of the target rises"),
    ("counterfactual/l1", "mean absolute change at the boundary"),
    ("counterfactual/end_l1", "mean absolute change at the end of the path"),
    ("counterfactual/end_cout", "COUT there, from -1 to 1: how few pixels carry the change"),
    ("counterfactual/end_sfid", "sFID there: how far from other images, in the classifier's features"),
    ("counterfactual/sfid_originals", "    control: the same for other originals"),
    ("localisation/end_dice", "Dice of the evidence (change at the path's end, Otsu's threshold) and the mask"),
    ("localisation/dice_centre", "    control: a map of the centre, at the mask's area"),
    ("localisation/end_pointing", "largest evidence inside the mask"),
    ("localisation/mask_share", "    control: a random map"),
    ("localisation/outside_median", "pixels changed at the path's end more than 5 pixels off the mask, median"),
    ("counterfactual/seconds", "seconds of search for one image"),
)


def traverse(config: Config) -> None:
    """Explain a split, a folder or a file by counterfactuals: strips, animations, a gallery, an index, figures.

    Raises:
        UserError: if options, models and files do not fit, before anything is explained; if some images could not be
            decoded, after all others have been explained.
    """
    run = load_run(config)
    check_options(config, run.classes)
    options = config.traverse
    chosen = select_images(config.data, run.data, options.images, options.split, options.limit)
    reference = open_reference(run)
    folder = run.folder.explanations(options.folder)
    places = {id: place for place, id in enumerate(chosen.ids)}
    index = Index(folder, places, rows_to_continue(folder, identity(run)))
    problems = _Traversal(run, chosen, reference, folder, index).explain(chosen.order)
    _report(run, index, chosen, folder)
    if problems:
        raise UserError(problems)


@dataclass(frozen=True, eq=False)
class _Traversal:
    """One call of the command: with what, which images, and where the results go."""

    run: TrainedRun
    chosen: Selection
    reference: Reference | None
    folder: Path
    index: Index

    def explain(self, order: Sequence[int]) -> list[str]:
        """Explain the images at these places that are not explained yet; those that cannot be read, in words."""
        drawn = set(order[: self.run.config.traverse.pictures])
        still, problems = self._open(order, drawn), list[str]()
        progress = tqdm(
            total=len(order), initial=len(order) - len(still), desc="traverse", unit="image",
            disable=not self.run.config.logging.progress,
        )  # fmt: skip
        try:
            # the same chunks as in a call that is never stopped, or rounding might differ
            for start in range(0, len(order), CHUNK):
                wanted = [place for place in order[start : start + CHUNK] if place in still]
                samples = dict(readable(self.chosen.images, wanted, problems))
                if samples:
                    self._explain_chunk(samples, order[:GALLERY], drawn, progress)
        finally:  # whatever stops it, no finished chunk is lost
            self.index.save(now=True)
            progress.close()
        return problems

    def _open(self, order: Sequence[int], drawn: Collection[int]) -> set[int]:
        """Places without rows or pictures; those of the gallery all together, as it is drawn in one go."""
        still = {place for place in order if not self._complete(self.chosen.ids[place], place in drawn)}
        shown = set(order[:GALLERY])
        return still | shown if still & shown or not (self.folder / "gallery.png").exists() else still

    def _complete(self, id: str, drawn: bool) -> bool:
        rows, options = self.index.of(id), self.run.config.traverse
        return bool(rows) and all(
            not (wanted and drawn) or (name is not None and (self.folder / name).exists())
            for row in rows
            for wanted, name in ((options.strips, row.strip), (options.gif, row.gif))
        )

    def _explain_chunk(
        self, samples: dict[int, Sample], shown: Sequence[int], drawn: Collection[int], progress: tqdm
    ) -> None:
        """Search, draw and score; rows are entered last, so that whatever they name is there."""
        images = torch.stack([sample.image for sample in samples.values()])
        rows: list[IndexRow] = []
        features: dict[tuple[str, str], Tensor] = {}
        rounds = self._rounds(images)
        for number, targets in enumerate(rounds):
            results = self._search(images, targets, [sample.id for sample in samples.values()])
            if number == 0 and any(place in shown for place in samples):
                pictured = dict(zip(samples, results, strict=True))
                gallery([pictured[place] for place in shown if place in pictured], self.folder / "gallery.png")
            for place, result, opinion in zip(samples, results, opinions(self.run, results), strict=True):
                files = self._draw(result, samples[place]) if place in drawn else Files()
                rows.append(index_row(self.run, result, samples[place], place, opinion, files))
                if opinion.features is not None:
                    features[result.id, result.target_class] = opinion.features
                progress.update(number == len(rounds) - 1)
        rank = {name: number for number, name in enumerate(self.run.classes)}
        self.index.add(sorted(rows, key=lambda row: (row.image, rank[row.target])), features)
        self.index.save()

    def _rounds(self, images: Tensor) -> list[Tensor | None]:
        """Targets ``(B,)`` of each round of searches; None leaves them to the search."""
        options = self.run.config.counterfactual
        if options.target != "all" or "all" in self.run.classes:
            return [None]
        with torch.no_grad():
            parts = [part.to(self.run.device) for part in images.split(options.batch_size)]
            answers = torch.cat([self.run.classifier.probabilities(part).cpu() for part in parts])
        return list(targets_for(answers, options.target, self.run.classes))

    def _search(self, images: Tensor, targets: Tensor | None, ids: Sequence[str]) -> list[Counterfactual]:
        run, reference = self.run, self.reference
        return find_counterfactuals(
            run.cae, run.classifier, run.manifold, images, targets=targets, config=run.config.counterfactual, ids=ids,
            seed=run.config.seed, reference_codes=reference.code if reference else None,
            reference_ids=[reference.id] if reference else None,
        )  # fmt: skip

    def _draw(self, result: Counterfactual, sample: Sample) -> Files:
        options = self.run.config.traverse
        name = f"{file_name(result.id)}-{file_name(result.source_class)}-to-{file_name(result.target_class)}"
        strip = f"strips/{name}.png" if options.strips else None
        gif = f"gifs/{name}.gif" if options.gif else None
        if strip:
            traversal_strip(result, self.folder / strip, options.frames, sample.mask)
        if gif:
            traversal_gif(result, self.folder / gif)
        return Files(strip, gif)


def _report(run: TrainedRun, index: Index, chosen: Selection, folder: Path) -> None:
    """Write the figures and say what there is to see."""
    metrics = summarise(index.rows, run.config.seed) | summarise_features(index, run.config.seed)
    write_json(folder / "metrics.json", metrics)
    traverse = run.config.traverse
    # figures of images that the networks were trained on, or that nobody else has, are not those of the run
    if traverse.images is None and traverse.split != "train" and traverse.folder == FOLDER:
        path = run.folder.path / "metrics.json"
        others = {name: value for name, value in read_json(path).items() if not name.startswith(TOPICS)}
        write_json(path, others | metrics)
    counts = {name: int(metrics[f"counterfactual/{name}"]) for name in ("images", "explained", "found_count")}
    print(f"{counts['images']} images of {chosen.words}: {counts['found_count']} counterfactuals found", end=" ")
    print(f"of {counts['explained']} looked for", end="")
    already = int(metrics["counterfactual/already_target"])
    print(f" ({already} had the target's verdict already)" if already else "")
    print(f"{'':2}{'':8}  {'95 % interval':<17}")
    print(table(metrics, LINES))
    strips = f"strips in '{folder / 'strips'}', " if traverse.strips else ""
    print(f"look at '{folder / 'gallery.png'}', {strips}all numbers in '{folder / 'index.csv'}'")
