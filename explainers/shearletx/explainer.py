"""ShearletX and its family: the smallest part of a multiscale representation that keeps the prediction.

One optimiser (``optimiser.py``) serves all; the methods differ in representation and settings (``settings.py``).
The explanation is a picture, ``extras["explanation"]``: what the mask keeps, on black. It is the picture that was
scored, and its probability stands beside it. The map is where the kept coefficients lie.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import fields
from typing import Any, ClassVar

import torch
from torch import Tensor

from cae.classifiers import TargetClassifier
from cae.errors import UserError, did_you_mean
from explainers.base import Explainer, Instance, InstanceResult
from explainers.metrics.conciseness import gradient_edges, hallucination_score
from explainers.shearletx import settings as settings_of
from explainers.shearletx.compositions import compose, compose_published
from explainers.shearletx.objective import weighted_magnitude
from explainers.shearletx.optimiser import MaskOptimiser
from explainers.shearletx.search_state import Outcome
from explainers.shearletx.settings import Settings, checked_settings
from explainers.transforms.representation import (
    LOW_PASS,
    PixelRepresentation,
    Representation,
    energy_entropy,
    planes,
    spread,
)
from explainers.transforms.shearlet import shearlet_system
from explainers.transforms.wavelet import dual_tree_system, wavelet_system


class MaskExplainer(Explainer):
    """A mask over the coefficients of a representation, optimised by gradients.

    Options that are left out take the preset's value: ``default``, ours, finds the smallest mask whose displayed
    picture keeps ``keep`` of the probability; ``published`` has the settings of the paper's code, for comparison.
    ``Settings`` explains each.

    Extras: ``explanation``, ``complement`` (C, H, W); ``detail`` (C, H, W), signed, what is kept without the low-pass;
    ``probability_displayed``, ``_mean``, ``_noise`` (under fresh noise), ``_complement``; ``feasible``, ``repaired``,
    ``steps``, ``size``; ``kept_l1`` (shares of magnitude kept, comparable over frames), ``kept_l1_plain``,
    ``kept_pixels``, ``kept_entropy``, ``entropy_gain``, ``hallucination``; ``mask_by_scale`` (list, coarse to fine,
    mean over directions), ``kept_by_band``; ``objective``, ``sizes`` and ``probabilities`` over the steps; ``mask``
    where it was asked for.

    Args:
        classifier: with gradients.
        preset: ``default`` or ``published``.
        form: ``constraint``, ``weighted`` or ``area``.
        compositions: pictures that must keep the probability.
        samples: noisy pictures per step.
        noise: its calibration.
        size: measure of the mask.
        size_weight: weight of the size.
        spatial_weight: weight of the shown intensity.
        reward: of the weighted form.
        keep: share of the probability that the displayed picture must keep.
        accept: share below which a mask is mended by mixing in ones.
        init: ``ones`` or ``gradient_rank``.
        steps: at most.
        learning_rate: of Adam at the start.
        patience: steps without progress until an image stops.
        colour: a mask per channel.
        area: of the area form.
        transform: another representation, such as ``dual_tree``.
        jitter: whole pixels by which all but the displayed picture are shifted at most.
        zoom: share by which pictures of the composition ``moved`` are enlarged or shrunk at most.
        mixed: bfloat16 on an accelerator.
        budget_seconds: for the images explained side by side.
        low_pass: whether the map shows the low-pass band too.
        save_mask: keep the mask itself among the extras, several megabytes per image.
        together: images side by side; their masks share the memory.
        batch_size: pictures in one forward pass at most.
    """

    needs_gradients = True
    presets: ClassVar[dict[str, Settings]]

    def __init__(
        self,
        classifier: TargetClassifier,
        *,
        preset: str = "default",
        form: str | None = None,
        compositions: Sequence[str] | None = None,
        samples: int | None = None,
        noise: str | None = None,
        size: str | None = None,
        size_weight: float | None = None,
        spatial_weight: float | None = None,
        reward: str | None = None,
        keep: float | None = None,
        accept: float | None = None,
        init: str | None = None,
        steps: int | None = None,
        learning_rate: float | None = None,
        patience: int | None = None,
        colour: bool | None = None,
        area: float | None = None,
        transform: str | None = None,
        jitter: int | None = None,
        zoom: float | None = None,
        mixed: bool | None = None,
        budget_seconds: float | None = None,
        low_pass: bool = False,
        save_mask: bool = False,
        together: int = 4,
        batch_size: int = 16,
    ):
        super().__init__(classifier, batch_size=batch_size)
        if preset not in self.presets:
            raise UserError(
                f"`preset` must be one of {', '.join(self.presets)}, but is {preset!r}"
                f"{did_you_mean(preset, self.presets)}."
            )
        if together < 1:
            raise UserError(f"`together` must be at least 1, but is {together}.")
        given = {key: value for key, value in locals().items() if key in {field.name for field in fields(Settings)}}
        self.settings = checked_settings(self.presets[preset], **given)
        self.preset, self.together = preset, together
        self.low_pass, self.save_mask = low_pass, save_mask

    def __getattr__(self, name: str) -> Any:
        """The value of an option, whether it was given or is the preset's."""
        if name == "settings" or name not in {field.name for field in fields(Settings)}:
            raise AttributeError(name)
        return getattr(self.settings, name)

    def explain_image(self, instance: Instance) -> InstanceResult:
        """Search the mask of one image."""
        return next(self.explain_batch([instance]))

    def explain_batch(self, instances: Sequence[Instance]) -> Iterator[InstanceResult]:
        """Search the masks of all images, ``together`` at once."""
        optimiser = self.optimiser(instances[0].image)
        for first in range(0, len(instances), self.together):
            part = instances[first : first + self.together]
            for instance, outcome in zip(part, optimiser(part), strict=True):
                yield self._result(optimiser, instance, outcome)

    def optimiser(self, image: Tensor) -> MaskOptimiser:
        """The optimiser for images like this one ``(C, H, W)``."""
        representation = make_representation(self.settings.transform, image)
        return MaskOptimiser(self.classifier, representation, self.settings, self.batch_size)

    @torch.no_grad()
    def _result(self, optimiser: MaskOptimiser, instance: Instance, outcome: Outcome) -> InstanceResult:
        representation = optimiser.representation
        coefficients = representation.analyse(instance.image)
        mask = outcome.mask
        extras: dict[str, Any] = {
            "explanation": outcome.explanation,
            "detail": representation.synthesise(_without_low_pass(representation, mask * coefficients)),
            "probability_displayed": outcome.probability,
            "feasible": outcome.feasible,
            "repaired": outcome.repaired,
            "steps": len(outcome.history["objective"]),
            "size": outcome.size,
            "objective": outcome.history["objective"],
            "sizes": outcome.history["size"],
            "probabilities": outcome.history["probability"],
        }
        extras |= _kept(representation, coefficients, mask, instance.image, outcome.explanation)
        checked, spent = self._checked(optimiser, instance, coefficients, mask)
        extras |= checked
        if self.save_mask:
            extras["mask"] = mask
        attribution = self._attribution(representation, coefficients, mask)
        return InstanceResult(attribution, extras, outcome.evaluations + spent)

    def _attribution(self, representation: Representation, coefficients: Tensor, mask: Tensor) -> Tensor:
        """Where the kept magnitude lies, ``(1, H, W)``; of a smooth mask, the mask itself."""
        if self.settings.smooth:
            return mask.unflatten(-1, representation.shape)
        kept = (mask.mean(0) * coefficients.mean(0)).abs()
        shown = torch.zeros(representation.shape, dtype=kept.dtype, device=kept.device)
        pixels = shown.numel()
        for band, plane in zip(representation.bands, planes(representation.bands, kept), strict=True):
            if band.scale != LOW_PASS or self.low_pass:
                shown += (band.count / pixels) ** 0.5 * spread(band, plane, representation.shape)
        return shown[None]

    def _checked(
        self, optimiser: MaskOptimiser, instance: Instance, coefficients: Tensor, mask: Tensor
    ) -> tuple[dict[str, Any], int]:
        """Probabilities of what the search did not see: fresh noise, flat grey, and the complement."""
        representation, settings = optimiser.representation, self.settings
        fill = optimiser.pictures.fill(coefficients, instance.image)
        generator = torch.Generator(mask.device).manual_seed(instance.generator(1).initial_seed())
        noise = optimiser.pictures.draw(fill, generator)
        if settings.published_noise:
            noisy, _ = compose_published(
                representation, mask[None], coefficients[None], noise[None], settings.clamp_coefficients
            )
        else:
            noisy, _ = compose(
                representation, mask[None], coefficients[None], ("noise",), noise[None], fill.means[:1], None
            )
        grey = instance.image.mean()
        flat = representation.synthesise(mask * coefficients + (1 - mask) * representation.analyse(
            grey.expand(representation.shape)))[None].clamp(0, 1)  # fmt: skip
        # the complement on the same flat grey
        rest = representation.synthesise((1 - mask) * coefficients + mask * representation.analyse(
            grey.expand(representation.shape)))[None].clamp(0, 1)  # fmt: skip
        pictures = torch.cat([flat, rest, noisy[0]])
        targets = torch.full((len(pictures),), instance.target, device=pictures.device)
        values = optimiser.scored(pictures, targets, gradients=False)[0].exp()
        found = {
            "complement": rest[0],
            "probability_mean": float(values[0]),
            "probability_complement": float(values[1]),
            "probability_noise": float(values[2:].mean()),
        }
        return found, len(pictures)


