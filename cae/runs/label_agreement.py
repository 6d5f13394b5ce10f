"""How many labelled images a classifier is right on: told, stored, and questioned where something must be wrong."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from cae.classifiers import TargetClassifier
from cae.classifiers.other_inputs import logits_given, other_inputs
from cae.classifiers.saved import is_own
from cae.config import ClassifierConfig
from cae.data import CAEDataModule, ImageSet
from cae.data.notes import printable
from cae.data.selection import changed_work, readable, spread_over_classes
from cae.errors import UserError
from cae.files import atomic_path, damaged, read_json, write_json
from cae.metrics.agreement import (
    CLEARLY_BETTER,
    accuracy,
    balanced_accuracy,
    beats_chance,
    better_order,
    clearly_better,
    confusion_matrix,
    recalls,
)
from cae.processes import is_first_process
from cae.runs.classifier_run import ClassifierRun
from cae.runs.data_record import data_warnings

FILE, ORDER_FILE = "labels.json", "class_order.txt"
BATCH = 64  # images in one forward pass
SHOWN = 6  # recalls in the printed line
SPELLED = 24  # classes whose order stands in the sentence; that of more is written into a file


@dataclass(frozen=True)
class BetterInput:
    """A form of the images in which a classifier is right on clearly more of them.

    Attributes:
        words: what it is, after "given".
        remedy: what to set, should it be that of the training.
        images: how many were asked about.
        found: balanced accuracy on them as they are given, in [0, 1].
        fitting: that in the other form.
    """

    words: str
    remedy: str
    images: int
    found: float
    fitting: float

    def doubt(self) -> str:
        """What to think of it."""
        return (
            f"given {self.images} labelled images {self.words}, the classifier is right on far more of them "
            f"({self.fitting:.1%} instead of {self.found:.1%}, balanced): if that is the form of its training, "
            f"{self.remedy}"
        )


@dataclass(frozen=True, eq=False)
class LabelAgreement:
    """What a classifier makes of labelled images.

    Attributes:
        confusion: ``(K, K)``, images by true and predicted class.
        classes: names of the K classes.
        split: of the data, that the images are from.
        outputs: the classifier's output that stands for each class; empty where that is their own order.
        better_input: a form of the images that fits the classifier clearly better; None where none was found.
    """

    confusion: Tensor
    classes: tuple[str, ...]
    split: str
    outputs: tuple[int, ...] = ()
    better_input: BetterInput | None = None

    @property
    def images(self) -> int:
        """How many images were asked about."""
        return int(self.confusion.sum())

    @property
    def recall(self) -> dict[str, float]:
        """Share of each class's images that are recognised, in [0, 1]; classes without images are left out."""
        shares = zip(self.classes, recalls(self.confusion).tolist(), strict=True)
        return {name: share for name, share in shares if not math.isnan(share)}

    def metrics(self) -> dict[str, float]:
        """Flat figures for ``metrics.json``: accuracy, balanced accuracy, recalls, and the number of images."""
        return {
            f"classifier/{self.split}_accuracy": accuracy(self.confusion),
            f"classifier/{self.split}_balanced_accuracy": balanced_accuracy(self.confusion),
            f"classifier/{self.split}_images": float(self.images),
            **{f"classifier/recall/{name}": share for name, share in self.recall.items()},
        }

    def summary(self) -> str:
        """One line: how many images, overall and balanced accuracy, and the lowest recalls."""
        lowest = sorted(self.recall.items(), key=lambda item: item[1])
        shown = ", ".join(f"{name} {share:.0%}" for name, share in lowest[:SHOWN])
        more = f"; lowest of {len(lowest)}" if len(lowest) > SHOWN else ""
        return (
            f"classifier: right on {accuracy(self.confusion):.1%} of {self.images} labelled images of the {self.split} "
            f"split (balanced {balanced_accuracy(self.confusion):.1%}{more}: {shown})"
        )

    @cached_property
    def better_classes(self) -> list[int] | None:
        """The class that each output seems to stand for, where that fits far better; else None."""
        return better_order(self.confusion)

    def better_names(self) -> list[str] | None:
        """What to set ``classifier.classes`` to, where another order fits far better; else None."""
        if self.better_classes is None:
            return None
        names = [""] * len(self.classes)
        for place, number in enumerate(self.better_classes):
            names[self.outputs[place] if self.outputs else place] = self.classes[number]
        return names

    def doubts(self, folder: Path | None = None) -> list[str]:
        """Sentences about what must be wrong, if anything: order of the classes, form of the images, or guesses.

        Args:
            folder: where the names are written, if they are too many for a sentence.
        """
        names, found, fitting = self.better_names(), balanced_accuracy(self.confusion), 0.0
        if self.better_classes is not None:
            fitting = balanced_accuracy(self.confusion[:, torch.tensor(self.better_classes).argsort()])
        if self.better_input is not None and self.better_input.fitting > fitting:
            return [self.better_input.doubt()]
        if names is not None:
            return [
                f"another order of the classes fits the classifier's outputs far better ({fitting:.1%} instead of "
                f"{found:.1%}, balanced): if it is that of its training, set {_setting(names, folder)}"
            ]
        if not beats_chance(self.confusion):
            return [
                f"the classifier is no better than guessing on {self.images} labelled images (balanced accuracy "
                f"{found:.1%}), so that explanations show nothing of the classes: are its weights, `classifier.mean`, "
                "`classifier.std`, `classifier.input_size` and the order of its classes (`classifier.classes`) those "
                "of its training?"
            ]
        return []

    def as_json(self) -> dict[str, Any]:
        """Everything, as it is written beside explanations."""
        return {
            "split": self.split,
            "images": self.images,
            "accuracy": accuracy(self.confusion),
            "balanced_accuracy": balanced_accuracy(self.confusion),
            "recall": self.recall,
            "better_order": self.better_names(),
            "better_input": None if self.better_input is None else asdict(self.better_input),
            "classes": list(self.classes),
            "confusion": self.confusion.tolist(),
        }


