"""Counterfactuals made by hand, of every status."""

from __future__ import annotations

import torch

from cae.counterfactuals.result import Counterfactual

CLASSES = ("healthy", "mass", "cyst")


def counterfactual(
    size: int = 28,
    channels: int = 1,
    classes: tuple[str, ...] = CLASSES,
    status: str = "found",
    output: str = "residual",
) -> Counterfactual:
    """A square that brightens along the path; the decision changes at 0.43, between the points of the path."""
    points = 11 if status in ("found", "not_found") else 1
    tau = torch.linspace(0, 1, points, dtype=torch.float64) if points > 1 else torch.zeros(1, dtype=torch.float64)
    generator = torch.Generator().manual_seed(0)
    original = 0.3 + 0.1 * torch.rand(channels, size, size, generator=generator)
    square = torch.zeros_like(original)
    square[:, size // 4 : size // 2, size // 4 : size // 2] = 0.5
    probabilities = torch.full((points, len(classes)), 0.0)
    probabilities[:, 1] = tau.float() * (0.9 if status == "found" else 0.4)
    probabilities[:, 0] = 1 - probabilities[:, 1]
    found = status == "found"
    return Counterfactual(
        id="test/7", classes=classes, source=0, target=0 if status == "already_target" else 1, status=status,
        reason="in words", output=output, original=original, reconstruction=original * 0.9,
        counterfactual=original + 0.43 * square if found else None,
        closest=original + square if status == "not_found" else None,
        tau=tau, path_codes=torch.zeros(points, 2),
        path_images=original + tau.float()[:, None, None, None] * square, path_probabilities=probabilities,
        boundary=0.43 if found else None,
        boundary_probabilities=torch.tensor([0.47, 0.53] + [0.0] * (len(classes) - 2)) if found else None,
        margin=0.06 if found else -0.2, overshoot=0.01 if found else None,
        overshoot_without_bisection=0.1 if found else None, sign_changes=1,
        difference=0.43 * square if found else None, difference_std=None, diversity=None, averaged=int(found),
        reference_ids=(), classifier_evaluations=30, decoder_evaluations=30, seconds=0.1, seed=0, fingerprint="",
    )  # fmt: skip
