"""The command `traverse`: counterfactual paths for many images, written as it goes and continued where it stopped."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor
from tqdm.auto import tqdm

from cae.classifiers.gates import TRAVERSE_FIGURES, null_figures
from cae.commands.traverse_inputs import Reference, check_options, identity, open_reference
from cae.commands.traverse_outputs import OutputFiles
from cae.config import Config
from cae.counterfactuals.figures import gallery
from cae.counterfactuals.find import find_counterfactuals, targets_for
from cae.counterfactuals.result import Counterfactual
from cae.data import Sample
from cae.data.selection import Selection, readable, select_images
from cae.errors import UserError, printable
from cae.files import update_json, write_json
from cae.processes import is_first_process
from cae.runs.label_agreement import check_labelled_images
from cae.runs.trained_run import TrainedRun, load_run
from cae.tables.headings import console_lines
from cae.tables.index import Index, IndexRow, index_row, rows_to_continue
from cae.tables.scoring import score
from cae.tables.shards import gather_shards, write_shard
from cae.tables.summary import summarise, summarise_features, table
from cae.training.sharing import deal, process_count

CHUNK = 16  # images searched at once, whose rows are written together
GALLERY = 12  # images of the gallery; no more than a chunk, so that it is there early
FOLDER = "traverse"  # whose figures become those of the run
TOPICS = ("counterfactual/", "localisation/")


def traverse(config: Config) -> None:
    """Explain a split, a folder or a file by counterfactuals: images, strips, animations, a gallery, an index, figures.

    Raises:
        UserError: if options, models and files do not fit, before anything is explained; if some images could not be
            decoded, after all others have been explained.
    """
    run = load_run(config)
    check_options(config, run.classes)
    options = config.traverse
    chosen = select_images(config.data, run.data, options.images, options.split, options.limit)
    reference = open_reference(run)
    folder = run.folder.explanations(options.folder, "traverse.folder")
    places = {id: place for place, id in enumerate(chosen.ids)}
    index = Index(folder, places, rows_to_continue(folder, identity(run, chosen)))
    if is_first_process():  # what a call that was killed has left
        gather_shards(index)
    files = OutputFiles(folder, options)
    check_labelled_images(run, options.split, folder)
    problems = _Traversal(run, chosen, reference, index, files).explain()
    if problems is None:
        return
    _report(run, index, chosen, folder)
    if problems:
        raise UserError(problems)


@dataclass(frozen=True, eq=False)
class _Traversal:
    """One call of the command: with what, which images, and where the results go."""

    run: TrainedRun
    chosen: Selection
    reference: Reference | None
    index: Index
    files: OutputFiles
    given_up: list[int] = field(default_factory=list)  # at which chunk

    def explain(self) -> list[str] | None:
        """Explain the images that are not explained yet; those that cannot be read, in words.

        None in all processes but the first, which have nothing to do any more.
        """
        # the same chunks as in a call that is never stopped, or in another number of processes: rounding might differ
        starts = range(0, len(self.chosen.order), CHUNK)
        try:
            return deal(self.run.config, starts, self._explain_from)
        finally:  # whatever stops it, no finished chunk is lost
            self._progress.close()
            if is_first_process():
                gather_shards(self.index)

    def _explain_from(self, start: int) -> list[str]:
        """Explain what is left of one chunk."""
        wanted = [place for place in self.chosen.order[start : start + CHUNK] if place in self._still]
        problems = list[str]()
        samples = {} if self.given_up else dict(readable(self.chosen.images, wanted, problems))
        if samples and not self._explain_or_tell(samples, problems):
            self.given_up.append(start)
            problems.append(
                f"none of {len(samples)} images could be explained, and the others were not tried: what is "
                f"finished is kept in '{self.files.folder}', and the same command goes on from there."
            )
        return problems

    def _explain_or_tell(self, samples: dict[int, Sample], problems: list[str]) -> bool:
        """Explain images together or, where that fails, each alone, so that one costs no other; whether any worked."""
        try:
            self._explain_chunk(samples)
        except UserError as error:
            if len(samples) > 1:
                alone = ({place: sample} for place, sample in samples.items())
                worked = [self._explain_or_tell(one, problems) for one in alone]
                return any(worked)
            problems += [f"image '{sample.id}': {words}" for sample in samples.values() for words in error.problems]
            return False
        return True

    @cached_property
    def _pictured(self) -> set[int]:
        return set(self.chosen.order[: self.run.config.traverse.pictures])

    @cached_property
    def _still(self) -> set[int]:
        """Places without rows or files; those of the gallery all together, as it is drawn in one go."""
        order = self.chosen.order
        still = {place for place in order if not self._complete(self.chosen.ids[place], place in self._pictured)}
        shown = set(order[:GALLERY])
        return still | shown if still & shown or not self._gallery.exists() else still

    @cached_property
    def _progress(self) -> tqdm:
        """The bar of the first process, over its share."""
        count, images = process_count(self.run.config.trainer), len(self.chosen.order)
        hidden = not self.run.config.logging.progress or not is_first_process()
        done = images - len(self._still)
        return tqdm(total=images // count, initial=done // count, desc="traverse", unit="image", disable=hidden)

    @property
    def _gallery(self) -> Path:
        return self.files.folder / "gallery.png"

    def _complete(self, id: str, pictured: bool) -> bool:
        rows = self.index.of(id)
        return bool(rows) and all(self.files.complete(row, pictured) for row in rows)

    def _explain_chunk(self, samples: dict[int, Sample]) -> None:
        """Search, score and write; rows come last, so that whatever they name is there."""
        shown = self.chosen.order[:GALLERY]
        images = torch.stack([sample.image for sample in samples.values()])
        rows: list[IndexRow] = []
        features: dict[tuple[str, str], Tensor] = {}
        rounds = self._rounds(images)
        for number, targets in enumerate(rounds):
            results = self._search(images, targets, [sample.id for sample in samples.values()])
            if number == 0 and any(place in shown for place in samples):
                by_place = dict(zip(samples, results, strict=True))
                gallery([by_place[place] for place in shown if place in by_place], self._gallery)
            masks = [sample.mask for sample in samples.values()]
            for (place, sample), scored in zip(samples.items(), score(self.run, results, masks), strict=True):
                files = self.files.write(scored.result, sample.mask, place in self._pictured)
                label = self.run.classes[sample.label] if sample.label >= 0 else None
                rows.append(index_row(scored, label, place, files))
                if scored.features is not None:
                    features[scored.result.id, scored.result.target_class] = scored.features
                self._progress.update(number == len(rounds) - 1)
        rank = {name: number for number, name in enumerate(self.run.classes)}
        write_shard(self.index.folder, sorted(rows, key=lambda row: (row.image, rank[row.target])), features)

    def _rounds(self, images: Tensor) -> list[Tensor | None]:
        """Targets ``(B,)`` of each round of searches; None leaves them to the search."""
        options = self.run.config.counterfactual
        if options.target != "all" or "all" in self.run.classes:
            return [None]
        with torch.no_grad():
            parts = [part.to(self.run.device) for part in images.split(options.batch_size)]
            probabilities = torch.cat([self.run.classifier.probabilities(part).cpu() for part in parts])
        return list(targets_for(probabilities, options.target, self.run.classes))

    def _search(self, images: Tensor, targets: Tensor | None, ids: Sequence[str]) -> list[Counterfactual]:
        run, reference = self.run, self.reference
        return find_counterfactuals(
            run.cae, run.classifier, run.manifold, images, targets=targets, config=run.config.counterfactual, ids=ids,
            seed=run.config.seed, reference_codes=reference.code if reference else None,
            reference_ids=[reference.id] if reference else None,
        )  # fmt: skip


def _report(run: TrainedRun, index: Index, chosen: Selection, folder: Path) -> None:
    """Write the figures and say what there is to see."""
    metrics = summarise(index.rows, run.config.seed) | summarise_features(index, run.config.seed)
    written = metrics | null_figures(run.oracle_doubt, TRAVERSE_FIGURES)
    write_json(folder / "metrics.json", written)
    traverse = run.config.traverse
    # figures of images that the networks were trained on, or that nobody else has, are not those of the run
    if traverse.images is None and traverse.split != "train" and traverse.folder == FOLDER:
        update_json(run.folder.path / "metrics.json", written, drop=TOPICS)
    counts = {name: int(metrics[f"counterfactual/{name}"]) for name in ("images", "explained", "found_count")}
    print(
        printable(f"{counts['images']} images of {chosen.words}: {counts['found_count']} counterfactuals found"),
        end=" ",
    )
    print(f"of {counts['explained']} looked for", end="")
    already = int(metrics["counterfactual/already_target"])
    print(f" ({already} were of the target class already)" if already else "")
    print(f"{'':2}{'':8}  {'95 % interval':<17}")
    print(table(metrics, console_lines()))
    strips = f"strips in '{folder / 'strips'}', " if traverse.strips else ""
    strips += f"images in '{folder / 'images'}', " if traverse.save != "none" else ""
    print(f"look at '{folder / 'gallery.png'}', {strips}all numbers in '{folder / 'index.csv'}'")
