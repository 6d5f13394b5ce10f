"""The loss terms of the class association embedding: one pure function per term, with its equation.

Symbols: recipient i, donor j, class code c, individual code s, swap ``x_ij = G(c_j, s_i)``, classifier f with its
probabilities ``q_j = f(x_j)`` of the donor and ``p_ij = f(x_ij)`` of the swap, sg = stop-gradient. Terms that are means
over images return one value per image, ``(B,)``, so that callers can mask, weight and log them; the others return a
scalar. Half-precision inputs are raised to float32 first: KL and variances lose their small differences below it.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

EDIT_PAINT = 4.0
EDIT_MASK = 5.0  # finding the place is what the terms are for
EDIT_CHANGE = 1.0  # pixels from black to white
_SMALLEST_SCALE = 1e-12  # only keeps codes without any spread from dividing by zero


def full_precision(tensor: Tensor) -> Tensor:
    """Half precision raised to float32; anything wider as it is."""
    return tensor.float() if tensor.dtype in (torch.float16, torch.bfloat16) else tensor


def _image_mean(tensor: Tensor) -> Tensor:
    """Mean over everything but the first dimension: ``(B, ...) -> (B,)``."""
    return tensor.reshape(len(tensor), -1).mean(1)


# --- images -----------------------------------------------------------------------------------------------------------


def reconstruction(images: Tensor, originals: Tensor) -> Tensor:
    """L_rec ``mean abs(x_ii - x_i)``; also L_cyc, with ``G(c_i, E_s(x_ij))`` in place of ``x_ii``.

    Args:
        images: ``(B, C, H, W)`` decoded images.
        originals: ``(B, C, H, W)`` what they should be.

    Returns:
        ``(B,)``, at least 0; gradients reach both arguments.
    """
    return _image_mean((full_precision(images) - full_precision(originals)).abs())


def minimal_edit(swaps: Tensor, reconstructions: Tensor) -> Tensor:
    """L_min ``mean abs(x_ij - sg(x_ii))``: how much a swap changes its recipient's reconstruction, ``(B,)``."""
    return reconstruction(swaps, reconstructions.detach())


def mask_area(mask: Tensor) -> Tensor:
    """``mean(mask)``: share of the image that may be changed, ``(B, 1, H, W) -> (B,)``."""
    return _image_mean(full_precision(mask))


def known_edit(paint: Tensor, found: Tensor, logits: Tensor, images: Tensor, wanted: Tensor, mask: Tensor) -> Tensor:
    """L_patch and L_undo ``4 sum(e abs(p - y)) / (sum e + 1) + 5 mean BCE(m, M)``: an edit of x that is to give y.

    ``e = abs(y - x)`` counts each pixel by how much it is to change: what the paint is elsewhere does not matter.
    The mask m is a factor s times the sigmoid of logits z, and ``-M log m`` is taken as ``-M log sigmoid(z)``: the same
    but for the constant ``-M log s``.

    Args:
        paint: ``(B, C, H, W)`` p of the edit.
        found: ``(B, 1, H, W)`` m of the edit, in [0, 1].
        logits: ``(B, 1, H, W)`` z. A mask that has shut itself somewhere has no gradient left, they have.
        images: ``(B, C, H, W)`` x; no gradient flows into it.
        wanted: ``(B, C, H, W)`` y, in [0, 1]; no gradient flows into it.
        mask: ``(B, 1, H, W)`` M, in [0, 1]; no gradient flows into it.

    Returns:
        ``(B,)``, at least 0. The constant 1, in pixels from black to white, lets an edit of next to nothing ask for no
        paint.
    """
    mask, wanted = full_precision(mask).detach(), full_precision(wanted).detach()
    change = (wanted - full_precision(images).detach()).abs()
    missed = (change * (full_precision(paint) - wanted).abs()).flatten(1).sum(1) / (
        change.flatten(1).sum(1) + EDIT_CHANGE
    )
    # written out: PyTorch's own refuses to run under autocast
    spared = torch.log1p(-full_precision(found).clamp_max(1 - 1e-4))
    entropy = -(mask * functional.logsigmoid(full_precision(logits)) + (1 - mask) * spared)
    return EDIT_PAINT * missed + EDIT_MASK * _image_mean(entropy)


# --- probabilities of the classifier ----------------------------------------------------------------------------------


def log_probabilities(logits: Tensor, temperature: float = 1.0) -> Tensor:
    """``log softmax(z / T)`` over the last dimension, in float32 at least; T > 1 softens a saturated classifier."""
    return functional.log_softmax(full_precision(logits) / temperature, dim=-1)


def kl_divergence(q: Tensor, log_p: Tensor) -> Tensor:
    """``KL(sg(q) || p) = sum_k q_k (log q_k - log p_k)`` in nats, with ``0 log 0 = 0``.

    Args:
        q: ``(..., K)`` target probabilities; no gradient flows into them.
        log_p: ``(..., K)`` log-probabilities, broadcast against ``q``.

    Returns:
        ``(...)``, at least 0 up to rounding.
    """
    q, log_p = full_precision(q.detach()), full_precision(log_p)
    cross = torch.where(q > 0, q * log_p, torch.zeros_like(log_p))  # 0 * -inf would be NaN
    return (torch.xlogy(q, q) - cross).sum(-1)


def coherency(donor_logits: Tensor, swap_logits: Tensor, temperature: float = 1.0) -> Tensor:
    """L_bb ``KL(sg(q_j) || p_ij)``, both softened by T.

    Args:
        donor_logits: ``(..., K)`` logits of the images that gave the class codes.
        swap_logits: ``(..., K)`` logits of the decoded images.
        temperature: T of ``softmax(z / T)``.

    Returns:
        ``(...)`` nats.
    """
    q = log_probabilities(donor_logits, temperature).exp()
    return kl_divergence(q, log_probabilities(swap_logits, temperature))