class ShearletX(MaskExplainer):
    """A mask over shearlet coefficients: keeps edges and textures apart from what lies beside them.

    Reference: Kolek et al. 2023, "Explaining image classifiers with multiscale directional image representation",
    arXiv:2211.12857.
    """

    name = "shearletx"
    presets: ClassVar = {"default": settings_of.SHEARLETX, "published": settings_of.SHEARLETX_PUBLISHED}


class WaveletX(MaskExplainer):
    """A mask over wavelet coefficients, with a price on the intensity that is shown.

    Reference: Kolek et al. 2023, arXiv:2211.12857.
    """

    name = "waveletx"
    presets: ClassVar = {"default": settings_of.WAVELETX, "published": settings_of.WAVELETX_PUBLISHED}


class CartoonX(MaskExplainer):
    """A mask over wavelet coefficients: the piece-wise smooth part that keeps the prediction.

    Reference: Kolek et al. 2022, "Cartoon explanations of image classifiers", arXiv:2110.03485.
    """

    name = "cartoonx"
    presets: ClassVar = {"default": settings_of.CARTOONX, "published": settings_of.CARTOONX_PUBLISHED}


class PixelMask(MaskExplainer):
    """A mask over pixels, the rate-distortion explanation; prone to adversarial patterns, kept for comparison.

    Reference: Macdonald et al. 2019, arXiv:1905.11092; Kolek et al. 2022, arXiv:2110.08252.
    """

    name = "pixelmask"
    presets: ClassVar = {"default": settings_of.PIXELMASK, "published": settings_of.PIXELMASK_PUBLISHED}


