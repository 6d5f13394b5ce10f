"""How many labelled images a classifier is right on: told, stored, and questioned where something must be wrong."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from cae.classifiers import TargetClassifier
from cae.data import CAEDataModule, ImageSet
from cae.data.notes import printable
from cae.data.selection import changed_work, readable, spread_over_classes
from cae.files import atomic_path, damaged, read_json, write_json
from cae.metrics.agreement import accuracy, balanced_accuracy, beats_chance, better_order, confusion_matrix, recalls
from cae.processes import is_first_process
from cae.runs.classifier_run import ClassifierRun
from cae.runs.data_record import data_warnings

FILE, ORDER_FILE = "labels.json", "class_order.txt"
BATCH = 64  # images in one forward pass
SHOWN = 6  # recalls in the printed line
SPELLED = 24  # classes whose order stands in the sentence; that of more is written into a file


@dataclass(frozen=True, eq=False)
class LabelAgreement:
    """What a classifier makes of labelled images.

    Attributes:
        confusion: ``(K, K)``, images by true and predicted class.
        classes: names of the K classes.
        split: of the data, that the images are from.
        outputs: the classifier's output that stands for each class; empty where that is their own order.
    """

    confusion: Tensor
    classes: tuple[str, ...]
    split: str
    outputs: tuple[int, ...] = ()

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
        """Sentences about what must be wrong, if anything: another order of the classes, or guesses.

        Args:
            folder: where the names are written, if they are too many for a sentence.
        """
        names, found = self.better_names(), balanced_accuracy(self.confusion)
        if names is not None and self.better_classes is not None:
            fitting = balanced_accuracy(self.confusion[:, torch.tensor(self.better_classes).argsort()])
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
    classifier: TargetClassifier, images: ImageSet, split: str, most: int, seed: int = 0
) -> LabelAgreement:
    """Ask a classifier about at most so many labelled images, spread over the classes; unreadable ones are left out."""
    labels = images.labels
    known = (labels >= 0).nonzero()[:, 0]
    places = known[spread_over_classes(labels[known], most, seed)].sort().values.tolist()
    device = next(classifier.parameters(), torch.empty(0)).device
    truth, predictions = list[int](), list[int]()
    for start in range(0, len(places), BATCH):
        samples = [sample for _, sample in readable(images, places[start : start + BATCH], [])]
        if samples:
            batch = torch.stack([sample.image for sample in samples]).to(device)
            predictions += classifier.logits(batch).argmax(1).tolist()
            truth += [sample.label for sample in samples]
    confusion = confusion_matrix(torch.tensor(truth), torch.tensor(predictions), len(classifier.classes))
    return LabelAgreement(confusion, classifier.classes, split, classifier.order)


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
    report_agreement(opened.classifier, opened.data, split, opened.config.classifier.check_images, folder)


def report_agreement(
    classifier: TargetClassifier, data: CAEDataModule, split: str, most: int, folder: Path
) -> LabelAgreement | None:
    """Print how many labelled images a classifier is right on, with doubts, and keep it as ``labels.json`` in a folder.

    Measured once for classifier and data: what the folder holds of the same is printed again.

    Returns:
        what was measured; None where there is nothing to measure, or another process does it.
    """
    images = data.dataset(split)
    if most == 0 or len(images) == 0 or not is_first_process():
        return None
    path = folder / FILE
    asked = {"classifier": classifier.fingerprint(), "split": split, "most": most, "data": data.fingerprint}
    kept = read_json(path)
    if isinstance(kept.get("asked"), dict) and not changed_work(kept["asked"], asked):
        with damaged(path, "figures of labelled images", "they are measured anew"):
            confusion = torch.tensor(kept["confusion"]).reshape(len(classifier.classes), len(classifier.classes))
        found = LabelAgreement(confusion, classifier.classes, split, classifier.order)
    else:
        found = measure_agreement(classifier, images, split, most)
        if not found.images:
            return None
        write_json(path, {"asked": asked, **found.as_json()})
    print(printable(found.summary()))
    for doubt in found.doubts(folder):
        print(printable(f"warning: {doubt}"))
    return found
