"""Training of the CAE as a whole: logits of the classifier, stream of batches, fitting, export of the best weights."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import ModelCheckpoint
from torch import Tensor
from torch.utils.data import DataLoader

from cae.classifiers import ClassifierReader, TargetClassifier, readable
from cae.config import CAEConfig, Config
from cae.data import CAEDataModule, ImageSet, collate
from cae.data.stream import BalancedStream, Progress, stream_loader
from cae.data.types import even_places
from cae.devices import device_for, device_of
from cae.errors import UserError
from cae.files import update_json
from cae.manifold.class_manifold import ClassManifold
from cae.models.cae import CAE
from cae.models.published import PublishedCAE
from cae.models.released_checkpoints import load_released
from cae.training.base_module import FrozenClassifiers, is_augmented
from cae.training.cae_module import CAEModule
from cae.training.callbacks import LastValidation, MovableCheckpoint, Patience, SampleGrid, TrainingClock
from cae.training.collapse import CollapseGuard
from cae.training.former_checkpoints import checkpoint_state
from cae.training.published_module import PublishedModule
from cae.training.trainer import build_trainer, say

GRID_IMAGES = 8  # of the sample grids
SAMPLES = 256  # training images that tell mean and spread of the classifier's features, and are swapped at validations


def train_cae(
    config: Config,
    data: CAEDataModule,
    classifier: TargetClassifier,
    oracle: TargetClassifier | None,
    folder: str | Path,
    checkpoint: Path | None = None,
    surrogate: TargetClassifier | None = None,
) -> CAE | PublishedCAE:
    """Train the CAE and write the best weights and the manifold of the training codes.

    Writes ``checkpoints/``, ``metrics.csv``, ``samples/``, ``manifold.safetensors``, ``cae.safetensors``, and
    ``seconds/cae_training`` and ``cae/steps`` into ``metrics.json``.

    Args:
        config: the program's options.
        data: the images.
        classifier: the frozen target classifier.
        oracle: the classifier that only validation asks; None where none is worth asking.
        folder: the run folder.
        checkpoint: continue from it.
        surrogate: a network that learnt the classifier's predictions, which swaps have to convince too.

    Returns:
        The CAE with the best weights, in evaluation mode; like both classifiers, on the device of the training.

    Raises:
        UserError: if there is nothing to swap or to pair.
    """
    folder = Path(folder)
    # said of a checkpoint within an epoch; the stream of batches is a function of the step
    warnings.filterwarnings("ignore", message=".*your dataloader is not resumable.*")
    clock, figures = TrainingClock(), LastValidation()
    best, last = checkpoints(folder / "checkpoints")
    # after the best one, so that the last checkpoint knows of it
    patience = Patience("val/score", patience=config.cae.patience, mode="max", check_on_train_epoch_end=False)
    grid = SampleGrid(folder / "samples", _spread(data.val, GRID_IMAGES))
    callbacks = [clock, figures, grid, CollapseGuard(config), patience, best, last]
    trainer = build_trainer(
        config, folder, "cae", max_steps=config.cae.max_steps, callbacks=callbacks, resume=checkpoint is not None,
        use_distributed_sampler=False, reload_dataloaders_every_n_epochs=1,  # the last epoch may be shorter
        exact_steps=True,
    )  # fmt: skip
    device = trainer.strategy.root_device
    asked = oracle.to(device) if oracle else None
    classifiers = replace(gather_classifiers(config.cae, data, classifier.to(device), asked), surrogate=surrogate)
    pl.seed_everything(config.seed, workers=True, verbose=False)
    module = build_module(config, data.image_shape, classifiers)
    if checkpoint is not None:
        check_fits(module, checkpoint)
    loader = train_loader(config, data, classifiers.training_logits, trainer)
    trainer.fit(module, loader, data.val_dataloader(), ckpt_path=checkpoint, weights_only=True)
    cae = _best_average(module, best).to(device)
    if trainer.is_global_zero:
        facts = {"seconds/cae_training": clock.seconds, "cae/steps": trainer.global_step}
        update_json(folder / "metrics.json", facts | _validations(figures.figures, best))
        export_cae(cae, config, data, classifier.to(device), folder, oracle, surrogate)
    trainer.strategy.barrier("cae saved")
    if oracle is not None:
        oracle.to(device)
    return cae


def build_module(
    config: Config, image_shape: tuple[int, int, int], classifiers: FrozenClassifiers
) -> CAEModule | PublishedModule:
    """The Lightning module of ``cae.preset``."""
    kind = PublishedModule if config.cae.preset == "published" else CAEModule
    return kind(image_shape, config.cae, classifiers, config.seed, config.data.flip)


def check_fits(module: torch.nn.Module, checkpoint: Path) -> None:
    """Raise a UserError if the weights of a checkpoint are not those of this module."""
    wanted = {name: tensor.shape for name, tensor in module.state_dict().items()}
    if {name: tensor.shape for name, tensor in checkpoint_state(checkpoint).items()} != wanted:
        raise UserError(
            f"'{checkpoint}' holds the weights of other networks, probably of another version of this program: it "
            "cannot be continued; give overwrite=true to start anew, or name=… to write elsewhere."
        )


def gather_classifiers(
    config: CAEConfig, data: CAEDataModule, target: TargetClassifier, oracle: TargetClassifier | None
) -> FrozenClassifiers:
    """The frozen classifiers, with the target's logits and features of the training images, computed once.

    Raises:
        UserError: if the target predicts one class for all training or all validation images.
    """
    reader = reader_for(config, target)
    features: Tensor | None = None
    if reader is None:
        logits, ids = logits_of(target, data.train, data.config.batch_size)
    else:
        logits, ids, features = readings_of(reader, data.train, data.config.batch_size)
    _report_predictions(logits.argmax(1), data.classes, "training")
    validation_logits, _ = logits_of(target, data.val, data.config.batch_size)
    _report_predictions(validation_logits.argmax(1), data.classes, "validation")
    # altered images are others than those that were classified
    altered = data.config.flip or is_augmented(config, len(ids))
    rows = {} if altered else {name: row for row, name in enumerate(ids)}
    samples = _spread(data.train, SAMPLES).to(device_of(target))
    return FrozenClassifiers(target, oracle, logits, samples, rows, reader, features)


def reader_for(config: CAEConfig, target: TargetClassifier) -> ClassifierReader | None:
    """What reads class codes in the classifier's features; None where an encoder learns them from the images.

    Raises:
        UserError: if ``cae.model.class_code=classifier`` asks for features that this classifier does not show.
    """
    wanted = config.model.class_code
    if wanted == "encoder" or (wanted == "auto" and not config.follows_gradients):
        return None
    reader = readable(target) if config.follows_gradients else None
    if reader is None and wanted == "classifier":
        raise UserError(
            "`cae.model.class_code=classifier` reads class codes in the classifier's features, which needs a PyTorch "
            "network with gradients and a linear layer at its end, and a CAE that follows it (cae.preset=default, "
            "cae.target=classifier, cae.black_box=false); set it to encoder or auto."
        )
    return reader


@torch.no_grad()
def logits_of(classifier: TargetClassifier, images: ImageSet, batch_size: int) -> tuple[Tensor, list[str]]:
    """The classifier's logits ``(N, K)`` for every image of a set, on the CPU, and the images' ids."""
    batches = [
        (classifier.logits(images).float().cpu(), ids) for images, ids in _batches(classifier, images, batch_size)
    ]
    return torch.cat([logits for logits, _ in batches]), [name for _, ids in batches for name in ids]


@torch.no_grad()
def readings_of(reader: ClassifierReader, images: ImageSet, batch_size: int) -> tuple[Tensor, list[str], Tensor]:
    """The same, read from within, and the features ``(N, F)``, on the CPU."""
    logits, names, features = [], [], []
    for batch, ids in _batches(reader.classifier, images, batch_size):
        reading = reader(batch, maps=False)
        logits.append(reading.logits.cpu())
        features.append(reading.features.cpu())
        names += ids
    return torch.cat(logits), names, torch.cat(features)


def _batches(classifier: TargetClassifier, images: ImageSet, batch_size: int) -> Iterator[tuple[Tensor, list[str]]]:
    """Images ``(B, C, H, W)`` on the device of the classifier, with their ids."""
    loader: DataLoader = DataLoader(images, batch_size=batch_size, collate_fn=collate)  # type: ignore[arg-type]
    device = device_of(classifier)
    for batch in loader:
        yield batch.images.to(device), batch.ids


def train_loader(config: Config, data: CAEDataModule, logits: Tensor, progress: Progress) -> DataLoader:
    """Batches balanced over what the codes follow, a function of seed and step alone.

    Args:
        config: the program's options.
        data: the images.
        logits: ``(N, K)`` of the target classifier for the training images.
        progress: tells the step that the stream goes on from.

    Raises:
        UserError: if the preset `published` finds nothing to pair.
    """
    classes = data.train.labels if config.cae.target == "labels" else logits.argmax(1)
    if config.cae.preset == "published":
        classes = (classes > 0).long()  # normal against all others
        if not 0 < classes.sum() < len(classes):
            raise UserError(
                f"cae.preset=published pairs images of the first class ({data.classes[0]!r}) with images of the "
                "others, but the training split has only one of the two kinds."
            )
    cae, size = config.cae, data.config.batch_size
    stream = BalancedStream(classes, size, cae.validate_every, cae.max_steps, config.seed, progress)
    return stream_loader(data.train, stream, data.config.workers)


def checkpoints(folder: Path, monitor: str = "val/score", mode: str = "max") -> tuple[ModelCheckpoint, ModelCheckpoint]:
    """Keep the checkpoint of the best validation, by a logged number, and that of the last."""
    # not at the end of the epoch, from where Lightning (2.6) continues with all steps in the log one too high
    at_validation: dict[str, Any] = {"save_on_train_epoch_end": False, "enable_version_counter": False}
    best = MovableCheckpoint(folder, "best", monitor=monitor, mode=mode, **at_validation)
    return best, MovableCheckpoint(folder, "last", **at_validation)


def _report_predictions(predictions: Tensor, classes: tuple[str, ...], split: str) -> None:
    """A class that is never predicted has no codes: nothing can be turned into it."""
    counts = torch.bincount(predictions, minlength=len(classes))
    missing = [name for name, count in zip(classes, counts.tolist(), strict=True) if count == 0]
    if (counts > 0).sum() < 2:
        raise UserError(
            f"the classifier predicts one class for all {split} images "
            f"({classes[int(counts.argmax())]!r}): there is nothing to swap. Is it trained, and on these classes?"
        )
    if missing:
        say(f"note: the classifier never predicts {', '.join(missing)} on the {split} split")


def _spread(images: ImageSet, count: int) -> Tensor:
    """``count`` images that go through the classes in turn."""
    order = torch.argsort(images.labels, stable=True)
    chosen = order[even_places(len(order), count)]
    return torch.stack([images[int(index)].image for index in chosen])


def _best_average(module: CAEModule | PublishedModule, best: ModelCheckpoint) -> CAE | PublishedCAE:
    module.load_state_dict(checkpoint_state(best.best_model_path))
    return module.average.eval()


def _validations(last: Mapping[str, float], best: ModelCheckpoint) -> dict[str, float]:
    """How swaps of validation images went at best and at the end, and those of training images at the end.

    All are the lower of the rates under classifier and oracle.
    """
    found = {"cae/validation_last": last.get("val/score"), "cae/training_last": last.get("val/training_score")}
    found["cae/validation_best"] = None if best.best_model_score is None else float(best.best_model_score)
    return {name: value for name, value in found.items() if value is not None}


def take_over_cae(
    config: Config, data: CAEDataModule, classifier: TargetClassifier, folder: str | Path
) -> PublishedCAE:
    """Write a checkpoint of the released code, ``cae.weights``, as the run's CAE, and the codes of its training images.

    Raises:
        UserError: if it cannot be read or does not fit the images.
    """
    device = device_for(config.trainer.accelerator, config.trainer.devices)
    cae = load_released(config.cae.weights or "", data.image_shape).to(device)
    export_cae(cae, config, data, classifier.to(device), Path(folder))
    return cae


def export_cae(
    cae: CAE | PublishedCAE,
    config: Config,
    data: CAEDataModule,
    classifier: TargetClassifier,
    folder: Path,
    oracle: TargetClassifier | None = None,
    surrogate: TargetClassifier | None = None,
) -> None:
    """Write manifold and weights; the weights come last, since they mark the stage as finished.

    The header of the weights names what they were trained with: options, data, classifier, and, if there were any, the
    oracle by which the best of the checkpoints was chosen and the surrogate.
    """
    loader = data.loader(data.train, batch_size=64)
    manifold = ClassManifold.build(cae, classifier, loader, config=config.manifold, seed=config.seed)
    manifold.save(folder / "manifold.safetensors")
    facts = {
        "classifier": classifier.fingerprint(),
        "data": data.fingerprint,
        "classes": list(classifier.classes),
        "config": asdict(config.cae),
        **({} if oracle is None else {"oracle": oracle.fingerprint()}),
        **({} if surrogate is None else {"surrogate": surrogate.fingerprint()}),
    }
    cae.save(folder / "cae.safetensors", facts)
