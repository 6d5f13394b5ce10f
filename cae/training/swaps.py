"""The swaps of a training step: whose class codes are given to which images, and what is decoded of them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from cae.config import CAEConfig
from cae.manifold.smote import smote
from cae.models.cae import CAE, Base, Codes, Decoded
from cae.models.networks import fixed_statistics

SAME_CLASS_SHARE = 0.25  # of the donors are predicted as the recipient is
SMOTE_SHARE = 0.25  # of the swaps take a code between two donors


@dataclass(frozen=True)
class Swaps:
    """One step's forward pass: class codes of B images, R reconstructions and P swaps, before any loss."""

    images: Tensor  # (B, C, H, W)
    logits: Tensor  # (B, K) of the classifier, or made of the labels
    codes: Codes  # class codes (B, D), individual codes (R, S, h, w) of the first R images
    base: Base  # of the first R images
    reconstruction: Tensor  # (R, C, H, W): the base images, for their own codes change nothing of them
    recipients: Tensor  # (P,) indices below R
    donor_codes: Tensor  # (P, D)
    donor_probabilities: Tensor  # (P, K), tempered
    decoded: Decoded  # (P, C, H, W)

    @property
    def originals(self) -> Tensor:
        """The images that were reconstructed, ``(R, C, H, W)``."""
        return self.images[: len(self.reconstruction)]

    def shown(self, coherency_on: str) -> Tensor:
        """What explanations show of the swaps, ``(P, C, H, W)``: the change in the recipients themselves.

        That is what D sees: a decoded image gives itself away by its smoothness, whatever the change.
        """
        if coherency_on == "decoded":
            return self.decoded.image
        return self.decoded.onto(self.images[self.recipients])

    def classified(self, coherency_on: str, shown: Tensor) -> Tensor:
        """The images ``(P, C, H, W)`` that the coherency is measured on; ``shown`` is what explanations show."""
        if coherency_on == "decoded":
            return self.decoded.image
        if coherency_on == "residual":
            return shown
        # every swap in one of its two forms: half the price of classifying both
        decoded = torch.rand(len(shown), 1, 1, 1, device=shown.device) < 0.5
        return torch.where(decoded, self.decoded.image, shown)


def encode(cae: CAE, images: Tensor, recipients: int, features: Tensor | None = None) -> Codes:
    """Class codes of all images, which are cheap, and individual codes of the first ``recipients``.

    ``features (B, F)`` of the classifier save reading them again.
    """
    class_code = cae.encode_class(images) if features is None else cae.class_code_of(features)
    return Codes(class_code, cae.encode_individual(images[:recipients]))


def decode_swaps(cae: CAE, images: Tensor, logits: Tensor, config: CAEConfig, features: Tensor | None = None) -> Swaps:
    """Encode a batch, choose donors, decode reconstructions and swaps.

    Args:
        cae: the model in training.
        images: ``(B, C, H, W)`` in [0, 1].
        logits: ``(B, K)`` that the codes shall follow.
        config: numbers of recipients and swaps, temperature of the donors' probabilities.
        features: ``(B, F)`` of the classifier, where class codes are read in them.
    """
    count = min(config.recipients, len(images))
    # from the end of the warm-up on, codes are those of the exported model: statistics of a batch would make them
    # others in training than in validation
    with fixed_statistics(cae.class_encoder):
        codes = encode(cae, images, count, features)
    base = cae.base(codes.individual_code, codes.class_code[:count])
    reconstruction = cae.to_unit(base.image)
    recipients = torch.arange(config.pairs, device=images.device) % count
    donor_codes, donor_probabilities = _donors(codes.class_code, logits, recipients, config)
    decoded = cae.join(donor_codes, base[recipients])
    return Swaps(images, logits, codes, base, reconstruction, recipients, donor_codes, donor_probabilities, decoded)


def _donors(codes: Tensor, logits: Tensor, recipients: Tensor, config: CAEConfig) -> tuple[Tensor, Tensor]:
    """A class code for each recipient and its probabilities; some are mixed from two codes of one prediction."""
    predictions, probabilities = logits.argmax(1), F.softmax(logits / config.loss.temperature, dim=1)
    donors = choose_donors(predictions, recipients)
    if config.loss.smote == 0:
        return codes[donors], probabilities[donors]
    count = int(SMOTE_SHARE * len(recipients))
    made, rest = smote(codes, predictions, count), donors[count:]
    return torch.cat([made.codes, codes[rest]]), torch.cat([made.mix(probabilities), probabilities[rest]])


def choose_donors(predictions: Tensor, recipients: Tensor, same_class_share: float = SAME_CLASS_SHARE) -> Tensor:
    """One donor for each recipient, drawn so that every other class that is predicted is equally likely.

    Args:
        predictions: ``(B,)`` classes of the batch.
        recipients: ``(P,)`` indices into the batch.
        same_class_share: probability of a donor of the recipient's own class (never itself).

    Returns:
        ``(P,)`` indices into the batch. Where no donor of the wanted kind exists, the other kind is drawn.
    """
    same = predictions[recipients, None] == predictions[None, :]
    itself = recipients[:, None] == torch.arange(len(predictions), device=predictions.device)
    sizes = (predictions[:, None] == predictions[None, :]).sum(1).float()  # of each one's class
    other = (~same).float() / sizes
    other = other / other.sum(1, keepdim=True).clamp_min(1e-9)
    own = (same & ~itself).float()
    own = own / own.sum(1, keepdim=True).clamp_min(1e-9)
    # the tiny constant matters only where a batch holds a single image
    weights = (1 - same_class_share) * other + same_class_share * own + 1e-9
    return torch.multinomial(weights, 1)[:, 0]
