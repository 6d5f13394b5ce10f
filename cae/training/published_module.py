"""Training of the preset `published`: the published alternation of discriminator and generator."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from cae.data import Batch
from cae.models.published import PublishedCAE
from cae.models.published_networks import PublishedDiscriminator
from cae.training.base_module import CAETrainingModule
from cae.training.published_losses import (
    published_directions,
    published_discriminator_loss,
    published_generator_loss,
    published_learning_rate,
    published_optimiser,
    published_pairs,
    published_scores,
)


class PublishedModule(CAETrainingModule):
    """Trains a ``PublishedCAE``: one step of the discriminator, then one of encoders and decoder, as published.

    Images of the first class are paired with images of all others; with ``target=classifier`` the classifier's
    predictions stand in for the labels. Loss weights, betas and weight decay are fixed;
    of the options, sizes (``width``, ``class_dim``, ``residual_blocks``), learning rates and ``target`` apply. There is
    no averaging of weights: ``average`` is the model in training.
    """

    def build_networks(self, image_shape: tuple[int, int, int]) -> None:
        """The published encoders and decoder, and the discriminator."""
        self.automatic_optimization = False
        model, classes = self.config.model, len(self.classifiers.target.classes)
        self.cae = PublishedCAE(image_shape, model.class_dim, model.width, model.residual_blocks)
        self.discriminator = PublishedDiscriminator(classes, image_shape[0], model.width)

    @property
    def average(self) -> PublishedCAE:  # type: ignore[override]
        """The model in training."""
        return self.cae

    def training_step(self, batch: Batch, batch_idx: int) -> None:
        """One step of both networks; Lightning counts it as one."""
        batch = self.augmented(batch)
        labels = batch.labels if self.config.target == "labels" else self.classifiers.read(batch)[0].argmax(1)
        pairs = published_pairs(labels)
        images = batch.images[pairs[0]], batch.images[pairs[1]]
        partners = labels[pairs[0]], labels[pairs[1]]
        self._set_learning_rates()
        discriminator = self._discriminator_step(images, partners)
        generator = self._generator_step(images, partners)
        terms = {**generator, **{f"discriminator_{name}": term for name, term in discriminator.items()}}
        self.log_dict({f"train/{name}": term.detach() for name, term in terms.items()})
        self.log("rec", generator["reconstruction"].detach(), prog_bar=True, logger=False)

    def _discriminator_step(self, images: tuple[Tensor, Tensor], labels: tuple[Tensor, Tensor]) -> dict[str, Tensor]:
        optimiser = self._optimisers()[1]
        terms = published_discriminator_loss(published_scores(self.cae, self.discriminator, images, labels))
        optimiser.zero_grad()
        self.manual_backward(torch.stack(list(terms.values())).sum())
        # the plain optimiser, since Lightning counts every step of one of its own as a training step
        optimiser.optimizer.step()
        return terms

    def _generator_step(self, images: tuple[Tensor, Tensor], labels: tuple[Tensor, Tensor]) -> dict[str, Tensor]:
        optimiser = self._optimisers()[0]
        self.discriminator.requires_grad_(False)
        terms = published_generator_loss(published_directions(self.cae, self.discriminator, images, labels))
        optimiser.zero_grad()
        self.manual_backward(torch.stack(list(terms.values())).sum())
        optimiser.step()
        self.discriminator.requires_grad_(True)
        return terms

    def configure_optimizers(self) -> Any:
        """The published Adam for encoders and decoder, and another for the discriminator."""
        return [published_optimiser(self.cae.parameters()), published_optimiser(self.discriminator.parameters())]

    def _optimisers(self) -> list[Any]:
        return list(self.optimizers())

    def _set_learning_rates(self) -> None:
        """The published schedule: halved ten times over the training."""
        bases = self.config.learning_rate, self.config.discriminator_learning_rate
        for optimiser, base in zip(self._optimisers(), bases, strict=True):
            for group in optimiser.param_groups:
                group["lr"] = published_learning_rate(self.global_step, self.config.max_steps, base)
