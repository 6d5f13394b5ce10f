"""Training the learned in-fill from the command line, and measuring it beside simpler ones."""

from __future__ import annotations

from pathlib import Path

import pytorch_lightning as pl
import torch

from cae.config import Config
from cae.data import CAEDataModule
from cae.data.selection import evenly_spread
from cae.data.stream import BalancedStream, stream_loader
from cae.errors import UserError
from cae.files import read_checkpoint, update_json
from cae.runs.training_data import begin_stage, open_training_data
from cae.training.cae import checkpoints
from cae.training.callbacks import TrainingClock
from cae.training.trainer import build_trainer, close_loggers
from explainers.infills.learned import LearnedSampler
from explainers.infills.likelihood import level_counts
from explainers.infills.patch_distribution import PatchDistribution
from explainers.infills.training_module import PatchTrainingModule
from explainers.infills.window_bits import bits_of, window_bits
from explainers.infills.windows import at_border, default_window, fixed_windows

BASELINE_IMAGES = 2000  # training images that the simple in-fills are fitted to, at most
GRADIENT_CLIP = 1.0  # largest norm
SMALL = 64  # pixels a side up to which a short training is enough


def sampler_command(config: Config) -> None:
    """Train the learned in-fill of the information maps."""
    data, run = open_training_data(config, "sampler")
    start = begin_stage(run, "sampler", data)
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
    best, last = checkpoints(folder / "sampler_checkpoints", "val/bpd", "min")
    trainer = build_trainer(
        config, folder, "sampler", max_steps=steps, callbacks=[clock, best, last], resume=checkpoint is not None,
        gradient_clip_val=GRADIENT_CLIP, use_distributed_sampler=False,
        reload_dataloaders_every_n_epochs=1, exact_steps=True,
    )  # fmt: skip
    # one class for all: every image is as likely as any other, in an order that follows from seed and step
    stream = BalancedStream(
        torch.zeros(len(data.train), dtype=torch.int64), data.config.batch_size, every, steps, config.seed, trainer
    )
    loader = stream_loader(data.train, stream, data.config.workers)
    trainer.fit(module, loader, data.val_dataloader(), ckpt_path=checkpoint, weights_only=True)
    module.load_state_dict(read_checkpoint(best.best_model_path)["state_dict"])
    metrics: dict[str, float] = {}
    if trainer.is_global_zero:
        metrics = {**measure(module.average.eval(), config, data), "seconds/sampler_training": clock.seconds}
        report(metrics, folder)
        facts = {"bits": metrics["sampler/bits"], "data": data.fingerprint}
        update_json(folder / "metrics.json", metrics)
        LearnedSampler(module.average, facts).save(folder)
    trainer.strategy.barrier("sampler saved")
    close_loggers(trainer)
    return metrics


def build_module(config: Config, data: CAEDataModule) -> PatchTrainingModule:
    """The Lightning module of the options, with defaults that depend on the images filled in."""
    options, shape = config.sampler, data.image_shape
    window = options.window or default_window(shape[1:])
    problems = [f"the {split} split is empty" for split in ("train", "val") if len(data.dataset(split)) == 0]
    if window > min(shape[1:]):
        problems.append(f"`sampler.window` must be at most {min(shape[1:])}, the side of the images, but is {window}.")
    if problems:
        raise UserError(problems)
    pl.seed_everything(config.seed, workers=True, verbose=False)
    return PatchTrainingModule(
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
        seed=config.seed,
        mirror=data.config.flip,
        validation_images=len(data.val),
        level_counts=level_counts(evenly_spread(data.train, BASELINE_IMAGES)),
    )


def measure(distribution: PatchDistribution, config: Config, data: CAEDataModule) -> dict[str, float]:
    """Bits per dimension of the learned in-fill and of simpler ones, on the same windows of validation images."""
    seen, count = evenly_spread(data.train, BASELINE_IMAGES), config.sampler.validation_crops
    found = window_bits(distribution, seen, evenly_spread(data.val, BASELINE_IMAGES), count)
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
