"""What is asked of the codes: class codes that tell the class and fill their space, and both readable from a swap."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from cae.config import CAEConfig
from cae.models.cae import CAE, Codes
from cae.models.networks import fixed_statistics
from cae.training import losses
from cae.training.code_statistics import CodeQueue, RunningScale
from cae.training.swaps import Swaps
from cae.training.synchronisation import gather_over_processes

QUEUE = 256  # class codes of earlier steps that variances and covariances are taken over


class CodeTerms(nn.Module):
    """L_cp, L_var and L_cov of images, L_cc, L_ss and L_cyc of swaps, with what they remember of earlier steps.

    Args:
        classes: K.
        config: weights and sizes; a weight of 0 removes its term.
    """

    def __init__(self, classes: int, config: CAEConfig):
        super().__init__()
        self.weights = config.loss
        self.logit_head = nn.Linear(config.model.class_dim, classes)
        self.class_scale, self.individual_scale = RunningScale(), RunningScale()
        self.queue = CodeQueue(QUEUE, config.model.class_dim)

    def of_images(self, codes: Codes, logits: Tensor) -> dict[str, Tensor]:
        """L_cp, L_var and L_cov, each a scalar, of class codes ``(B, D)`` whose images have ``logits (B, K)``."""
        terms = {}
        if self.weights.class_probabilities > 0:
            terms["class_probabilities"] = losses.coherency(logits, self.logit_head(codes.class_code)).mean()
        population = torch.cat([gather_over_processes(codes.class_code), self.queue.view()])
        if self.weights.variance > 0:
            terms["variance"] = losses.variance_term(population)
        if self.weights.covariance > 0:
            terms["covariance"] = losses.covariance_term(population)
        return terms

    def of_swaps(self, cae: CAE, swaps: Swaps, class_codes: Tensor | None = None) -> dict[str, Tensor]:
        """L_cc, L_ss and L_cyc, each a scalar: both codes are readable from the swap.

        ``class_codes (P, D)`` are those of the swaps, where they have been read already.
        """
        weights, terms = self.weights, {}
        if weights.class_code > 0:
            sigma = self.class_scale(swaps.codes.class_code)
            if class_codes is None:
                with fixed_statistics(cae.class_encoder):  # those of real images
                    class_codes = cae.encode_class(swaps.decoded.image)
            terms["class_code"] = losses.normalised_code_distance(class_codes, swaps.donor_codes, sigma).mean()
        if weights.individual_code == 0 and weights.cycle == 0:
            return terms
        read = cae.encode_individual(swaps.decoded.image)
        if weights.individual_code > 0:
            sigma = self.individual_scale(swaps.codes.individual_code)
            own = swaps.codes.individual_code[swaps.recipients]
            terms["individual_code"] = losses.normalised_code_distance(read, own, sigma).mean()
        if weights.cycle > 0:
            back = cae.join(swaps.codes.class_code[swaps.recipients], cae.base(read))
            terms["cycle"] = losses.reconstruction(back.image, swaps.images[swaps.recipients]).mean()
        return terms

    @torch.no_grad()
    def remember(self, codes: Codes) -> None:
        """Put the batch's class codes into the queue, for the steps to come."""
        self.queue.push(gather_over_processes(codes.class_code.detach()))
