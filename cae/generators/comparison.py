"""The comparison: the same images, classifier and oracle for every arm, each outcome written as soon as it is there."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm.auto import tqdm

from cae.classifiers.batched import batched_probabilities
from cae.counterfactuals.find import targets_for
from cae.counterfactuals.path_search import round_to_8_bits
from cae.data import Sample
from cae.errors import UserError, printable
from cae.files import file_name
from cae.generators.base import Generated
from cae.generators.measures import Made, Values, measured
from cae.generators.outcomes import Explained, is_complete, write_list, write_outcome
from cae.generators.registry import Arm
from cae.metrics.counterfactual import diversity
from cae.runs.trained_run import TrainedRun

CHUNK = 16  # images that an arm is given at once, whose outcomes are written together
MOST_OTHERS = 3  # classes towards which an image's counterfactuals are compared with each other
MODELS, ARMS = "models", "arms"


@torch.no_grad()
def images_to_explain(run: TrainedRun, samples: Sequence[Sample], target: str) -> list[Explained]:
    """The images whose prediction is not the target already, with source and target, in the given order.

    Args:
        run: whose classifier predicts.
        samples: of one shape.
        target: a class name, or ``runner-up``.

    Raises:
        UserError: if none is left.
    """
    found = list[Explained]()
    for start in range(0, len(samples), CHUNK):
        part = samples[start : start + CHUNK]
        seen = batched_probabilities(run.classifier, torch.stack([one.image for one in part]))
        (targets,) = targets_for(seen, target, run.classes)
        for sample, row, wanted in zip(part, seen, targets.tolist(), strict=True):
            source, label = int(row.argmax()), sample.label if sample.label >= 0 else None
            if source != wanted:
                ranked = row.argsort(descending=True, stable=True)[1 : 1 + MOST_OTHERS]
                found.append(
                    Explained(
                        sample.id, file_name(sample.id), sample.image, sample.mask, label, source, wanted,
                        tuple(ranked.tolist()),
                    )
                )  # fmt: skip
    if not found:
        raise UserError(f"all {len(samples)} images are classified as '{target}' already: give another target.")
    return found


@dataclass(frozen=True, eq=False)
class GeneratorComparison:
    """One call: with what, which images, and where the outcomes go."""

    run: TrainedRun
    arms: Sequence[Arm]
    images: Sequence[Explained]
    folder: Path

    def work(self) -> None:
        """Prepare every arm, and explain what it has not explained yet. What is stopped goes on."""
        described = [self._described(arm, None) for arm in self.arms]
        self._list(described)
        for number, arm in enumerate(self.arms):
            print(printable(f"{arm.name}: {arm.generator.words}"), flush=True)
            seconds = arm.generator.prepare(self.folder / MODELS / file_name(arm.name))
            described[number] = self._described(arm, seconds)
            self._list(described)
            for chunk in self._left(arm):
                self._explain(arm, chunk)

    def _list(self, described: list[dict[str, Any]]) -> None:
        write_list(self.folder, self.run.classes, self.run.config.counterfactual.margin, list(self.images), described)

    def _described(self, arm: Arm, seconds: float | None) -> dict[str, Any]:
        generator = arm.generator
        return {
            "name": arm.name, "folder": file_name(arm.name), "words": generator.words, "control": generator.control,
            "has_path": generator.has_path, "training_seconds": seconds,
        }  # fmt: skip

    def place(self, arm: Arm) -> Path:
        """Where the outcomes of an arm lie."""
        return self.folder / ARMS / file_name(arm.name)

    def _left(self, arm: Arm) -> Iterator[list[Explained]]:
        """The chunks of images in which something is left to do, whole: rounding follows the batch."""
        starts = range(0, len(self.images), CHUNK)
        hidden = not self.run.config.logging.progress
        for start in tqdm(starts, desc=arm.name, unit="chunk", disable=hidden):
            chunk = list(self.images[start : start + CHUNK])
            if not all(is_complete(self.place(arm), one.file) for one in chunk):
                yield chunk

    @torch.no_grad()
    def _explain(self, arm: Arm, chunk: list[Explained]) -> None:
        """Generate, judge, measure and write the outcomes of a chunk."""
        run, batch = self.run, self.run.config.counterfactual.batch_size
        images = torch.stack([one.image for one in chunk]).to(run.device)
        targets = torch.tensor([one.target for one in chunk], device=run.device)
        asked, meter = run.classifier.evaluations, Meter(run.device)
        generated = checked(arm.generator.generate(images, targets), images, arm.name)
        costs = meter.read(len(chunk)) | {"classifier_passes": (run.classifier.evaluations - asked) / len(chunk)}
        own = torch.zeros(1) if generated.passes is None else generated.passes
        spread = self._diversity(arm, chunk, images)
        ends_seen, ends_believed = (None, None) if generated.ends is None else judged(run, generated.ends)
        for row, (one, made) in enumerate(zip(chunk, self._made(chunk, generated, ends_believed), strict=True)):
            values = measured(
                made, one.source, one.target, run.config.counterfactual.margin,
                lambda x: run.classifier.probabilities(x.to(run.device)), batch, run.config.seed,
            )  # fmt: skip
            others = {"own_passes": float(own[row] if len(own) > 1 else own[0]), "diversity": spread[row]}
            write_outcome(
                self.place(arm), one.file, made, {**values, **costs, **others}, self._features(made),
                _row(ends_seen, row),
            )  # fmt: skip

    def _made(self, chunk: Sequence[Explained], generated: Generated, ends_believed: Tensor | None) -> Iterator[Made]:
        """What was made of each image, with what classifier and oracle say of it."""
        ends, bases = (None if part is None else part.cpu() for part in (generated.ends, generated.bases))
        seen, believed = judged(self.run, generated.images)
        for row, one in enumerate(chunk):
            yield Made(
                original=one.image,
                image=generated.images[row].cpu(),
                end=_row(ends, row),
                base=one.image if bases is None else bases[row],
                probabilities=seen[row],
                oracle=_row(believed, row),
                end_oracle=_row(ends_believed, row),
                mask=one.mask,
            )

    def _diversity(self, arm: Arm, chunk: list[Explained], images: Tensor) -> list[float | None]:
        """How far each image's counterfactuals towards several classes lie apart; None beyond the images asked for."""
        first = self.images.index(chunk[0])
        count = min(max(self.run.config.generators.diversity - first, 0), len(chunk))
        if count == 0 or len(chunk[0].others) < 2:
            return [None] * len(chunk)
        rounds = [
            checked(arm.generator.generate(images[:count], targets), images[:count], arm.name).images
            for targets in torch.tensor([one.others for one in chunk[:count]], device=images.device).unbind(1)
        ]
        found: list[float | None] = [diversity(several) for several in torch.stack(rounds, 1)]
        return found + [None] * (len(chunk) - count)

    def _features(self, made: Made) -> dict[str, Tensor]:
        """Features ``(3, F)`` of original, counterfactual and end, by the classifier and by the oracle of the run."""
        three = torch.stack([made.original, made.image, made.last]).to(self.run.device)
        readers = {"classifier": self.run.classifier} | ({"oracle": self.run.oracle} if self.run.oracle else {})
        return {name: reader.features(three).float().cpu() for name, reader in readers.items()}


