"""Edits whose outcome is known beforehand teach the editor where to paint what: patches of a donor, and undone swaps.

The classifier's gradient is of little use for evidence that an image lacks (see ``patch_swaps``).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from cae.models.cae import CAE, Base, Codes, Decoded
from cae.models.networks import fixed_statistics
from cae.training import losses
from cae.training.patch_swaps import find_patch_swaps
from cae.training.swaps import Swaps, choose_donors

UNDO_SHARE = 0.25  # of the swaps are undone, for it costs a second pass


def patch_swap_term(
    cae: CAE,
    classify: Callable[[Tensor], Tensor],
    images: Tensor,
    predictions: Tensor,
    codes: Codes,
    base: Base,
    tries: int,
) -> Tensor:
    """L_patch, a scalar: with a donor's class code, the editor makes of an image what a patch of the donor made.

    Args:
        cae: the model in training, with a mask.
        classify: ``(N, C, H, W)`` to logits ``(N, K)``.
        images: ``(B, C, H, W)`` in [0, 1].
        predictions: ``(B,)`` classes of them.
        codes: class codes of all images.
        base: of the first R images, which are the recipients.
        tries: patches for each recipient.
    """
    recipients = torch.arange(len(base.image), device=images.device)
    donors = choose_donors(predictions, recipients, same_class_share=0.0)
    wanted = torch.where(predictions[donors] == predictions[recipients], -1, predictions[donors])
    own = images[: len(recipients)]
    found = find_patch_swaps(own, images[donors], wanted, classify, tries)
    if len(found) == 0:
        return images.new_zeros(())
    edit = cae.join(codes.class_code[donors[found.rows]].detach(), base[found.rows])
    # no mean: a step that finds few shall not count each for more
    return edit_loss(edit, own[found.rows], found.images, found.masks).sum() / len(own)


def undo_term(cae: CAE, swaps: Swaps, shown: Tensor, mask: Tensor) -> Tensor:
    """L_undo, a scalar, of the last swaps, whose donors are images.

    Where evidence is removed, the image says where it is. Where it is to be added, only the classifier could tell,
    and the gradient of a place that no edit has tried yet is near zero: the cheapest edit is then an adversarial
    pattern elsewhere. But each swap that removes evidence shows what adding it looks like: the swap is taken for
    an image, and its original for the counterfactual that is wanted of it. Only the decoder and the editor learn
    from this; swaps do not become easier to undo.

    Args:
        cae: the model in training, with a mask.
        swaps: the step's forward pass.
        shown: ``(P, C, H, W)`` what explanations show of the swaps.
        mask: ``(P, 1, H, W)`` of the swaps.
    """
    count = max(int(UNDO_SHARE * len(shown)), 1)
    own, edited = swaps.recipients[-count:], shown[-count:].detach().clamp(0, 1)
    with torch.no_grad(), fixed_statistics(cae.class_encoder):
        individual, present = cae.encode_individual(edited), cae.encode_class(edited)
    back = cae.join(swaps.codes.class_code[own].detach(), cae.base(individual, present))
    return edit_loss(back, edited, swaps.images[own], mask[-count:]).mean()


def edit_loss(edit: Decoded, images: Tensor, wanted: Tensor, mask: Tensor) -> Tensor:
    """The loss ``(N,)`` of an edit of ``images (N, C, H, W)`` that is to paint ``wanted`` within ``mask``.

    Raises:
        ValueError: if the edit is of a model without a mask.
    """
    if edit.mask is None or edit.logits is None:
        raise ValueError("`edit` must have a mask: a model without one (cae.model.mask=false) knows no place to paint.")
    return losses.known_edit(edit.paint, edit.mask, edit.logits, images, wanted, mask)
