"""Training of the neural causation coefficient on synthetic cause-effect pairs: ``train.py ncc``."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from pytorch_lightning.callbacks import ModelCheckpoint
from torch import Tensor, nn
from torch.utils.data import DataLoader

from cae.config import Config, NCCConfig
from cae.files import update_json
from cae.metrics.statistics import binomial_interval
from cae.runs.run_folder import RunFolder
from cae.training.trainer import build_trainer, checkpoint_to_continue, close_loggers
from explainers.caes.cause_effect_pairs import PairRecipe, draw_pairs, labelled_clouds
from explainers.caes.ncc import CausationNetwork, NeuralCausation, symmetrised_score

DrawPairs = Callable[[int, torch.Generator], tuple[Tensor, Tensor]]
VALIDATION_SEED = 2**40  # far from every seed of the training


class NCCModule(pl.LightningModule):
    """Several networks trained beside each other, each from a seed and on pairs of its own.

    What a step sees follows from seed and step alone, so that a resumed training is the same one.

    Args:
        seeds: one for each network.
        width: units of a hidden layer.
        dropout: share of units left out.
        learning_rate: of RMSProp.
        batch_pairs: pairs in a step, each shown in both directions and once permuted.
        pairs: pairs that each network learns from; None draws new ones at every step.
        validation_pairs: pairs on which the accuracy is measured.
        draw: ``(count, generator) -> (cause, effect)``, each ``(count, P)`` standardised; by default the published
            recipe (``cause_effect_pairs``).
    """

    def __init__(
        self,
        seeds: Sequence[int],
        width: int = 100,
        dropout: float = 0.25,
        learning_rate: float = 1e-2,
        batch_pairs: int = 16,
        pairs: int | None = 10_000,
        validation_pairs: int = 500,
        draw: DrawPairs | None = None,
    ):
        super().__init__()
        self.save_hyperparameters(ignore=["draw"])
        self.seeds, self.draw = list(seeds), draw or draw_published
        with torch.random.fork_rng(devices=[]):
            networks = [_seeded(seed, width, dropout) for seed in seeds]
        self.networks = nn.ModuleList(networks)
        self.accuracies: list[float] = []
        self._fixed: dict[int, tuple[Tensor, Tensor]] = {}

    def on_train_epoch_start(self) -> None:
        """Seed dropout by the epoch."""
        torch.manual_seed(self.seeds[0] * 1_000_003 + self.current_epoch)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        """Binary cross-entropy with labels 0, 1/2 and 1, summed over the networks, which share no weights."""
        losses = []
        for seed, network in zip(self.seeds, self.networks, strict=True):
            clouds, labels = self.examples(seed, self.global_step)
            losses.append(F.binary_cross_entropy_with_logits(network(clouds), labels))
        total = torch.stack(losses).sum()
        self.log("train/loss", total / len(losses), prog_bar=True, batch_size=1)
        return total

    def examples(self, seed: int, step: int) -> tuple[Tensor, Tensor]:
        """Labelled clouds ``(3 N, P, 2)`` and ``(3 N,)`` that the network of a seed sees in a step.

        Of several processes, each gets its part of as many times the pairs.
        """
        rank, world = self.global_rank, self.trainer.world_size if self._trainer is not None else 1
        generator = torch.Generator().manual_seed(seed * 2**31 + step + 1)
        count, pairs = self.hparams["batch_pairs"] * world, self.hparams["pairs"]
        if pairs is None:
            cause, effect = self.draw(count, generator)
        else:
            if seed not in self._fixed:
                self._fixed[seed] = self.draw(pairs, torch.Generator().manual_seed(seed * 2**31))
            chosen = torch.randint(pairs, (count,), generator=generator)
            cause, effect = (values[chosen] for values in self._fixed[seed])
        clouds, labels = labelled_clouds(cause, effect, generator)
        return clouds[rank::world].to(self.device), labels[rank::world].to(self.device)

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        """Symmetrised accuracy of each network on pairs that no training sees."""
        generator = torch.Generator().manual_seed(VALIDATION_SEED)
        cause, effect = (part.to(self.device) for part in self.draw(self.hparams["validation_pairs"], generator))
        self.accuracies = [direction_accuracy(network, cause, effect) for network in self.networks]
        self.log("val/accuracy", sum(self.accuracies) / len(self.accuracies), prog_bar=True, batch_size=1)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """RMSProp, whose steps are per weight: the networks do not influence each other."""
        return torch.optim.RMSprop(self.parameters(), lr=self.hparams["learning_rate"])


def _seeded(seed: int, width: int, dropout: float) -> CausationNetwork:
    torch.manual_seed(seed)
    return CausationNetwork(width, dropout)


def draw_published(count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Causes and effects ``(count, 100)`` of the published recipe."""
    drawn = draw_pairs(count, generator, PairRecipe())
    return drawn.cause, drawn.effect


