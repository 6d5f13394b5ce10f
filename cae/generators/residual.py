"""A residual network with the classifier in the loop, after COIN: its training, its file, and its one pass an image."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor

from cae.data.stream import BalancedStream, stream_loader
from cae.errors import UserError
from cae.files import read_json, read_saved, update_json, write_weights
from cae.generators.base import Generated, Generator
from cae.generators.residual_module import EVERY, ResidualModule
from cae.runs.run_lock import take_lock
from cae.runs.trained_run import TrainedRun
from cae.training.cae import logits_of
from cae.training.callbacks import MovableCheckpoint, TrainingClock
from cae.training.trainer import build_trainer

STAGE, FORMAT = "residual", "residual-1"
BATCH = 16


class ResidualNetwork(Generator):
    """The image plus what a network adds for the class wanted, in one pass.

    The network learns with a discriminator, the frozen classifier, and an edit back, on images that are drawn evenly
    from the classes predicted. COIN turns abnormal images normal; here any class is wanted of any image, so that one
    network serves all targets.

    Reference: after COIN, arXiv:2404.12832, and its public code.
    """

    words = "a residual network with the classifier in the loop, after COIN"
    needs_gradients = True

    def __init__(self, run: TrainedRun, seed: int):
        super().__init__(run, seed)
        options = run.config.generators
        self.steps, self.width = options.steps or run.config.cae.max_steps, options.width

    @property
    def parameters(self) -> dict[str, Any]:
        """Everything that its training depends on."""
        return {"steps": self.steps, "width": self.width, "batch_size": BATCH, "every": EVERY, "seed": self.seed}

    def prepare(self, folder: Path) -> float:
        """Train the network, or go on, or load the finished one."""
        path = folder / f"{STAGE}.safetensors"
        folder.mkdir(parents=True, exist_ok=True)
        take_lock(folder, "generators.folder=…")
        pl.seed_everything(self.seed, workers=True, verbose=False)
        module = ResidualModule(self.run.classifier, self.run.data.image_shape, self.width, self.seed)
        if not path.exists():
            self._train(module, folder)
        self.network = module
        module.generator.load_state_dict(_weights(path, self.parameters))
        module.to(self.run.device).eval().requires_grad_(False)
        return float(read_json(folder / "metrics.json").get(f"seconds/{STAGE}_training", 0.0))

    def generate(self, images: Tensor, targets: Tensor) -> Generated:
        """One pass for each image."""
        made = (self.network(2 * images - 1, targets.to(images.device)) + 1) / 2
        return Generated(made, passes=torch.ones(1, dtype=torch.int64))

    def _train(self, module: ResidualModule, folder: Path) -> None:
        """Fit, and write the weights, which mark the training as finished."""
        run, clock = self.run, TrainingClock()
        # said of a checkpoint within an epoch; the stream of batches is a function of the step
        warnings.filterwarnings("ignore", message=".*your dataloader is not resumable.*")
        last = MovableCheckpoint(
            folder / f"{STAGE}_checkpoints", "last", save_on_train_epoch_end=False, enable_version_counter=False
        )
        before = folder / f"{STAGE}_checkpoints" / "last.ckpt"
        trainer = build_trainer(
            run.config, folder, STAGE, max_steps=self.steps, callbacks=[clock, last], resume=before.exists(),
            use_distributed_sampler=False, reload_dataloaders_every_n_epochs=1, exact_steps=True,
        )  # fmt: skip
        classes = logits_of(run.classifier, run.data.train, run.data.config.batch_size)[0].argmax(1)
        every = min(run.config.cae.validate_every, self.steps)
        stream = BalancedStream(classes, BATCH, every, self.steps, self.seed, trainer)
        trainer.fit(
            module, stream_loader(run.data.train, stream, run.data.config.workers), run.data.val_dataloader(),
            ckpt_path=before if before.exists() else None, weights_only=True,
        )  # fmt: skip
        update_json(folder / "metrics.json", {f"seconds/{STAGE}_training": clock.seconds})
        facts = {"format": FORMAT, "classifier": run.fingerprints["classifier"], **self.parameters}
        write_weights(folder / f"{STAGE}.safetensors", module.generator.state_dict(), STAGE, facts)


def _weights(path: Path, parameters: dict[str, Any]) -> dict[str, Tensor]:
    """The generator's weights, if they are of a training with these parameters."""
    header, weights = read_saved(path, STAGE, FORMAT)
    others = [name for name, value in parameters.items() if header.get(name) != value]
    if others:
        raise UserError(
            f"'{path}' was trained with other settings ({', '.join(others)}): start anew with overwrite=true, or write "
            "elsewhere with generators.folder=NAME."
        )
    return weights