class Meter:
    """Time and, on a GPU, memory from its making on."""

    def __init__(self, device: torch.device):
        self.device, self.on_gpu = device, device.type == "cuda"
        if self.on_gpu:
            torch.cuda.synchronize(device)
            torch.cuda.reset_peak_memory_stats(device)
        self.began = time.perf_counter()

    def read(self, images: int) -> Values:
        """Seconds for each of so many images, and the peak of memory in MB; None on a CPU."""
        if self.on_gpu:
            torch.cuda.synchronize(self.device)
        seconds = (time.perf_counter() - self.began) / images
        peak = torch.cuda.max_memory_allocated(self.device) / 2**20 if self.on_gpu else None
        return {"seconds": seconds, "peak_megabytes": peak}


def judged(run: TrainedRun, images: Tensor) -> tuple[Tensor, Tensor | None]:
    """Probabilities ``(B, K)`` of classifier and oracle for images, on the CPU; None without an oracle."""
    batch = run.config.counterfactual.batch_size
    by_oracle = None if run.oracle is None else batched_probabilities(run.oracle, images, batch)
    return batched_probabilities(run.classifier, images, batch), by_oracle


def checked(generated: Generated, images: Tensor, name: str) -> Generated:
    """What a generator gave, in [0, 1] and of 256 levels.

    Raises:
        UserError: if it is not one image for each.
    """
    if not isinstance(generated, Generated):
        raise UserError(
            f"the generator '{name}' must return cae.generators.Generated(images), but gave a "
            f"{type(generated).__name__}."
        )
    for kind in ("images", "ends", "bases"):
        tensor = getattr(generated, kind)
        if tensor is not None and (tensor.shape != images.shape or not bool(tensor.isfinite().all())):
            raise UserError(
                f"the generator '{name}' must give `{kind}` of shape {tuple(images.shape)} in [0, 1], finite, but gave "
                f"{tuple(tensor.shape)}{'' if tensor.shape != images.shape else ' with values that are not finite'}."
            )
    ends, bases = generated.ends, generated.bases
    return Generated(
        round_to_8_bits(generated.images.float()),
        None if ends is None else round_to_8_bits(ends.float()),
        None if bases is None else bases.float().clamp(0, 1),
        generated.passes,
    )


def _row(values: Tensor | None, row: int) -> Tensor | None:
    return None if values is None else values[row]