def direction_accuracy(network: nn.Module, cause: Tensor, effect: Tensor) -> float:
    """Share of pairs ``(N, P)`` whose direction the symmetrised score tells; a tie counts one half."""
    scores = symmetrised_score(network, cause, effect)  # type: ignore[arg-type]
    return float(((scores < 0.5).float() + (scores == 0.5).float() / 2).mean())


def train_ncc(options: NCCConfig, module: NCCModule, trainer: pl.Trainer, checkpoint: Path | None) -> NeuralCausation:
    """Train ``module`` for ``options.steps`` and return its networks, with the validation accuracy of each."""
    per_epoch = min(options.validate_every, options.steps)
    loader: DataLoader = DataLoader(range(per_epoch), batch_size=None)  # type: ignore[arg-type]
    once: DataLoader = DataLoader([0], batch_size=None)  # type: ignore[arg-type]
    trainer.fit(module, loader, once, ckpt_path=checkpoint, weights_only=True)
    trainer.validate(module, once, verbose=False)
    networks = [network.cpu().eval().requires_grad_(False) for network in module.networks]
    return NeuralCausation(networks, {"accuracy": module.accuracies})  # type: ignore[arg-type]


def ncc_command(config: Config) -> None:
    """Train the networks of the neural causation coefficient."""
    run, options = RunFolder(config), config.ncc
    if run.prepare("ncc").finished:
        return
    started = time.perf_counter()
    seeds = [config.seed + number for number in range(options.networks)]
    module = NCCModule(
        seeds, options.width, options.dropout, options.learning_rate, pairs=options.pairs,
        validation_pairs=options.validation_pairs,
    )  # fmt: skip
    last = checkpoint_to_continue(config, run.path, "ncc")
    keep = ModelCheckpoint(
        run.path / "ncc_checkpoints", "last", enable_version_counter=False, save_on_train_epoch_end=True
    )
    trainer = build_trainer(
        config, run.path, "ncc", max_steps=options.steps, callbacks=[keep], resume=last is not None,
        use_distributed_sampler=False,
    )  # fmt: skip
    causation = train_ncc(options, module, trainer, last)
    close_loggers(trainer)
    if not trainer.is_global_zero:
        return
    path = run.path / "ncc.safetensors"
    header = {**causation.header, "command": command(config), "seeds": seeds, "options": vars(options).copy()}
    NeuralCausation(causation.networks, header).save(path)
    right = sum(causation.header["accuracy"]) / len(seeds)
    low, high = binomial_interval(round(right * options.validation_pairs), options.validation_pairs)
    update_json(run.path / "metrics.json", {
        "ncc/validation_accuracy": right, "ncc/validation_accuracy_low": low, "ncc/validation_accuracy_high": high,
        "seconds/ncc_training": time.perf_counter() - started,
    })  # fmt: skip
    print(
        f"ncc: {len(seeds)} networks tell the direction of {right:.1%} [{low:.1%}, {high:.1%}] of "
        f"{options.validation_pairs} synthetic pairs they have not seen; written to '{path}'"
    )


def command(config: Config) -> str:
    """The command line that trains the same networks: every option of the section that is not at its default."""
    changed = [f"ncc.{name}={value}" for name, value in vars(config.ncc).items() if value != vars(NCCConfig())[name]]
    return " ".join(["python train.py ncc name=ncc", f"seed={config.seed}", *changed])