class SmoothMask(MaskExplainer):
    """A smooth mask over pixels.

    Reference: Fong, Patrick and Vedaldi 2019, "Understanding deep networks via extremal perturbations and smooth
    masks", arXiv:1910.08485.
    """

    name = "smoothmask"
    presets: ClassVar = {"default": settings_of.SMOOTHMASK, "published": settings_of.SMOOTHMASK_PUBLISHED}


def make_representation(name: str, image: Tensor) -> Representation:
    """The representation of a name in ``settings.TRANSFORMS`` for images like ``(C, H, W)``."""
    height, width = image.shape[-2:]
    if name.startswith("shearlet"):
        return shearlet_system(height, width, None, name == "shearlet", image.dtype, image.device)
    if name == "dual_tree":
        return dual_tree_system(height, width, None, image.dtype, image.device)
    if name.startswith("wavelet"):
        extension = "zero" if name.endswith("zero") else "automatic"
        return wavelet_system(height, width, "db3", None, extension, image.dtype, image.device)
    return PixelRepresentation(height, width)


def _without_low_pass(representation: Representation, coefficients: Tensor) -> Tensor:
    """Coefficients with the low-pass, where the representation has one, set to 0."""
    kept = coefficients.clone()
    for band in representation.bands:
        if band.scale == LOW_PASS:
            kept[..., band.place] = 0
    return kept


def _kept(
    representation: Representation, coefficients: Tensor, mask: Tensor, image: Tensor, explanation: Tensor
) -> dict[str, Any]:
    """How much is kept, in coefficients, pixels and entropy; and edges that the image lacks."""
    bands, shape = representation.bands, representation.shape
    kept = mask * coefficients
    weighted, whole = (weighted_magnitude(values, bands, shape).sum(0) for values in (kept, coefficients))
    shares = [float(weighted[band.place].sum() / whole[band.place].sum().clamp_min(1e-12)) for band in bands]
    entropy, entropy_of_all = float(energy_entropy(kept)), float(energy_entropy(coefficients))
    scales = sorted({band.scale for band in bands})
    mean_mask = planes(bands, mask.mean(0))
    by_scale = [
        torch.stack([p for p, band in zip(mean_mask, bands, strict=True) if band.scale == scale]).mean(0)
        for scale in scales
    ]
    hallucinated = hallucination_score(gradient_edges(explanation.mean(0)), gradient_edges(image.mean(0)))
    return {
        "kept_l1": float(weighted.sum() / whole.sum().clamp_min(1e-12)),
        "kept_l1_plain": float(kept.abs().sum() / coefficients.abs().sum().clamp_min(1e-12)),
        "kept_pixels": float(explanation.sum() / image.sum().clamp_min(1e-12)),
        "kept_entropy": entropy / entropy_of_all if entropy_of_all > 0 else 1.0,
        "entropy_gain": entropy - entropy_of_all,
        "hallucination": hallucinated,
        "mask_by_scale": by_scale,
        "kept_by_band": shares,
    }
