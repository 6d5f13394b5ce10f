"""The networks that learn beside the generator, discriminator D and leakage adversary A, with the terms on either side.

The generator sees them through detached parameters, they see detached images and codes: each network follows its own
loss alone, although all losses are summed.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cae.config import CAEConfig, ModelConfig
from cae.models.networks import Discriminator, LeakageAdversary, fixed_statistics
from cae.models.sizes import network_sizes
from cae.training import losses
from cae.training.augmentation import clamp_straight_through
from cae.training.swaps import Swaps


class DiscriminatorTerms(nn.Module):
    """D with what it learns and what it teaches: classes of real images, and that swaps are generated.

    With ``cae.black_box`` its class logits also learn the probabilities of the classifier, which it then stands in for.

    Args:
        image_shape: ``(C, H, W)``.
        classes: K.
        config: weights and switches.
    """

    def __init__(self, image_shape: tuple[int, int, int], classes: int, config: CAEConfig):
        super().__init__()
        self.classes, self.config = classes, config
        model, halvings = config.model, network_sizes(config.model, image_shape).class_downsampling
        self.discriminator = Discriminator(image_shape[0], classes, model.discriminator_width, halvings)

    @property
    def is_needed(self) -> bool:
        """Whether any term of the generator looks at D."""
        return self.config.loss.adversarial > 0 or self.config.black_box

    def frozen_logits(self, images: Tensor) -> Tensor:
        """D's logits ``(N, K + 1)`` with a gradient to the images alone."""
        with fixed_statistics(self.discriminator):  # those of its own training
            return frozen(self.discriminator, images)

    def class_logits(self, images: Tensor) -> Tensor:
        """Those of the classes, ``(N, K)``, with a gradient to the images alone."""
        return self.frozen_logits(images)[:, : self.classes]

    def adversarial(self, shown: Tensor, donor_probabilities: Tensor) -> Tensor:
        """L_adv of each swap, ``(P,)``: swaps ``(P, C, H, W)`` look like images of the donors' classes ``(P, K)``."""
        logits = self.frozen_logits(clamp_straight_through(shown))
        return losses.wanted_class(donor_probabilities, logits)

    def warmup_terms(self, images: Tensor, logits: Tensor) -> dict[str, Tensor]:
        """The classes of real images ``(B, C, H, W)``, so that D can tell what a swap lacks from the first one on."""
        if not self.is_needed:
            return {}
        return {"real": losses.wanted_class(self._tempered(logits), self.discriminator(images)).mean()}

    def own_terms(self, swaps: Swaps, penalise: bool, classify: Callable[[Tensor], Tensor] | None) -> dict[str, Tensor]:
        """Raw terms of D by name, each a scalar.

        Args:
            swaps: the step's forward pass; it is detached here.
            penalise: add R1.
            classify: the classifier, images to logits ``(N, K)``, where it shall be asked about the swaps.
        """
        if not self.is_needed:
            return {}
        probabilities = self._tempered(swaps.logits)
        images = swaps.images.detach().requires_grad_(penalise)
        fakes = swaps.shown(self.config.coherency_on).detach().clamp(0, 1)
        real, fake = self.discriminator(torch.cat([images, fakes])).split([len(images), len(fakes)])
        terms = {
            "real": losses.wanted_class(probabilities, real).mean(),
            "fake": losses.generated_class(fake).mean(),
        }
        if penalise:
            wanted = (probabilities * F.softmax(real, dim=1)[:, : self.classes]).sum(1)
            terms["r1"] = losses.r1_penalty(images, wanted).mean()
        if self.config.black_box:
            terms |= self._imitation_terms(swaps, real[:, : self.classes], classify)
        return terms

    def _imitation_terms(
        self, swaps: Swaps, real: Tensor, classify: Callable[[Tensor], Tensor] | None
    ) -> dict[str, Tensor]:
        """The class logits learn those of a classifier without gradients, on real images and on queried swaps."""
        temperature = self.config.loss.temperature
        terms = {"imitation": losses.coherency(swaps.logits, real, temperature).mean()}
        if classify is not None:
            queried = swaps.decoded.image.detach().clamp(0, 1)
            with torch.no_grad():
                logits = classify(queried).float()
            imitated = self.discriminator(queried)[:, : self.classes]
            terms["imitation_swaps"] = losses.coherency(logits, imitated, temperature).mean()
        return terms

    def _tempered(self, logits: Tensor) -> Tensor:
        return F.softmax(logits / self.config.loss.temperature, dim=1)


class LeakageTerms(nn.Module):
    """A, which reads the class from the individual code, and what keeps the individual encoder from telling it.

    Args:
        image_shape: ``(C, H, W)``.
        classes: K.
        model: sizes.
        mean_probabilities: ``(K,)`` of the classifier over the training split.
    """

    mean_probabilities: Tensor

    def __init__(self, image_shape: tuple[int, int, int], classes: int, model: ModelConfig, mean_probabilities: Tensor):
        super().__init__()
        channels = network_sizes(model, image_shape).individual_channels
        self.adversary = LeakageAdversary(channels, classes, model.width)
        self.register_buffer("mean_probabilities", mean_probabilities.float())

    def encoder_term(self, individual_code: Tensor) -> Tensor:
        """L_leak of the individual encoder, a scalar: A reads no more than the mean from codes ``(R, S, h, w)``."""
        logits = frozen(self.adversary, individual_code)
        return losses.leakage_encoder(self.mean_probabilities, logits).mean()

    def adversary_term(self, individual_code: Tensor, logits: Tensor) -> Tensor:
        """L_leak of A, a scalar: it reads the classifier's ``logits (B, K)`` of the first R images."""
        read = self.adversary(individual_code.detach())
        return losses.leakage_adversary(F.softmax(logits[: len(read)], dim=1), read).mean()


def frozen(network: nn.Module, *inputs: Tensor) -> Tensor:
    """Apply a network through detached parameters: gradients reach the inputs, never the network."""
    parameters = {name: parameter.detach() for name, parameter in network.named_parameters()}
    return torch.func.functional_call(network, parameters, inputs)
