"""Training of the program's own classifiers: the one to be explained, and the oracle that checks edits."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, DistributedSampler, Sampler

from cae.classifiers.preprocessing import Preprocessing
from cae.classifiers.saved import OWN_NETWORKS, build_network, save_classifier
from cae.classifiers.target import TargetClassifier
from cae.config import ClassifierConfig, Config, OracleConfig
from cae.data.types import Batch
from cae.errors import UserError
from cae.files import check_finite, read_checkpoint, update_json
from cae.training.augmentation import random_noise, random_shift
from cae.training.callbacks import MovableCheckpoint
from cae.training.trainer import build_trainer, check_same_options, checkpoint_to_continue, close_loggers

if TYPE_CHECKING:
    from cae.data import CAEDataModule

LAST, BEST = "last", "best"
FORMER_OPTIONS = {"verdicts": "learn_predictions"}  # of checkpoints before version 0.2


def epoch_seed(seed: int, epoch: int, rank: int) -> int:
    """A seed of its own for every epoch and process."""
    return (seed * 1_000_003 + epoch * 1009 + rank) % 2**63


class EpochOrder(Sampler[int]):
    """A random order of ``count`` images that depends on seed and epoch alone, so that a resumed training keeps it."""

    def __init__(self, count: int, seed: int):
        self.count, self.seed, self.epoch = count, seed, 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the order of an epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(epoch_seed(self.seed, self.epoch, 0))
        yield from torch.randperm(self.count, generator=generator).tolist()


class ClassifierModule(pl.LightningModule):
    """Cross-entropy training of a network of the program's own, with AdamW and a one-cycle schedule.

    Args:
        classes: class names, in label order.
        image_shape: ``(C, H, W)`` of the images, in [0, 1].
        model: name of the network, of ``OWN_NETWORKS``.
        width: channels of its first stage.
        epochs: epochs of the whole training; the schedule spans them.
        learning_rate: peak learning rate.
        weight_decay: decay of AdamW.
        noise: largest standard deviation of the noise on training images, on [0, 1].
        shift: largest random shift of training images, in pixels.
        input_size: side in pixels at which the network sees the images; by default their own.
        mean: per-channel mean for normalisation; empty for none.
        std: per-channel standard deviation; empty for none.
        seed: seed of augmentation and dropout, drawn anew at each epoch so that a resumed training is the same one.
        learn_predictions: learn the teacher's predictions instead of the labels.
        teacher: a classifier whose predictions are learned, or compared with in the test.
    """

    _validation: Tensor
    confusion: Tensor
    agreement: Tensor

    def __init__(
        self,
        classes: Sequence[str],
        image_shape: Sequence[int],
        model: str = "resnet",
        width: int = 16,
        epochs: int = 12,
        learning_rate: float = 2e-3,
        weight_decay: float = 1e-2,
        noise: float = 0.1,
        shift: int = 3,
        input_size: int | None = None,
        mean: Sequence[float] = (),
        std: Sequence[float] = (),
        seed: int = 0,
        learn_predictions: bool = False,
        teacher: TargetClassifier | None = None,
    ):
        super().__init__()
        self.save_hyperparameters(ignore=["teacher"])
        channels, height, width_ = image_shape
        size = (input_size, input_size) if input_size else (height, width_)
        self.network = build_network(model, len(classes), channels, width)
        self.preprocess = Preprocessing(channels, size, mean, std)
        self.order: EpochOrder | None = None
        self._teacher = (teacher,)  # in a tuple, so that its weights are no part of this module
        self.register_buffer("_validation", torch.zeros(3), persistent=False)  # errors, sum of losses, images
        self.register_buffer("confusion", torch.zeros(len(classes), len(classes)), persistent=False)
        self.register_buffer("agreement", torch.zeros(2), persistent=False)  # images of the same prediction, images

    def forward(self, images: Tensor) -> Tensor:
        """Logits ``(B, K)`` of images ``(B, C, H, W)`` in [0, 1]."""
        return self.network(self.preprocess(images))

    def targets(self, batch: Batch) -> Tensor:
        """What is learned, ``(B,)``: the labels, or the teacher's predictions for the images before augmentation."""
        return self._teachers_predictions(batch) if self.hparams["learn_predictions"] else batch.labels

    def _teachers_predictions(self, batch: Batch) -> Tensor:
        (teacher,) = self._teacher
        if teacher is None:
            raise UserError("Learning predictions needs the classifier whose predictions they are.")
        with torch.no_grad():
            return teacher.to(batch.images.device).logits(batch.images).argmax(1)

    def on_train_epoch_start(self) -> None:
        """Choose the order of the images; Lightning tells a sampler the epoch only outside of distributed training."""
        if self.order is not None:
            self.order.set_epoch(self.current_epoch)

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Seed augmentation and dropout by the epoch."""
        if batch_idx == 0:
            torch.manual_seed(epoch_seed(self.hparams["seed"], self.current_epoch, self.global_rank))

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Cross-entropy of an augmented batch."""
        targets = self.targets(batch)
        images = random_noise(random_shift(batch.images, self.hparams["shift"]), self.hparams["noise"], clamp=True)
        loss = F.cross_entropy(self(images), targets)
        self.log("train/loss", loss, prog_bar=True, batch_size=len(batch))
        return loss

    def on_validation_epoch_start(self) -> None:
        """Begin counting anew."""
        self._validation.zero_()

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Count errors and losses."""
        logits, targets = self(batch.images).float(), self.targets(batch)
        errors = (logits.argmax(1) != targets).sum()
        losses = F.cross_entropy(logits, targets, reduction="sum")
        self._validation += torch.stack([errors.float(), losses, torch.full_like(losses, len(batch))])

    def on_validation_epoch_end(self) -> None:
        """Log accuracy and loss, and the number by which the best epoch is chosen: fewest errors, then lowest loss."""
        errors, losses, images = self.trainer.strategy.reduce(self._validation.clone(), reduce_op="sum")
        loss = losses / images
        self.log("val/accuracy", 1 - errors / images, prog_bar=True, sync_dist=True)
        self.log("val/loss", loss, sync_dist=True)
        self.log("val/selection", errors + loss / (1 + loss), sync_dist=True)  # the fraction decides between ties

    def on_test_epoch_start(self) -> None:
        """Begin counting anew."""
        self.confusion.zero_()
        self.agreement.zero_()

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        """Count predictions by true class, and agreement with the teacher."""
        predictions = self(batch.images).argmax(1)
        self.confusion.index_put_((batch.labels, predictions), self.confusion.new_ones(()), accumulate=True)
        if self._teacher[0] is not None:
            alike = (predictions == self._teachers_predictions(batch)).sum()
            self.agreement += torch.stack([alike, torch.full_like(alike, len(batch))])

    def configure_optimizers(self) -> Any:
        """AdamW; the learning rate rises and falls once, step by step."""
        options = self.hparams
        optimiser = torch.optim.AdamW(
            self.network.parameters(), lr=options["learning_rate"], weight_decay=options["weight_decay"]
        )
        steps = int(self.trainer.estimated_stepping_batches)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, options["learning_rate"], total_steps=steps)
        return {"optimizer": optimiser, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def train_classifier(config: Config, data: CAEDataModule, folder: str | Path) -> dict[str, float]:
    """Train the classifier to be explained and write it into the run folder.

    Writes ``classifier.safetensors``, ``classifier.json``, ``classifier_checkpoints/``, ``classifier_logs/`` and the
    metrics ``classifier/test_accuracy`` and ``classifier/recall/<class>`` (each in [0, 1]) into ``metrics.json``.

    Raises:
        UserError: if the options name no network of our own, or the folder already holds a classifier.
    """
    options = config.classifier
    if options.model not in OWN_NETWORKS or options.weights is not None:
        raise UserError(
            f"There is nothing to train: `classifier.model={options.model}`, `classifier.weights={options.weights}`. "
            f"Training is for the program's own networks ({', '.join(OWN_NETWORKS)}); a classifier of yours is used as "
            "it is."
        )
    data.setup("fit")
    _check_channels(options.channels, data.image_shape[0])
    return _train_and_save(
        "classifier",
        config,
        data,
        Path(folder),
        options,
        seed=config.seed,
        input_size=options.input_size,
        mean=[float(value) for value in options.mean],
        std=[float(value) for value in options.std],
    )


def train_oracle(
    config: Config, data: CAEDataModule, classifier: TargetClassifier, folder: str | Path
) -> dict[str, float]:
    """Train the second classifier, on the target's predictions or on the labels, and write it into the run folder.

    Writes ``oracle.safetensors``, ``oracle.json``, ``oracle_checkpoints/``, ``oracle_logs/`` and the metrics
    ``oracle/test_accuracy`` (against the labels) and ``oracle/agreement`` (with the target's predictions), on the test
    split, each in [0, 1], into ``metrics.json``. Learning rate and augmentation are those of the classifier.

    Raises:
        UserError: if the folder already holds an oracle.
    """
    options = config.oracle
    data.setup("fit")
    device = next(classifier.parameters(), torch.zeros(())).device
    metrics = _train_and_save(
        "oracle",
        config,
        data,
        Path(folder),
        options,
        seed=options.seed,
        learn_predictions=options.labels == "predictions",
        teacher=classifier,
    )
    classifier.to(device)
    return metrics


def _train_and_save(
    name: str,
    config: Config,
    data: CAEDataModule,
    folder: Path,
    options: ClassifierConfig | OracleConfig,
    *,
    seed: int,
    teacher: TargetClassifier | None = None,
    **settings: Any,
) -> dict[str, float]:
    """Train a network as ``options`` say and write it with its metrics; ``settings`` go to ``ClassifierModule``."""
    pl.seed_everything(seed, workers=True, verbose=False)
    module = ClassifierModule(
        list(data.classes),
        list(data.image_shape),
        model=options.model,
        width=options.width,
        epochs=options.epochs,
        learning_rate=config.classifier.learning_rate,
        weight_decay=config.classifier.weight_decay,
        noise=config.classifier.noise,
        shift=config.classifier.shift,
        seed=seed,
        teacher=teacher,
        **settings,
    )
    trainer = _fit(module, config, data, folder, name)
    metrics = _test_metrics(module, name, data.classes)
    if trainer.is_global_zero:  # the weights come last, since they mark the stage as finished
        check_finite(folder / f"{name}.safetensors", module.network.state_dict())
        update_json(folder / "metrics.json", metrics)
        save_classifier(
            folder, module.network, options, data.classes, data.image_shape, metrics, name=name,
            teacher=teacher.fingerprint() if teacher is not None and module.hparams["learn_predictions"] else None,
        )  # fmt: skip
    trainer.strategy.barrier(f"{name} saved")
    return metrics


def _check_channels(wanted: int | None, found: int) -> None:
    if wanted not in (None, found):
        raise UserError(
            f"`classifier.channels={wanted}`, but the images have {found}: the program's own networks are trained on "
            "the images as they are; remove the option."
        )


def _fit(module: ClassifierModule, config: Config, data: CAEDataModule, folder: Path, stage: str) -> pl.Trainer:
    """Train or continue, load the weights of the best epoch, and count on the test split.

    Every process of a distributed training tests the whole split: dealt out, some images would be counted twice.
    """
    _check_splits(data)
    last = checkpoint_to_continue(config, folder, stage)
    module.order = EpochOrder(len(data.train), module.hparams["seed"])
    loader = _with_sampler(data.train_dataloader(), module.order)
    if last is not None:
        checkpoint = read_checkpoint(last, to_continue=True)
        before = _present_options(checkpoint.get("hyper_parameters", {}))
        check_same_options(before, dict(module.hparams), last, stage)
        module.order.set_epoch(checkpoint["epoch"] + 1)  # workers begin to read before the epoch begins
    callbacks = _checkpoints(folder / f"{stage}_checkpoints")
    epochs = module.hparams["epochs"]
    trainer = build_trainer(config, folder, stage, max_epochs=epochs, callbacks=callbacks, resume=last is not None)
    trainer.fit(module, loader, data.val_dataloader(), ckpt_path=last, weights_only=True)
    best = read_checkpoint(folder / f"{stage}_checkpoints" / f"{BEST}.ckpt")
    module.load_state_dict(best["state_dict"])
    data.setup("test")
    images = cast("Dataset", data.test)
    whole: DistributedSampler = DistributedSampler(images, num_replicas=1, rank=0, shuffle=False)
    trainer.test(module, _with_sampler(data.test_dataloader(), whole), verbose=False)
    close_loggers(trainer)
    return trainer


def _present_options(hyper_parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Hyper-parameters of a checkpoint by the names that ``ClassifierModule`` has for them now."""
    return {FORMER_OPTIONS.get(name, name): value for name, value in hyper_parameters.items()}


def _check_splits(data: CAEDataModule) -> None:
    empty = [split for split in ("train", "val", "test") if len(data.dataset(split)) == 0]
    if empty:
        raise UserError(
            f"No image in the split(s) {', '.join(empty)}: a classifier is trained on one, chosen on another and "
            "tested on the third; see `data.val_share` and `data.test_share`."
        )


def _with_sampler(loader: DataLoader, sampler: Sampler) -> DataLoader:
    """The same loader with another choice and order of its images."""
    return DataLoader(
        loader.dataset,
        batch_size=loader.batch_size,
        sampler=sampler,
        drop_last=loader.drop_last,
        collate_fn=loader.collate_fn,
        num_workers=loader.num_workers,
        persistent_workers=loader.persistent_workers,
        generator=loader.generator,
    )


def _checkpoints(folder: Path) -> list[pl.Callback]:
    """The best epoch and, after it, the last: so that the last one knows of the best."""
    settings: dict[str, Any] = {"save_on_train_epoch_end": True, "enable_version_counter": False}
    best = MovableCheckpoint(folder, BEST, monitor="val/selection", mode="min", **settings)
    return [best, MovableCheckpoint(folder, LAST, **settings)]


def _test_metrics(module: ClassifierModule, name: str, classes: Sequence[str]) -> dict[str, float]:
    """Accuracy on the test split, and recall of each class that has images; of a pupil agreement with its teacher."""
    correct, images = module.confusion.cpu().diagonal(), module.confusion.cpu().sum(1)
    metrics = {f"{name}/test_accuracy": float(correct.sum() / images.sum())}
    compared = float(module.agreement[1])
    if compared:
        return metrics | {f"{name}/agreement": float(module.agreement[0]) / compared}
    recall = {cls: float(correct[k] / images[k]) for k, cls in enumerate(classes) if images[k] > 0}
    return metrics | {f"{name}/recall/{cls}": value for cls, value in recall.items()}
