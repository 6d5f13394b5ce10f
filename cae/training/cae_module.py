"""Lightning wiring of the CAE training: which parameters, which step, what is logged. Mathematics is elsewhere.

Generator, discriminator and leakage adversary are trained in one automatic step by the sum of their losses. Each loss
reaches its own network only: the generator sees the others through detached parameters, they see detached images. So
one optimiser step is one training step, and clipping, accumulation, mixed precision, DDP and resuming are Lightning's.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor

from cae.data import Batch
from cae.models.cae import CAE
from cae.models.feature_encoder import FeatureEncoder
from cae.training.base_module import CAETrainingModule
from cae.training.objective import Objective
from cae.training.step import average_weights

R1_EVERY = 16  # steps between two gradient penalties of the discriminator
PATCHES_EVERY = 2  # steps after the warm-up between two that lay patches into images
# these pull on swaps and would keep the autoencoder from learning first
RAMPED = {"coherency", "adversarial", "minimal", "mask_area"}
# until class codes tell the classes: at once where they are read in the classifier, else they have to be learnt
WARMUP_STEPS, WARMUP_STEPS_LEARNT = 100, 300


class CAEModule(CAETrainingModule):
    """Trains a ``CAE`` against a frozen classifier; ``average`` holds the averaged weights."""

    average: CAE

    def build_networks(self, image_shape: tuple[int, int, int]) -> None:
        """The CAE, a copy of it for the averaged weights, and the networks beside it."""
        reader = self.classifiers.reader
        self.cae = CAE(image_shape, self.config.model, reader)
        if isinstance(self.cae.class_encoder, FeatureEncoder):
            self.cae.class_encoder.calibrate(self.classifiers.samples)
        self.average = copy.deepcopy(self.cae).requires_grad_(False)
        target, mean_probabilities = self.classifiers.target, self.classifiers.training_logits.softmax(1).mean(0)
        self.objective = Objective(
            self.cae, len(target.classes), self.config, target, mean_probabilities, reader, self.classifiers.surrogate
        )

    @property
    def warmup_steps(self) -> int:
        """As the options say; else until class codes tell the classes, or half of what a short training has."""
        config = self.config
        if config.warmup_steps is not None:
            return config.warmup_steps
        usual = WARMUP_STEPS if isinstance(self.cae.class_encoder, FeatureEncoder) else WARMUP_STEPS_LEARNT
        return min(usual, (config.max_steps - config.ramp_steps) // 2)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """The summed loss of all networks for one batch."""
        step, objective = self.global_step, self.objective
        batch = self.augmented(batch)
        of_labels = self.config.target == "labels"
        logits, features = (objective.logits(batch), None) if of_labels else self.classifiers.read(batch)
        if step < self.warmup_steps:
            terms = objective.warmup_terms(batch.images, logits, features)
            others = objective.warmup_other_terms(batch.images, logits)
        else:
            swaps = objective.swaps(batch.images, logits, features)
            query = step % self.config.query_every == 0
            others = objective.other_terms(swaps, penalise=step % R1_EVERY == 0, query=query)
            terms = objective.generator_terms(swaps)
            if step % PATCHES_EVERY == 0:
                terms |= objective.patch_terms(swaps)
            objective.code_terms.remember(swaps.codes)
        loss = self._weighted(terms, step) + objective.weighted_others(others, R1_EVERY)
        logged = {name: term.detach() for name, term in (terms | others).items()}
        self.log_dict({f"train/{name}": term for name, term in logged.items()} | {"train/loss": loss.detach()})
        self.log("loss", loss.detach(), prog_bar=True, logger=False)
        return loss

    def _weighted(self, terms: dict[str, Tensor], step: int) -> Tensor:
        ramp = min(1.0, (step - self.warmup_steps + 1) / max(1, self.config.ramp_steps))
        factors = {name: getattr(self.config.loss, name) * (ramp if name in RAMPED else 1.0) for name in terms}
        return torch.stack([factors[name] * term for name, term in terms.items()]).sum()

    def optimizer_step(self, *arguments: Any, **named: Any) -> None:
        """Step and average the weights: one act, so that no checkpoint falls between the two."""
        super().optimizer_step(*arguments, **named)
        average_weights(self.average, self.cae, self.global_step + 1, self.config.ema)

    def configure_optimizers(self) -> Any:
        """One Adam with a group for the generator and one for the networks beside it; constant, then linear to 0."""
        objective, config = self.objective, self.config
        generator = [*self.cae.parameters(), *objective.code_terms.logit_head.parameters()]
        others = [*objective.discriminator_terms.parameters(), *objective.leakage_terms.parameters()]
        groups = [
            {"params": generator, "lr": config.learning_rate},
            {"params": others, "lr": config.discriminator_learning_rate},
        ]
        # one pass over all weights; with mixed precision Lightning cannot clip the gradients of such an optimiser
        fused = self.device.type == "cpu" and self.trainer.precision == "32-true"
        optimiser = torch.optim.Adam(groups, betas=(0.5, 0.99), fused=fused or None)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, self._learning_rate_factor)
        return {"optimizer": optimiser, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def _learning_rate_factor(self, step: int) -> float:
        return min(1.0, 2 * (1 - step / self.config.max_steps) + 0.02)

    def configure_gradient_clipping(
        self, optimizer: torch.optim.Optimizer, gradient_clip_val: Any = None, gradient_clip_algorithm: Any = None
    ) -> None:
        """Clip each network's gradient norm apart: a burst in the discriminator must not slow the generator."""
        if self.config.gradient_clip == 0:
            return
        for group in optimizer.param_groups:
            norm = torch.nn.utils.clip_grad_norm_(group["params"], self.config.gradient_clip)
            self.log(f"train/gradient_norm_{'generator' if group is optimizer.param_groups[0] else 'others'}", norm)