def _setting(names: Sequence[str], folder: Path | None) -> str:
    """The argument that sets the names, by a file where they are many and there is a folder for it."""
    if len(names) <= SPELLED or folder is None:
        return f"classifier.classes=[{','.join(map(_quoted, names))}]"
    with atomic_path(folder / ORDER_FILE) as temporary:
        temporary.write_text("".join(f"{name}\n" for name in names), encoding="utf-8")
    return f"classifier.classes={folder / ORDER_FILE}"


def _quoted(name: str) -> str:
    """A name as it stands in a list of the command line."""
    plain = re.fullmatch(r"[\w.+-]+(?: [\w.+-]+)*", name) and name.lower() not in ("null", "~")
    return name if plain else json.dumps(name, ensure_ascii=False)


@torch.no_grad()
def measure_agreement(
    classifier: TargetClassifier, images: ImageSet, split: str, most: int, seed: int = 0, foreign: bool = False
) -> LabelAgreement:
    """Ask a classifier about at most so many labelled images, spread over the classes; unreadable ones are left out.

    One that was trained elsewhere (``foreign``) and is often wrong is given some of them in other forms, too.
    """
    places = _places(images, most, seed)
    truth, predictions = torch.empty(0, dtype=torch.int64), torch.empty(0, dtype=torch.int64)
    for start in range(0, len(places), BATCH):
        batch, labels = _read(classifier, images, places[start : start + BATCH])
        if len(labels):
            truth = torch.cat([truth, labels])
            predictions = torch.cat([predictions, classifier.logits(batch).argmax(1).cpu()])
    confusion = confusion_matrix(truth, predictions, len(classifier.classes))
    better = None
    if foreign and len(truth) and balanced_accuracy(confusion) <= 1 - CLEARLY_BETTER:
        better = _better_input(classifier, *_read(classifier, images, _places(images, min(most, BATCH), seed)))
    return LabelAgreement(confusion, classifier.classes, split, classifier.order, better)


