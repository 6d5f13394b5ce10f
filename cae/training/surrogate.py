"""A network that learnt the classifier's predictions, for swaps to convince beside it.

What convinces one network alone may be noise made for its weights; what convinces another one too, which answers alike
on photographs and has weights of its own, is more often something to be seen.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from cae.classifiers.gates import LEAST_AGREEMENT, load_oracle
from cae.classifiers.target import TargetClassifier
from cae.config import Config
from cae.files import read_json
from cae.training.base_module import wants_surrogate
from cae.training.classifier import train_surrogate
from cae.training.trainer import say

if TYPE_CHECKING:
    from cae.data import CAEDataModule


def surrogate_for(
    config: Config,
    data: CAEDataModule,
    classifier: TargetClassifier,
    folder: str | Path,
    checkpoint: Path | None = None,
) -> TargetClassifier | None:
    """The surrogate of a training, from its run folder or trained now; None where none is wanted, or it follows badly.

    Args:
        config: of the program; ``cae.surrogate`` says whether one is wanted.
        data: the images.
        classifier: the frozen target classifier.
        folder: the run folder.
        checkpoint: that the training goes on from. One that began without a surrogate goes on without.

    Raises:
        UserError: if that of the folder learnt the predictions of another classifier.
    """
    folder = Path(folder)
    if not wants_surrogate(config.cae, len(data.train)):
        return None
    if not (folder / "surrogate.safetensors").exists():
        if checkpoint is not None:
            return None
        train_surrogate(config, data, classifier, folder)
    surrogate, doubt = load_oracle(folder, classifier, "val", "surrogate")
    if doubt is not None:
        agreement = read_json(folder / "surrogate.json")["metrics"]["surrogate/validation_agreement"]
        say(
            f"note: the surrogate agrees with the classifier on {agreement:.1%} of the validation images, less than "
            f"{LEAST_AGREEMENT:.0%} or no more than a guess would: swaps need not convince it."
        )
    return surrogate
