"""Our training objective: which terms a step has, on which images, and their sum. No Lightning in here."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cae.classifiers import ClassifierReader, TargetClassifier
from cae.config import CAEConfig
from cae.data import Batch
from cae.models.cae import CAE, Base, Codes
from cae.training import losses
from cae.training.adversaries import DiscriminatorTerms, LeakageTerms
from cae.training.augmentation import clamp_straight_through, random_view
from cae.training.code_terms import CodeTerms
from cae.training.known_edits import patch_swap_term, undo_term
from cae.training.swaps import Swaps, decode_swaps, encode

CONVINCED = 0.25  # nats of divergence at which what is asked of edits that convince has fallen to 1/e
REALISM = 4.0  # how much more an edit that convinces has to look real
LABEL_LOGIT = 6.0  # a label as logits: nearly certain, yet finite


class Objective(nn.Module):
    """Loss terms of the generator (E_c, E_s, G), and of the networks beside it: discriminator D, leakage adversary A.

    The generator's terms see D and A through detached parameters, the others see detached images and codes: the sum of
    all losses can be minimised in one step, and each network follows its own loss alone.

    Args:
        cae: the model in training.
        classes: K.
        config: weights and switches; a weight of 0 removes the term and its computation.
        classifier: the frozen target classifier.
        mean_probabilities: ``(K,)`` of the classifier over the training split, for L_leak.
        reader: of the classifier, where class codes are read in its features.
        surrogate: a frozen network that learnt the classifier's predictions: L_bb is the mean over both.

    Reference: Xie et al. 2024, arXiv:2406.07961, building-block coherency; terms: docs/methods.
    """

    def __init__(
        self,
        cae: CAE,
        classes: int,
        config: CAEConfig,
        classifier: TargetClassifier,
        mean_probabilities: Tensor,
        reader: ClassifierReader | None = None,
        surrogate: TargetClassifier | None = None,
    ):
        super().__init__()
        self.config, self.weights, self.classes = config, config.loss, classes
        # in lists, they stay out of this module's parameters: the CAE is the caller's, the classifiers are frozen
        self._cae, self._classifier, self._reader = [cae], [classifier], reader
        self._surrogates = [] if surrogate is None else [surrogate]
        self.discriminator_terms = DiscriminatorTerms(cae.image_shape, classes, config)
        self.leakage_terms = LeakageTerms(cae.image_shape, classes, config.model, mean_probabilities)
        self.code_terms = CodeTerms(classes, config)

    @property
    def cae(self) -> CAE:
        """The model in training."""
        return self._cae[0]

    @property
    def classifier(self) -> TargetClassifier:
        """The frozen target classifier."""
        return self._classifier[0]

    # --- forward ------------------------------------------------------------------------------------------------------

    def logits(self, batch: Batch) -> Tensor:
        """What the codes shall follow, ``(B, K)``: the classifier's logits, or some made of the labels."""
        if self.config.target == "labels":
            return LABEL_LOGIT * F.one_hot(batch.labels, self.classes).to(batch.images)
        with torch.no_grad():
            return self.classifier.logits(batch.images).float()

    def swaps(self, images: Tensor, logits: Tensor, features: Tensor | None = None) -> Swaps:
        """Reconstructions and swaps of images ``(B, C, H, W)`` in [0, 1] whose codes shall follow ``logits (B, K)``.

        ``features (B, F)`` are the classifier's, where class codes are read in them.
        """
        return decode_swaps(self.cae, images, logits, self.config, features)

    # --- terms of the generator ---------------------------------------------------------------------------------------

    def warmup_terms(self, images: Tensor, logits: Tensor, features: Tensor | None = None) -> dict[str, Tensor]:
        """Reconstruction, and class codes that tell the class: a start from which swaps make sense."""
        count = min(self.config.recipients, len(images))
        codes = encode(self.cae, images, count, features)
        if not self._has_patch_swaps:
            reconstruction = self.cae.to_unit(self.cae.trunk(codes.individual_code)[0])
            return self._own_terms(reconstruction, images[:count], codes, logits)
        base = self.cae.base(codes.individual_code, codes.class_code[:count])
        terms = self._own_terms(self.cae.to_unit(base.image), images[:count], codes, logits)
        return terms | self._patch_swaps(images, logits, codes, base, self.config.patch_swaps)

    def patch_terms(self, swaps: Swaps) -> dict[str, Tensor]:
        """L_patch of a step after the warm-up, by name; half as many patches are tried, none where it is not wanted."""
        if not self._has_patch_swaps:
            return {}
        tries = max(1, self.config.patch_swaps // 2)
        return self._patch_swaps(swaps.images, swaps.logits, swaps.codes, swaps.base, tries)

    def _patch_swaps(self, images: Tensor, logits: Tensor, codes: Codes, base: Base, tries: int) -> dict[str, Tensor]:
        predictions = logits.argmax(1)
        return {
            "patch_swap": patch_swap_term(self.cae, self.classifier.logits, images, predictions, codes, base, tries)
        }

    @property
    def _has_patch_swaps(self) -> bool:
        """Whether L_patch is wanted, and can be had: it needs a mask, and a classifier that may be asked often."""
        config = self.config
        possible = config.model.mask and config.target == "classifier" and not config.black_box
        return self.weights.patch_swap > 0 and possible

    def generator_terms(self, swaps: Swaps) -> dict[str, Tensor]:
        """Raw terms of the generator by name, each a scalar; those of weight 0 are absent."""
        weights, shown, mask = self.weights, swaps.shown(self.config.coherency_on), swaps.decoded.mask
        terms = self._own_terms(swaps.reconstruction, swaps.originals, swaps.codes, swaps.logits)
        convinced, read = torch.ones_like(swaps.donor_probabilities[:, 0]), None
        if weights.coherency > 0:
            divergence, read = self._divergence(swaps, shown)
            terms["coherency"] = divergence.mean()
            convinced = torch.exp(-divergence.detach() / CONVINCED)
        if weights.minimal > 0:
            # only an edit that convinces is asked to be smaller: before that, the smallest edit would be none
            terms["minimal"] = (convinced * losses.minimal_edit(shown, swaps.images[swaps.recipients])).mean()
        if weights.adversarial > 0:
            unreal = self.discriminator_terms.adversarial(shown, swaps.donor_probabilities)
            terms["adversarial"] = ((1 + REALISM * convinced) * unreal).mean()
        if weights.leakage > 0:
            terms["leakage"] = self.leakage_terms.encoder_term(swaps.codes.individual_code)
        if weights.undo > 0 and mask is not None:
            terms["undo"] = undo_term(self.cae, swaps, shown, mask)
        if weights.mask_area > 0 and mask is not None:
            terms["mask_area"] = (convinced * losses.mask_area(mask)).mean()
        return terms | self.code_terms.of_swaps(self.cae, swaps, read)

    def _own_terms(self, images: Tensor, originals: Tensor, codes: Codes, logits: Tensor) -> dict[str, Tensor]:
        """What needs no swap: L_rec, and the terms of the codes of images."""
        terms = {}
        if self.weights.reconstruction > 0:
            terms["reconstruction"] = losses.reconstruction(images, originals).mean()
        return terms | self.code_terms.of_images(codes, logits)

    def _divergence(self, swaps: Swaps, shown: Tensor) -> tuple[Tensor, Tensor | None]:
        """KL of each swap's probabilities from its donor's, ``(P,)``: L_bb is its mean.

        It is that of the classifier, or the mean of those of the classifier and its surrogate. With it the class codes
        ``(P, D)`` of what was classified, where the classifier's features tell them.
        """
        images = swaps.classified(self.config.coherency_on, shown)
        logits, codes = self._differentiable_logits(images)
        answers = [logits, *(surrogate.logits(self._viewed(images)) for surrogate in self._surrogates)]
        divergences = [
            losses.kl_divergence(swaps.donor_probabilities, losses.log_probabilities(answer, self.weights.temperature))
            for answer in answers
        ]
        return torch.stack(divergences).mean(0), codes

    def _viewed(self, images: Tensor) -> Tensor:
        """What classifiers are shown of swaps, with a gradient."""
        images = clamp_straight_through(images)
        return random_view(images) if self.config.robust_views else images

    def _differentiable_logits(self, images: Tensor) -> tuple[Tensor, Tensor | None]:
        """``(N, K)`` with a gradient to the images: of the classifier, or of the class head that imitates it."""
        images = self._viewed(images)
        if self.config.black_box:
            return self.discriminator_terms.class_logits(images), None
        if self._reader is None:
            return self.classifier.logits(images), None
        reading = self._reader(images, maps=False)
        return reading.logits, self.cae.class_code_of(reading.features)

    # --- terms of the networks beside the generator -------------------------------------------------------------------

    def warmup_other_terms(self, images: Tensor, logits: Tensor) -> dict[str, Tensor]:
        """Raw terms of D in the warm-up, by name."""
        return self.discriminator_terms.warmup_terms(images, logits)

    def other_terms(self, swaps: Swaps, penalise: bool, query: bool) -> dict[str, Tensor]:
        """Raw terms of D and A by name; swaps and codes are detached.

        Args:
            swaps: the step's forward pass.
            penalise: add R1.
            query: ask the classifier about the swaps (black-box training only).
        """
        classify = self.classifier.logits if query else None
        terms = self.discriminator_terms.own_terms(swaps, penalise and self.weights.r1 > 0, classify)
        if self.weights.leakage > 0:
            terms["adversary"] = self.leakage_terms.adversary_term(swaps.codes.individual_code, swaps.logits)
        return terms

    def weighted_others(self, terms: dict[str, Tensor], r1_every: int) -> Tensor:
        """Sum of the terms of D and A, with R1 scaled up for being computed only every so many steps."""
        weights = {"real": 1.0, "fake": 0.5, "r1": self.weights.r1 * r1_every / 2}
        total = self.leakage_terms.mean_probabilities.new_zeros(())
        for name, term in terms.items():
            total = total + weights.get(name, 1.0) * term
        return total