# --- realism ----------------------------------------------------------------------------------------------------------


def wanted_class(probabilities: Tensor, logits: Tensor) -> Tensor:
    """Cross-entropy ``-sum_k q_k log D_k(x)`` of D's K + 1 classes from what an image should show, ``(N,)``, in nats.

    Args:
        probabilities: ``(N, K)`` of the classes, of which none is "generated".
        logits: ``(N, K + 1)`` of D.

    Reference: Salimans et al. 2016, arXiv:1606.03498, section 5.
    """
    log_p = functional.log_softmax(full_precision(logits), dim=1)[:, :-1]
    return -(probabilities * log_p).sum(1)


def generated_class(logits: Tensor) -> Tensor:
    """``-log D_(K+1)(x)``: cross-entropy of D's logits ``(N, K + 1)`` from "generated", ``(N,)``, in nats."""
    return -functional.log_softmax(full_precision(logits), dim=1)[:, -1]


def r1_penalty(real_images: Tensor, scores: Tensor) -> Tensor:
    """``mean norm(grad_x D(x))^2`` over real images, with D(x) the mean of the patch map; its weight is gamma / 2.

    Args:
        real_images: ``(B, C, H, W)``, requiring gradients before ``scores`` were computed from them.
        scores: ``(B, ...)`` scores of the discriminator.

    Returns:
        A scalar that can be differentiated in the discriminator's parameters.

    Reference: Mescheder et al. 2018, arXiv:1801.04406, eq. 9.
    """
    if not real_images.requires_grad:
        raise ValueError("`real_images` must require gradients before the scores are computed from them.")
    per_image = scores.reshape(len(scores), -1).mean(1)
    (gradient,) = torch.autograd.grad(per_image.sum(), real_images, create_graph=True)
    return full_precision(gradient).square().flatten(1).sum(1).mean()


# --- codes ------------------------------------------------------------------------------------------------------------


def normalised_code_distance(code: Tensor, target: Tensor, sigma: Tensor) -> Tensor:
    """L_cc ``mean abs(E_c(x_ij) - sg(c_j)) / sg(sigma_c)``; L_ss with individual codes and ``sigma_s``.

    Neither shrinking nor stretching the codes lowers it, as sigma follows their scale.

    Args:
        code: ``(B, ...)`` code read from the swap.
        target: the same shape; no gradient flows into it.
        sigma: scalar scale of the codes (``RunningScale``); no gradient flows into it.

    Returns:
        ``(B,)``, without unit.
    """
    distance = _image_mean((full_precision(code) - full_precision(target.detach())).abs())
    return distance / full_precision(sigma.detach()).clamp_min(_SMALLEST_SCALE)


def _covariance(codes: Tensor) -> Tensor:
    """Unbiased covariance ``(N, d) -> (d, d)``; 0 for a single code."""
    # matrix products are the one thing that autocast would lower to half precision here
    with torch.autocast(codes.device.type, enabled=False):
        centred = full_precision(codes)
        centred = centred - centred.mean(0)
        return centred.T @ centred / max(len(codes) - 1, 1)


def variance_term(codes: Tensor, epsilon: float = 1e-4) -> Tensor:
    """L_var ``(1/d) sum_k max(0, 1 - sqrt(Var(c_k) + epsilon))``: no dead dimension, and a fixed scale.

    Args:
        codes: ``(N, d)``, N at least 16 for a useful estimate (``CodeQueue``).
        epsilon: keeps the square root differentiable at 0.

    Returns:
        A scalar in [0, 1).

    Reference: Bardes et al. 2022, arXiv:2105.04906, eq. 1.
    """
    codes = full_precision(codes)
    variance = (codes - codes.mean(0)).square().sum(0) / max(len(codes) - 1, 1)
    return (1 - (variance + epsilon).sqrt()).clamp_min(0).mean()


def covariance_term(codes: Tensor) -> Tensor:
    """L_cov ``(1/d) sum over k != l of Cov(c)_kl^2`` of ``(N, d)`` codes: no duplicate dimension, a scalar.

    Reference: Bardes et al. 2022, arXiv:2105.04906, eq. 3 and 4.
    """
    covariance = _covariance(codes)
    off_diagonal = covariance - torch.diag(torch.diagonal(covariance))
    return off_diagonal.square().sum() / codes.shape[1]


def leakage_adversary(probabilities: Tensor, adversary_logits: Tensor) -> Tensor:
    """L_leak for the adversary: ``KL(f(x_i) || A(sg s_i))``, ``(B,)`` nats.

    Args:
        probabilities: ``(B, K)`` of the classifier, for the images.
        adversary_logits: ``(B, K)`` A of the detached individual codes.
    """
    return kl_divergence(probabilities, log_probabilities(adversary_logits))


def leakage_encoder(mean_probabilities: Tensor, adversary_logits: Tensor) -> Tensor:
    """L_leak for the individual encoder: ``KL(f_bar || A(s_i))``, ``(B,)`` nats, 0 where A can do no better than f_bar.

    Args:
        mean_probabilities: ``(K,)`` of the classifier over the training split (not uniform).
        adversary_logits: ``(B, K)`` A of the individual codes, with gradient to the codes. A's own parameters are
            another optimiser's: the caller keeps this term's gradients out of them.
    """
    return kl_divergence(mean_probabilities, log_probabilities(adversary_logits))
