"""Lightning wiring of the residual generator's training: it follows at every fifth step of its discriminator."""

from __future__ import annotations

from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor

from cae.classifiers import TargetClassifier
from cae.data import Batch
from cae.generators.residual_losses import discriminator_loss, drawn_classes, generator_terms
from cae.generators.residual_networks import ProjectionDiscriminator, ResidualGenerator, blended, halvings_for
from cae.metrics.agreement import accuracy
from cae.training.step import step_seed

EVERY = 5  # steps of the discriminator for one of the generator
RATE, BETAS = 2e-4, (0.0, 0.999)


class ResidualModule(pl.LightningModule):
    """Trains a ``ResidualGenerator`` with the frozen classifier in the loop.

    Args:
        classifier: to be convinced.
        image_shape: ``(C, H, W)``.
        width: channels after the first halving of the generator.
        seed: with the step, it determines all randomness of a training step.
    """

    def __init__(self, classifier: TargetClassifier, image_shape: tuple[int, int, int], width: int, seed: int):
        super().__init__()
        self.automatic_optimization = False
        self.seed = seed
        # in a plain object, the frozen classifier stays out of parameters, checkpoints and train()
        self.frozen = [classifier]
        channels, halvings, classes = image_shape[0], halvings_for(min(image_shape[1:])), len(classifier.classes)
        self.generator = ResidualGenerator(channels, classes, width, halvings)
        self.discriminator = ProjectionDiscriminator(channels, classes, width, halvings)
        self.confusion = torch.zeros(classes, classes)

    @property
    def classifier(self) -> TargetClassifier:
        """The frozen classifier."""
        return self.frozen[0]

    def forward(self, images: Tensor, wanted: Tensor) -> Tensor:
        """Edits ``(B, C, H, W)`` in [-1, 1] of images in [-1, 1] towards classes ``(B,)``."""
        return blended(images, self.generator(images, wanted))

    def on_fit_start(self) -> None:
        """Bring the frozen classifier to the device of the training."""
        self.classifier.to(self.device)

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Randomness is a function of seed, step and process, so that a resumed run draws what it would have drawn."""
        torch.manual_seed(step_seed(self.seed, self.global_step, self.global_rank))

    def training_step(self, batch: Batch, batch_idx: int) -> None:
        """One step of the discriminator; Lightning counts it. At every fifth, one of the generator follows."""
        with torch.no_grad():
            own = self.classifier.logits(batch.images).argmax(1)
        images, wanted = 2 * batch.images - 1, drawn_classes(len(own), len(self.classifier.classes), self.device)
        due = self.global_step % EVERY == EVERY - 1
        self._discriminator_step(images, own, wanted)
        if due:
            self._generator_step(images, own, wanted)

    def _discriminator_step(self, images: Tensor, own: Tensor, wanted: Tensor) -> None:
        with torch.no_grad():
            made = self(images, wanted)
        loss = discriminator_loss(self.discriminator(images, own), self.discriminator(made, wanted))
        optimiser = self._optimisers()[1]
        optimiser.zero_grad()
        self.manual_backward(loss)
        optimiser.step()
        self.log("train/discriminator", loss.detach())

    def _generator_step(self, images: Tensor, own: Tensor, wanted: Tensor) -> None:
        optimiser = self._optimisers()[0]
        self.discriminator.requires_grad_(False)
        made = self(images, wanted)
        logits = self.classifier.logits((made + 1) / 2)
        terms = generator_terms(images, made, self(made, own), self.discriminator(made, wanted), logits.float(), wanted)
        optimiser.zero_grad()
        self.manual_backward(torch.stack(list(terms.values())).sum())
        # the plain optimiser, since Lightning counts every step of one of its own as a training step
        optimiser.optimizer.step()
        self.discriminator.requires_grad_(True)
        self.log_dict({f"train/{name}": term.detach() for name, term in terms.items()})

    def on_validation_epoch_start(self) -> None:
        """Forget the answers of the last validation."""
        self.confusion.zero_()

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Count what the classifier says of edits towards every class."""
        images = 2 * batch.images - 1
        for number in range(len(self.classifier.classes)):
            wanted = torch.full((len(images),), number, device=self.device)
            seen = self.classifier.logits((self(images, wanted) + 1) / 2).argmax(1)
            self.confusion[number] += torch.bincount(seen.cpu(), minlength=len(self.confusion))

    def on_validation_epoch_end(self) -> None:
        """Log the share of edits that the classifier gives to the class wanted."""
        self.log("val/validity", accuracy(self.confusion), prog_bar=True)

    def configure_optimizers(self) -> Any:
        """Adam for the generator, and another for the discriminator."""
        return [torch.optim.Adam(net.parameters(), RATE, BETAS) for net in (self.generator, self.discriminator)]

    def _optimisers(self) -> list[Any]:
        return list(self.optimizers())
