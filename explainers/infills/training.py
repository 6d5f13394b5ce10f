"""The sampler: training the learned in-fill, and measuring it in bits per dimension beside simpler ones."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import ModelCheckpoint
from torch import Tensor
from torch.utils.data import DataLoader

from cae.config import Config
from cae.data import CAEDataModule, ImageSet, collate
from cae.data.stream import BalancedStream
from cae.errors import UserError
from cae.files import update_json
from cae.runs.run_folder import RunFolder
from cae.training.callbacks import TrainingClock
from cae.training.trainer import build_trainer, close_loggers, say
from explainers.infills.base import digest, place_crops
from explainers.infills.gaussian import LARGEST_SIDE, Gaussian
from explainers.infills.learned import LearnedSampler, PatchDistribution, PatchSampler, at_border, fixed_windows
from explainers.infills.likelihood import dequantised, histogram_bits, level_counts
from explainers.infills.windows import default_window

BASELINE_IMAGES = 2000  # training images that the simple in-fills are fitted to, at most
SMALL = 64  # pixels a side up to which a short training is enough


def sampler_stage(config: Config) -> None:
    """Train the learned in-fill of the information maps."""
    data = CAEDataModule(config.data)
    data.setup()
    say(data.describe())
    run = RunFolder(config)
    start = run.prepare("sampler")
    if not start.finished:
        train_sampler(config, data, run.path, start.checkpoint)


def train_sampler(
    config: Config, data: CAEDataModule, folder: str | Path, checkpoint: Path | None = None
) -> dict[str, float]:
    """Train the learned in-fill, measure it on the validation split and write it into the run folder.

    Writes ``sampler_checkpoints/``, ``sampler_logs/``, ``sampler.json``, ``sampler.safetensors`` and into
    ``metrics.json`` the bits per dimension ``sampler/bits``, ``sampler/bits_border``, ``sampler/bits_interior``,
    ``sampler/bits_train`` (training windows), and those of simpler models of the same validation windows:
    ``sampler/bits_uniform``, ``_histogram``, ``_diagonal_gaussian``, ``_gaussian``.

    Args:
        config: the program's options; those of the section ``sampler`` are used.
        data: the images; the classifier and the labels play no part.
        folder: the run folder.
        checkpoint: continue from it.

    Raises:
        UserError: if a split is empty, or the window does not fit into the images.
    """
    folder = Path(folder)
    module = build_module(config, data)
    steps = module.hparams["max_steps"]
    clock, every = TrainingClock(), min(config.sampler.validate_every, steps)
    # not at the end of the epoch, from where Lightning (2.6) continues with all steps in the log one too high
    when: dict[str, Any] = {"save_on_train_epoch_end": False, "enable_version_counter": False}
    best = ModelCheckpoint(folder / "sampler_checkpoints", "best", monitor="val/bpd", mode="min", **when)
    last = ModelCheckpoint(folder / "sampler_checkpoints", "last", **when)
    trainer = build_trainer(
        config, folder, "sampler", max_steps=steps, callbacks=[clock, best, last], resume=checkpoint is not None,
        gradient_clip_val=config.sampler.gradient_clip or None, use_distributed_sampler=False,
        reload_dataloaders_every_n_epochs=1, default_root_dir=folder / "sampler_checkpoints",
    )  # fmt: skip
    # one class for all: every image is as likely as any other, in an order that follows from seed and step
    stream = BalancedStream(
        torch.zeros(len(data.train), dtype=torch.int64), data.config.batch_size, every, steps, config.seed, trainer
    )
    workers = data.config.workers
    loader: DataLoader = DataLoader(
        data.train,  # type: ignore[arg-type]
        batch_sampler=stream,
        collate_fn=collate,
        num_workers=workers,
        persistent_workers=workers > 0,
    )
    trainer.fit(module, loader, data.val_dataloader(), ckpt_path=checkpoint, weights_only=True)
    module.load_state_dict(torch.load(best.best_model_path, map_location="cpu", weights_only=True)["state_dict"])
    metrics: dict[str, float] = {}
    if trainer.is_global_zero:
        metrics = {**measure(module.average.eval(), config, data), "seconds/sampler_training": clock.seconds}
        report(metrics, folder)
        facts = {"bits": metrics["sampler/bits"], "fingerprint": data_fingerprint(data.train)}
        update_json(folder / "metrics.json", metrics)
        LearnedSampler(module.average, facts).save(folder)
    trainer.strategy.barrier("sampler saved")
    close_loggers(trainer)
    return metrics


def build_module(config: Config, data: CAEDataModule) -> PatchSampler:
    """The Lightning module of the options, with defaults that depend on the images filled in."""
    options, shape = config.sampler, data.image_shape
    window = options.window or default_window(shape[1:])
    problems = [f"the {split} split is empty" for split in ("train", "val") if len(data.dataset(split)) == 0]
    if window > min(shape[1:]):
        problems.append(f"`sampler.window` must be at most {min(shape[1:])}, the side of the images, but is {window}.")
    if problems:
        raise UserError(problems)
    pl.seed_everything(config.seed, workers=True, verbose=False)
    return PatchSampler(
        {
            "channels": shape[0],
            "window": window,
            "architecture": options.architecture,
            "head": options.head,
            "width": options.width,
            "factors": options.factors,
        },
        crops=options.crops,
        validation_crops=options.validation_crops,
        max_steps=options.max_steps or (5000 if max(shape[1:]) <= SMALL else 30_000),
        warmup_steps=options.warmup_steps,
        learning_rate=options.learning_rate,
        weight_decay=options.weight_decay,
        ema=options.ema,
        seed=config.seed,
        mirror=data.config.flip,
        validation_images=len(data.val),
        level_counts=level_counts(spread(data.train, BASELINE_IMAGES)),
    )


@dataclass(frozen=True, eq=False)
class WindowBits:
    """Bits per dimension of windows of some images under several models.

    Attributes:
        rows: ``(M,)`` image of each window.
        tops: ``(M, 2)`` upper left pixels.
        bits: ``(M,)`` by model: ``learned``, ``histogram``, and, for windows of 16 pixels at most,
            ``diagonal_gaussian`` and ``gaussian``.
    """

    rows: Tensor
    tops: Tensor
    bits: dict[str, Tensor]


@torch.inference_mode()
def window_bits(distribution: PatchDistribution, seen: Tensor, images: Tensor, count: int) -> WindowBits:
    """Bits per dimension of the learned in-fill and of simpler ones, on the same windows.

    Args:
        distribution: the learned one.
        seen: ``(N, C, H, W)`` training images, which the simpler ones are fitted to.
        images: ``(B, C, H, W)`` whose windows are measured.
        count: windows at least, as many of every image.
    """
    window = distribution.window
    rows, tops = fixed_windows(len(images), -(-count // len(images)), images.shape, window, seed=1)
    found = {
        "learned": bits_of(distribution, images, rows, tops),
        "histogram": histogram_bits(level_counts(seen), place_crops(images, rows, tops, window)),
    }
    if window <= LARGEST_SIDE:
        generator = torch.Generator().manual_seed(3)
        known = dequantised(seen, torch.rand(seen.shape, generator=generator))
        asked = dequantised(images, torch.rand(images.shape, generator=generator))
        for name, diagonal in (("diagonal_gaussian", True), ("gaussian", False)):
            found[name] = Gaussian(known, diagonal).bits(asked, rows, tops, window)
    return WindowBits(rows, tops, found)


def measure(distribution: PatchDistribution, config: Config, data: CAEDataModule) -> dict[str, float]:
    """Bits per dimension of the learned in-fill and of simpler ones, on the same windows of validation images."""
    seen, count = spread(data.train, BASELINE_IMAGES), config.sampler.validation_crops
    found = window_bits(distribution, seen, spread(data.val, BASELINE_IMAGES), count)
    again = fixed_windows(len(seen), -(-count // len(seen)), seen.shape, distribution.window, seed=2)
    bits, names = found.bits["learned"], {"learned": "sampler/bits"}
    metrics = {names.get(name, f"sampler/bits_{name}"): float(values.mean()) for name, values in found.bits.items()}
    metrics["sampler/bits_uniform"] = 8.0
    metrics["sampler/bits_train"] = float(bits_of(distribution, seen, *again).mean())
    border = at_border(found.tops, (data.image_shape[1], data.image_shape[2]), distribution.window)
    for name, chosen in (("border", border), ("interior", ~border)):
        if chosen.any():
            metrics[f"sampler/bits_{name}"] = float(bits[chosen].mean())
    return metrics


@torch.inference_mode()
def bits_of(distribution: PatchDistribution, images: Tensor, rows: Tensor, tops: Tensor) -> Tensor:
    """Bits per dimension ``(M,)`` of windows, on the CPU."""
    device = next(distribution.parameters()).device
    generator = torch.Generator().manual_seed(4)
    parts = []
    for part in torch.arange(len(rows)).split(256):
        some, place = images[rows[part]].to(device), tops[part].to(device)
        parts.append(distribution.bits(some, torch.arange(len(part), device=device), place, generator).float().cpu())
    return torch.cat(parts)


def spread(images: ImageSet, most: int) -> Tensor:
    """At most so many images of a set, evenly spread over it, ``(N, C, H, W)``."""
    chosen = torch.linspace(0, len(images) - 1, min(most, len(images))).round().long()
    return torch.stack([images[int(index)].image for index in chosen])


def data_fingerprint(images: ImageSet) -> str:
    """12 hexadecimal digits that change with the number of images and the pixels of some of them."""
    return digest(torch.tensor([len(images)]), spread(images, 64))


def report(metrics: dict[str, float], folder: Path) -> None:
    """Print what the training reached."""
    for name, words in (
        ("sampler/bits", "bits per dimension of the learned in-fill, validation images"),
        ("sampler/bits_train", "the same on training images"),
        ("sampler/bits_gaussian", "conditional Gaussian"),
        ("sampler/bits_diagonal_gaussian", "conditional Gaussian with independent pixels"),
        ("sampler/bits_histogram", "histogram of each channel"),
        ("sampler/bits_uniform", "all levels equally likely"),
    ):
        if name in metrics:
            print(f"  {metrics[name]:8.3f}  {words}")
    simpler = [metrics[name] for name in ("sampler/bits_gaussian", "sampler/bits_histogram") if name in metrics]
    if metrics["sampler/bits"] >= min(simpler):
        print("warning: a simpler in-fill describes these images better; train longer, or use sampler=gaussian")
    if metrics["sampler/bits"] - metrics["sampler/bits_train"] > 0.1:
        print("warning: the in-fill knows its training images better than others by more than 0.1 bits: it overfits")
    print(f"sampler: written to '{folder}'")