def _places(images: ImageSet, most: int, seed: int) -> list[int]:
    """Places of at most so many labelled images, spread over the classes."""
    known = (images.labels >= 0).nonzero()[:, 0]
    return known[spread_over_classes(images.labels[known], most, seed)].sort().values.tolist()


def _read(classifier: TargetClassifier, images: ImageSet, places: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Images ``(B, C, H, W)``, where the classifier is, and labels ``(B,)`` of those that can be read."""
    samples = [sample for _, sample in readable(images, places, [])]
    if not samples:
        return torch.empty(0), torch.empty(0, dtype=torch.int64)
    device = next(classifier.parameters(), torch.empty(0)).device
    labels = torch.tensor([sample.label for sample in samples])
    return torch.stack([sample.image for sample in samples]).to(device), labels


def _better_input(classifier: TargetClassifier, images: Tensor, labels: Tensor) -> BetterInput | None:
    """The form of images ``(B, C, H, W)`` in which the classifier is right on clearly more of them, if any is."""
    forms, predictions = [], []
    for form in other_inputs(classifier):
        try:
            predictions.append(logits_given(classifier, images, form).argmax(1).cpu())
            forms.append(form)
        except UserError:  # it does not take images of this form: it is not that of its training
            continue
    own, classes = classifier.logits(images).argmax(1).cpu(), len(classifier.classes)
    best = clearly_better(labels, own, predictions, classes)
    if best is None:
        return None
    found, fitting = (balanced_accuracy(confusion_matrix(labels, one, classes)) for one in (own, predictions[best]))
    return BetterInput(forms[best].words, forms[best].remedy, len(labels), found, fitting)


def check_labelled_images(opened: ClassifierRun, split: str, folder: Path) -> None:
    """Before anything is explained: whether the data is that of the training, and how often the classifier is right.

    Args:
        opened: the run; without data there is nothing to check.
        split: whose labelled images the classifier is tried on.
        folder: of the explanations, where the figures are kept.
    """
    if opened.data is None or not is_first_process():
        return
    for sentence in data_warnings(opened.folder.path, opened.data, ("classifier", "oracle", "cae", "sampler")):
        print(printable(f"warning: {sentence}"))
    report_agreement(opened.classifier, opened.data, split, opened.config.classifier, folder)


def report_agreement(
    classifier: TargetClassifier, data: CAEDataModule, split: str, config: ClassifierConfig, folder: Path
) -> LabelAgreement | None:
    """Print how many labelled images a classifier is right on, with doubts, and keep it as ``labels.json`` in a folder.

    Measured once for classifier and data: what the folder holds of the same is printed again.

    Returns:
        what was measured; None where there is nothing to measure, or another process does it.
    """
    images, most, foreign = data.dataset(split), config.check_images, not is_own(config)
    if most == 0 or len(images) == 0 or not is_first_process():
        return None
    path = folder / FILE
    asked = {"classifier": classifier.fingerprint(), "split": split, "most": most, "data": data.fingerprint}
    asked |= {"other forms": True} if foreign else {}
    kept = read_json(path)
    if isinstance(kept.get("asked"), dict) and not changed_work(kept["asked"], asked):
        with damaged(path, "figures of labelled images", "they are measured anew"):
            confusion = torch.tensor(kept["confusion"]).reshape(len(classifier.classes), len(classifier.classes))
            better = None if kept.get("better_input") is None else BetterInput(**kept["better_input"])
        found = LabelAgreement(confusion, classifier.classes, split, classifier.order, better)
    else:
        found = measure_agreement(classifier, images, split, most, foreign=foreign)
        if not found.images:
            return None
        write_json(path, {"asked": asked, **found.as_json()})
    print(printable(found.summary()))
    for doubt in found.doubts(folder):
        print(printable(f"warning: {doubt}"))
    return found
