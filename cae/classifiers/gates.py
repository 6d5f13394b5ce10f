"""Whether a classifier is worth explaining, and an oracle worth asking: said in words, with what to do."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from cae.classifiers.checkpoints import read_metadata
from cae.classifiers.networks import OWN_NETWORKS
from cae.classifiers.saved import load_own_oracle
from cae.classifiers.target import TargetClassifier
from cae.config import ClassifierConfig
from cae.metrics.agreement import accuracy, balanced_accuracy, beats_chance

LEAST_AGREEMENT = 0.75  # of an oracle with the classifier's predictions of held-out images
GOOD, MANY_IMAGES = 0.9, 3000  # balanced accuracy from which on, and images with which, no other network is advised
_SPLITS = {"test": "test", "val": "validation"}
# figures that an oracle gives, by the command that writes them; null where it is not worth asking
DIAGNOSTIC_FIGURES = ("cae/reassignment_oracle", "cae/reassignment_residual_oracle", "cae/smote_reassignment_oracle")
TRAVERSE_FIGURES = (
    "counterfactual/validity_oracle",
    "counterfactual/validity_oracle_end",
    "counterfactual/oracle_gain",
)


def classifier_doubts(confusion: Tensor, classes: Sequence[str]) -> list[str]:
    """Sentences on a trained classifier that cannot be explained well; empty for a sound one.

    Args:
        confusion: ``(K, K)`` held-out images by true class (rows) and predicted class.
        classes: names of the K classes.
    """
    images, found = int(confusion.sum()), balanced_accuracy(confusion)
    if not beats_chance(confusion):
        return [
            f"the classifier is no better than guessing on {images} test images (balanced accuracy {found:.1%}): there "
            "is nothing to explain. Look whether the evidence is still to be seen at data.image_size (and in "
            "data.fit), give more images, or train longer or wider (classifier.patience, classifier.width)."
        ]
    never = [name for k, name in enumerate(classes) if not confusion[:, k].any() and confusion[k].any()]
    if not never:
        return []
    return [
        f"the classifier answers {' and '.join(map(repr, never))} for none of {images} test images: nothing can be "
        "said about what speaks for it. Give more images of it, train longer or wider (classifier.patience, "
        "classifier.width), or leave it out."
    ]


def classifier_advice(config: ClassifierConfig, balanced_accuracy: float, images: int) -> str | None:
    """What may make a classifier that the program trained from nothing better, as a sentence; None for a good one.

    Args:
        config: of the classifier.
        balanced_accuracy: of test images, in [0, 1].
        images: that it was trained on.
    """
    if config.model not in OWN_NETWORKS or balanced_accuracy >= GOOD or images >= MANY_IMAGES:
        return None
    return (
        f"a last layer on the frozen features of a network that comes trained is often right more often where it has "
        f"{images} images: classifier.model=efficientnet_lite0 classifier.finetune=true classifier.freeze=true takes a "
        "minute or two to train; the embedding then wants a GPU."
    )


def oracle_doubt(agreement: Tensor, split: str = "test") -> str | None:
    """Why an oracle is not worth asking about the images of a split, as a sentence; None if it is.

    Args:
        agreement: ``(K, K)`` images of the split by the classifier's prediction (rows) and the oracle's.
        split: ``test`` or ``val``.
    """
    images, rate = int(agreement.sum()), accuracy(agreement)
    several = int((agreement.sum(1) > 0).sum()) > 1
    if rate < LEAST_AGREEMENT:
        fault = (
            f"agrees with the classifier on {rate:.1%} of {images} {_SPLITS[split]} images, less than "
            f"{LEAST_AGREEMENT:.0%}"
        )
    elif several and not beats_chance(agreement):
        fault = (
            f"follows the classifier no better than a guess on {_SPLITS[split]} images "
            f"({balanced_accuracy(agreement):.1%}, balanced)"
        )
    else:
        return None
    return (
        f"the oracle {fault}: what it says of their edits means nothing, and is left out. Train it longer, wider or of "
        "the classifier's own kind (classifier.patience, oracle.width, oracle.model), or on more images: "
        "`python train.py oracle … overwrite=true`."
    )


def load_oracle(
    folder: str | Path, classifier: TargetClassifier, split: str = "test", name: str = "oracle"
) -> tuple[TargetClassifier | None, str | None]:
    """The oracle of a run folder, None where there is none or it is not worth asking, and why it is not.

    Args:
        folder: of the run.
        classifier: to be explained.
        split: of the images that it would be asked about: ``test``, or ``val``, as the training of the CAE asks it. A
            test split of other origin (other scans, another scanner) can be beyond an oracle that knows the validation
            images well.
        name: ``oracle``, or ``surrogate``, which learns like it.

    Raises:
        UserError: if it learnt the predictions of another classifier.
    """
    path, doubt = Path(folder) / f"{name}.safetensors", saved_oracle_doubt(folder, split, name)
    return (load_own_oracle(folder, classifier, name) if path.exists() and doubt is None else None), doubt


def null_figures(doubt: str | None, names: Sequence[str]) -> dict[str, str | None]:
    """What stands in ``metrics.json`` for figures of an oracle that is not worth asking, with the reason."""
    return {} if doubt is None else {**dict.fromkeys(names), "oracle/doubt": doubt}


def saved_oracle_doubt(folder: str | Path, split: str = "test", name: str = "oracle") -> str | None:
    """Why the oracle of a run folder is not worth asking, by what its file says; None if it is, or nothing is known.

    With ``name`` a surrogate, which learns like it.

    Of validation images, files of former versions say nothing; the test images stand for them there.
    """
    path = Path(folder) / f"{name}.safetensors"
    description = read_metadata(path) if path.exists() else {}
    if split == "val" and description.get("validation_agreement"):
        return oracle_doubt(torch.tensor(description["validation_agreement"]), split)
    if description.get("agreement"):
        return oracle_doubt(torch.tensor(description["agreement"]))
    rate = (description.get("metrics") or {}).get("oracle/agreement")
    return None if rate is None else oracle_doubt(torch.tensor([[rate, 1 - rate], [0, 0]], dtype=torch.double))


def saved_classifier_doubts(folder: str | Path) -> list[str]:
    """Doubts about the classifier that was trained in a run folder, by what its file says of it."""
    path = Path(folder) / "classifier.safetensors"
    description = read_metadata(path) if path.is_file() else {}
    if not description.get("confusion"):
        return []
    return classifier_doubts(torch.tensor(description["confusion"]), description["classes"])
