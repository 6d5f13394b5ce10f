"""References that are searched for, not taken from the training images: near codes classified as the target."""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import torch
from torch import Tensor

from cae.counterfactuals.path_search import CandidateDecoder

LEARNING_RATE = 0.1  # of Adam, in standard deviations of the codes
DISTANCE_WEIGHT = 0.02  # of the squared distance to the image's own code
PROPOSALS = 8  # codes classified in one step of the random search


def optimise_codes(
    decoder: CandidateDecoder,
    rows: Tensor,
    targets: Tensor,
    scale: Tensor,
    *,
    steps: int,
    ids: Sequence[str],
    seed: int,
    begins: Tensor,
) -> Tensor:
    """Class codes ``(R, D)`` that minimise ``KL(e_t || f(image of c)) + 0.02 |(c - c_x) / scale|^2``.

    By gradient if the classifier has one, otherwise by a random search. Every image is treated apart from the others
    in its batch, with chance that depends on ``seed`` and its id alone.

    Args:
        decoder: of the images; it counts what the search costs.
        rows: ``(R,)`` images to search for.
        targets: ``(R,)`` classes to reach.
        scale: ``(D,)`` standard deviation of the training codes.
        steps: of either search; the random one classifies eight codes in each.
        ids: of the R images.
        seed: of the random search.
        begins: ``(R, D)`` codes where the search by gradient begins, best of the target class: around the images' own
            codes nothing changes, and a gradient says little.
    """
    if decoder.classifier.differentiable:
        size = decoder.batch_size
        chunks = zip(rows.split(size), targets.split(size), begins.split(size), strict=True)
        return torch.cat([_by_gradient(decoder, part, aim, code, scale, steps) for part, aim, code in chunks])
    return _at_random(decoder, rows, targets, scale, steps, ids, seed)


def _by_gradient(
    decoder: CandidateDecoder, rows: Tensor, targets: Tensor, begins: Tensor, scale: Tensor, steps: int
) -> Tensor:
    with torch.enable_grad():
        # copies, because tensors made in inference mode cannot be saved for a backward pass
        start, scale, targets = decoder.class_codes[rows].clone(), scale.clone(), targets.clone()
        move = ((begins - start) / scale).requires_grad_()
        optimiser = torch.optim.Adam([move], lr=LEARNING_RATE)
        best, lowest = move.detach().clone(), torch.full((len(rows),), torch.inf)
        for _ in range(steps):
            loss = _divergence(decoder, rows, start + move * scale, targets) + DISTANCE_WEIGHT * move.square().sum(1)
            better = loss.detach() < lowest
            lowest = torch.where(better, loss.detach(), lowest)
            best = torch.where(better[:, None], move.detach(), best)
            # the gradient of the codes alone: the models' own must stay as they are
            (move.grad,) = torch.autograd.grad(loss.sum(), move)
            optimiser.step()
        return start + best * scale


def _divergence(decoder: CandidateDecoder, rows: Tensor, codes: Tensor, targets: Tensor) -> Tensor:
    """``KL(e_t || f) = -log f_t``, ``(R,)``; from the logits, for the gradient of a saturated softmax is 0."""
    images = decoder.unrounded(rows, codes)
    decoder.classifier_evaluations += torch.bincount(rows, minlength=len(decoder.images))
    logits = decoder.classifier.logits(images)
    return -logits.float().log_softmax(1).cpu().gather(1, targets[:, None])[:, 0]


def _at_random(
    decoder: CandidateDecoder,
    rows: Tensor,
    targets: Tensor,
    scale: Tensor,
    steps: int,
    ids: Sequence[str],
    seed: int,
) -> Tensor:
    start = decoder.class_codes[rows]
    chance = [torch.Generator().manual_seed(zlib.crc32(f"{seed}/{name}".encode())) for name in ids]
    best = torch.zeros_like(start)
    lowest = _cost(decoder.start_probabilities[rows], targets)
    size = torch.ones(len(rows))
    every, wanted = rows.repeat_interleave(PROPOSALS), targets.repeat_interleave(PROPOSALS)
    for _ in range(steps):
        noise = torch.stack([torch.randn(PROPOSALS, start.shape[1], generator=generator) for generator in chance])
        moves = best[:, None] + size[:, None, None] * noise
        probabilities = decoder.evaluate(every, (start[:, None] + moves * scale).flatten(0, 1))[1]
        costs = _cost(probabilities, wanted).view(len(rows), PROPOSALS) + DISTANCE_WEIGHT * moves.square().sum(2)
        cost, index = costs.min(dim=1)
        better = cost < lowest
        lowest = torch.where(better, cost, lowest)
        best = torch.where(better[:, None], moves[torch.arange(len(rows)), index], best)
        size = torch.where(better, size * 1.5, size * 0.85)  # wider after a success, as in evolution strategies
    return start + best * scale


def _cost(probabilities: Tensor, targets: Tensor) -> Tensor:
    return -probabilities.gather(1, targets[:, None])[:, 0].clamp_min(1e-12).log()
