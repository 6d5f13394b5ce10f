"""The command `compare`, and the work of `run`: maps of many images by several methods, measured, in tables.

Every map and every measurement is a file of its own, written atomically as soon as it is there: work that is stopped
goes on where it was, and ends in the same table. An image is explained alone, so that no map depends on what else had
been explained before.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from tqdm.auto import tqdm

from cae.canvas import save_png
from cae.config import Config
from cae.continuing import continue_work
from cae.counterfactuals.export import picture_of
from cae.data import Sample
from cae.data.selection import Selection, changed_work, images_identity, readable, select_images
from cae.errors import UserError, printable
from cae.files import file_name, read_json, write_json
from cae.processes import is_first_process
from cae.runs.classifier_run import ClassifierRun, open_classifier
from cae.runs.label_agreement import check_labelled_images
from cae.runs.run_folder import RunFolder
from cae.training.sharing import deal, process_count
from explainers.base import Explainer
from explainers.commands.resources import background_fingerprint, build_explainers
from explainers.commands.tables import write_rows, write_tables
from explainers.explanation import Explanation
from explainers.figures import explanation_figure
from explainers.metrics import MetricSuite, explainer_checks
from explainers.multirex.export import table_rows, write_cut_outs
from explainers.multirex.figures import multirex_figure
from explainers.registry import parse_options
from explainers.shearletx.figures import mask_figure

FAILURES = 3  # images in a row that cannot be explained before the work is given up


def compare(config: Config) -> None:
    """Explain the same images by several methods and measure them against each other.

    Raises:
        UserError: as ``explain_images`` does.
    """
    explain_images(config, list(dict.fromkeys(config.methods)), config.explain.folder or "compare")


def explain_images(config: Config, names: Sequence[str], folder: str) -> None:
    """Explain the images that the options name by these methods, into a folder below ``explanations`` of the run.

    Raises:
        UserError: for options that do not fit; if some images could not be read, after all others are explained.
    """
    RunFolder(config).check_explanations(folder, "explain.folder")
    options = parse_options(config.explain.options, names)
    opened = open_classifier(config, needs_data=config.explain.images is None)
    _check_target(config.explain.target, opened.classifier.classes)
    asked = config.explain
    chosen = select_images(config.data, opened.data, asked.images, asked.split, asked.limit)
    methods = build_explainers(opened, {name: {"batch_size": asked.batch_size, **options[name]} for name in names})
    place = opened.folder.explanations(folder, "explain.folder")
    made_by = {name: {**method.parameters, **method.fingerprints} for name, method in methods.items()}
    continue_work(place, _identity(opened, chosen), "explain.folder", parts=made_by, changed=changed_work)
    check_labelled_images(opened, asked.split, place)
    write_json(place / "classes.json", list(opened.classes))
    work = _Comparison(opened, methods, chosen, place)
    problems = deal(config, range(len(chosen.order)), work.explain)
    if problems is None:
        return
    work.finish(problems)
    if problems:
        raise UserError(problems)


def _check_target(target: str, classes: Sequence[str]) -> None:
    if target != "predicted" and target not in classes:
        some = ", ".join(classes[:10]) + (" …" if len(classes) > 10 else "")
        raise UserError(f"explain.target must be 'predicted' or one of the classes ({some}), but got '{target}'.")


def _identity(opened: ClassifierRun, chosen: Selection) -> dict[str, Any]:
    """Everything that all maps and measurements depend on, whatever the method."""
    config = opened.config
    background = config.explain.background
    return {
        "seed": config.seed,
        "explain.images": config.explain.images,
        "explain.split": None if config.explain.images is not None else config.explain.split,
        "explain.background": background,
        **({} if background is None else {"background images": background_fingerprint(config.data, background)}),
        "explain.target": config.explain.target,
        "explain.metrics": config.explain.metrics,
        "classifier": opened.classifier.fingerprint(),
        **images_identity(config.data, opened.data, chosen.images),
    }


@dataclass(frozen=True, eq=False)
class _Comparison:
    """One call: with what, which images, and where the results go."""

    opened: ClassifierRun
    methods: Mapping[str, Explainer]
    chosen: Selection
    folder: Path
    failed: list[str] = field(default_factory=list)  # the last images, as many as failed in a row

    def explain(self, number: int) -> list[str]:
        """Explain, measure and draw the image of this number among the chosen ones; what went wrong, in words.

        An image that fails costs no other one; three in a row end the work, as the fault is then hardly the image's.
        """
        problems, figures = list[str](), self.opened.config.explain.figures
        if len(self.failed) >= FAILURES:
            return problems
        for _, sample in readable(self.chosen.images, [self.chosen.order[number]], problems):
            try:
                self._explain_one(sample, figures is None or number < figures)
                self.failed.clear()
            except UserError as error:
                problems += [f"image '{sample.id}': {words}" for words in error.problems]
                self.failed.append(sample.id)
            if len(self.failed) == FAILURES:
                problems.append(
                    f"{FAILURES} images failed in a row, and the others were not tried: what is finished is kept in "
                    f"'{self.folder}', and the same command goes on from there."
                )
        return problems

    def _explain_one(self, sample: Sample, drawn: bool) -> None:
        """Explain, measure and draw one image, as far as that is not done yet."""
        try:
            found = dict(self._explained(sample))
        except UserError:
            raise
        except Exception:  # of a foreign network: the traceback is its own, which image it was is ours to say
            print(f"stopped at image '{sample.id}'; what is finished is kept in '{self.folder}'", file=sys.stderr)
            raise
        original = self.folder / "images" / f"{file_name(sample.id)}.png"
        if not original.exists():  # maps are looked at beside it
            save_png(picture_of(sample.image), original, id=json.dumps(sample.id))
        if self._suite is not None:
            self._measured(self._suite, sample, found)
        picture = self.folder / "figures" / f"{file_name(sample.id)}.png"
        if drawn and not self._drawn(picture):
            self._draw(sample, list(found.values()), picture)
            write_json(picture.with_suffix(".json"), list(self.methods))

    def finish(self, problems: Sequence[str]) -> None:
        """Check the methods on the first images where all went well, write the tables, say what there is to see."""
        self._progress.close()
        if not problems:
            self._check()
        rows = {}
        ids = [self.chosen.ids[place] for place in self.chosen.order]
        for id in ids:
            path = self._measures(id)
            if path.exists():
                rows[id] = _values(path, dict)
        self._list_explanations(ids)
        paths = {name: self.folder / "checks" / f"{name}.json" for name in self.methods}
        checks = {name: {"values": _values(path, list)} for name, path in paths.items() if path.exists()}
        specific = {name: method.class_specific for name, method in self.methods.items()}
        if rows:
            print(write_tables(self.folder, rows, checks, specific))
        places = f"maps in '{self.folder / 'maps'}', figures in '{self.folder / 'figures'}'"
        print(printable(f"{len(ids)} images of {self.chosen.words}; {places}"))

    def _list_explanations(self, ids: Sequence[str]) -> None:
        """A table of single explanations, for methods that find several in an image."""
        for name in self.methods:
            rows = []
            for id in ids:
                path = self.folder / "maps" / name / f"{file_name(id)}.safetensors"
                found = Explanation.load(path) if path.exists() else None
                if found is not None and "certificates" in found.extras[0]:
                    rows += table_rows(found, [id], self.opened.classifier.classes)
            if rows:
                write_rows(self.folder / f"{name}_explanations.csv", rows)

    @cached_property
    def _progress(self) -> tqdm:
        maps = len(self.chosen.order) * len(self.methods) // process_count(self.opened.config.trainer)
        hidden = not self.opened.config.logging.progress or not is_first_process()
        return tqdm(total=maps, desc="explain", unit="map", disable=hidden)

    def _explained(self, sample: Sample) -> Iterator[tuple[str, Explanation]]:
        spent, seconds = 0, 0.0
        for name, method in self.methods.items():
            path = self.folder / "maps" / name / f"{file_name(sample.id)}.safetensors"
            if not path.exists():
                target = self.opened.config.explain.target
                found = method(
                    sample.image[None], None if target == "predicted" else target, seed=self.opened.config.seed
                )
                found.save(path)
                spent, seconds = spent + int(found.evaluations.sum()), seconds + found.seconds
                self._progress.set_postfix_str(f"{spent / max(seconds, 1e-9):.0f} evaluations/s")
            self._progress.update()
            yield name, Explanation.load(path)

    def _draw(self, sample: Sample, found: Sequence[Explanation], picture: Path) -> None:
        """One figure for all methods; a single method that shows more than a map has a figure of its own."""
        classes, only = self.opened.classifier.classes, found[0] if len(found) == 1 else None
        title = f"{sample.id}: {classes[int(found[0].target[0])]} explained"
        if only is not None and "masks" in only.extras[0]:
            multirex_figure(sample.image, only, classes, title, picture)
            write_cut_outs(sample.image, only.extras[0]["masks"], self.folder / "cut_outs" / picture.stem)
        elif only is not None and "explanation" in only.extras[0]:
            mask_figure(sample.image, only, classes, picture)
        else:
            explanation_figure(sample.image, found, classes, title, picture, sample.mask)

    @cached_property
    def _suite(self) -> MetricSuite | None:
        options = self.opened.config.explain
        if options.metrics == "none":
            return None
        return MetricSuite(self.opened.classifier, preset=options.metrics, batch_size=options.batch_size)

    def _measured(self, suite: MetricSuite, sample: Sample, found: Mapping[str, Explanation]) -> None:
        path = self._measures(sample.id)
        before = _values(path, dict) if path.exists() else {}
        maps = {name: explanation.attribution[0] for name, explanation in found.items() if name not in before}
        if not maps:
            return
        target = int(next(iter(found.values())).target[0])
        seed = self.opened.config.seed
        values = suite.measure(sample.image.to(self.opened.device), maps, target, mask=sample.mask, seed=seed)
        for name in maps:
            values[name] |= {"evaluations": float(found[name].evaluations[0]), "seconds": found[name].seconds}
        # the random orders are the same whatever joins later
        merged = before | {name: row for name, row in values.items() if name not in before}
        write_json(path, {"id": sample.id, "target": target, "settings": suite.settings, "values": merged})

    def _check(self) -> None:
        """Robustness and sanity of every method, on the first few images; kept per method."""
        count = self.opened.config.explain.checks
        if not count:
            return
        images = torch.stack([self.chosen.images[place].image for place in self.chosen.order[:count]])
        for name, method in self.methods.items():
            path = self.folder / "checks" / f"{name}.json"
            if read_json(path).get("images") != len(images):
                found = explainer_checks(method, images, seed=self.opened.config.seed)
                write_json(path, {"images": len(images), "values": found})

    def _drawn(self, picture: Path) -> bool:
        return picture.exists() and read_json(picture.with_suffix(".json"), list) == list(self.methods)

    def _measures(self, id: str) -> Path:
        return self.folder / "measures" / f"{file_name(id)}.json"


def _values(path: Path, kind: type) -> Any:
    """The rows of a file of measurements, a dict or a list of them."""
    values = read_json(path).get("values")
    rows = list(values.values()) if isinstance(values, dict) else values
    if not isinstance(values, kind) or not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise UserError(f"'{path}' is damaged, it holds no measurements: remove it, and they are made anew.")
    return values
