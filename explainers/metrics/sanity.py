"""Does a map depend on what the classifier has learnt? On its parameters, and on the class asked for."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Sequence

import torch
from skimage.metrics import structural_similarity
from torch import Tensor, nn

from cae.classifiers import TargetClassifier
from cae.errors import UserError
from cae.metrics.statistics import defined, spearman
from explainers.base import Explainer, image_seed
from explainers.metrics.seeds import generator

STAGES = 5


def randomised(classifier: TargetClassifier, stage: int, stages: int = STAGES, seed: int = 0) -> TargetClassifier:
    """A copy of the classifier with its last layers re-initialised; the classifier itself stays as it is.

    Layers that know how to start anew do so. All other tensors (class tokens, position embeddings, layer scales) are
    redrawn by name: parameters from a normal distribution of their own mean and spread, buffers shuffled, so that the
    scale of what they hold stays sane.

    Args:
        classifier: a network; its preprocessing is kept.
        stage: 1 for the head alone, ``stages`` for everything.
        stages: number of stages.
        seed: of the new weights.

    Raises:
        UserError: for a black box, which has no weights.
    """
    if not isinstance(classifier.network, nn.Module):
        raise UserError("Parameter randomisation needs the weights of the classifier, which a black box does not show.")
    device = next(classifier.parameters(), torch.empty(0)).device
    changed = copy.deepcopy(classifier).cpu()  # the same new weights, whatever the device
    network = changed.get_submodule("network")
    layers = [layer for layer in network.modules() if _own_tensors(layer)]
    # in the order of registration, which is from the input to the head in all common networks
    count = 1 if stage == 1 else max(1, round(len(layers) * stage / stages))
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        for place in range(len(layers) - count, len(layers)):
            noise = generator(seed, "layer", place)
            torch.manual_seed(noise.initial_seed())
            _restart(layers[place], noise)
    return changed.to(device)


def _own_tensors(layer: nn.Module) -> list[Tensor]:
    return [*layer.parameters(recurse=False), *layer.buffers(recurse=False)]


def _restart(layer: nn.Module, noise: torch.Generator) -> None:
    """Re-initialise the tensors that a layer holds itself: by its own reset, and by hand what that does not reach."""
    tensors = [tensor for tensor in _own_tensors(layer) if tensor.is_floating_point()]
    learnt = [tensor.clone() for tensor in tensors]
    reset = getattr(layer, "reset_parameters", None)
    for tensor in tensors:
        tensor.fill_(torch.nan)
    if callable(reset):
        reset()
    for tensor, old in zip(tensors, learnt, strict=True):
        if bool(tensor.isnan().any()):
            tensor.copy_(_redrawn(old, noise) if isinstance(tensor, nn.Parameter) else _shuffled(old, noise))


def _shuffled(values: Tensor, noise: torch.Generator) -> Tensor:
    return values.flatten()[torch.randperm(values.numel(), generator=noise)].view_as(values)


def _redrawn(weight: Tensor, noise: torch.Generator) -> Tensor:
    """Normal numbers of the tensor's own mean and spread; of its magnitude around 0 where it is constant."""
    values = weight.double()
    spread = float(values.std(correction=0))
    centre, width = (float(values.mean()), spread) if spread > 0 else (0.0, float(values.abs().max()) or 1.0)
    return centre + width * torch.randn(values.shape, generator=noise, dtype=torch.float64)


def on_classifier(explainer: Explainer, classifier: TargetClassifier) -> Explainer:
    """The same method with the same settings for another classifier; the explainer itself stays as it is."""
    names = set(inspect.signature(type(explainer).__init__).parameters) - {"self", "classifier"}
    twin = type(explainer)(classifier, **{name: getattr(explainer, name) for name in names})
    twin.name = explainer.name
    return twin


def mprt(
    explainer: Explainer,
    images: Tensor,
    target: Sequence[int],
    seed: int = 0,
    stages: int = STAGES,
    originals: Tensor | None = None,
) -> list[dict[str, float | None]]:
    """Likeness of the maps to those of classifiers re-initialised from the head downwards; a good method falls to 0.

    Args:
        explainer: to be tested, on a classifier with weights.
        images: ``(B, C, H, W)`` in [0, 1].
        target: class to explain of each image, also of the re-initialised classifiers.
        seed: of the explainer and of the new weights.
        stages: number of re-initialised classifiers.
        originals: the maps ``(B, 1, H, W)`` of the images, where they are known already.

    Returns:
        for each image, rank correlation ``mprt``, of absolute values ``mprt_abs``, and structural similarity
        ``mprt_ssim``: means over the stages, and ``.._last`` with everything re-initialised. None for constant maps.

    Reference: Adebayo et al. 2018, Sanity Checks for Saliency Maps, arXiv:1810.03292, cascading randomisation.
    """
    before = (explainer(images, list(target), seed).attribution if originals is None else originals)[:, 0]
    found: list[dict[str, list[float | None]]] = [{} for _ in before]
    for stage in range(1, stages + 1):
        twin = on_classifier(explainer, randomised(explainer.classifier, stage, stages, seed))
        maps = twin(images, list(target), seed).attribution[:, 0]
        for values, original, other in zip(found, before, maps, strict=True):
            for name, value in likeness(original, other).items():
                values.setdefault(name, []).append(value)
    return [_summary(values) for values in found]


def _summary(values: dict[str, list[float | None]]) -> dict[str, float | None]:
    """Mean over the stages that are defined, and the last stage."""
    found: dict[str, float | None] = {}
    for name, column in values.items():
        defined = [value for value in column if value is not None]
        found[name] = sum(defined) / len(defined) if defined else None
    return found | {f"{name}_last": column[-1] for name, column in values.items()}


def likeness(one: Tensor, other: Tensor) -> dict[str, float | None]:
    """How alike two maps ``(H, W)`` are: ``mprt``, ``mprt_abs`` and ``mprt_ssim``."""
    return {
        "mprt": defined(spearman(one.flatten(), other.flatten())),
        "mprt_abs": defined(spearman(one.abs().flatten(), other.abs().flatten())),
        "mprt_ssim": map_similarity(one, other),
    }


def map_similarity(one: Tensor, other: Tensor) -> float | None:
    """Structural similarity of two maps ``(H, W)``, each divided by its largest absolute value; None for zero maps.

    None too for maps smaller than the 7 x 7 window.
    """
    if min(one.shape) < 7 or not bool(one.any()) or not bool(other.any()):
        return None
    planes = [(values / values.abs().max()).detach().double().cpu().numpy() for values in (one, other)]
    return float(structural_similarity(*planes, data_range=2.0))


def random_logit(
    explainer: Explainer, image: Tensor, target: int, seed: int = 0, original: Tensor | None = None
) -> float | None:
    """Rank correlation of the map ``(C, H, W)`` of the target with that of another class, drawn by the seed.

    Low is good for methods that claim to be specific to the class; None for the others. ``original`` is the map
    ``(1, H, W)`` of the target where it is known already.

    Reference: Sixt et al. 2020, When Explanations Lie, arXiv:1912.09818, random logit.
    """
    if not explainer.class_specific:
        return None
    classes = len(explainer.classifier.classes)
    step = int(torch.randint(1, classes, (), generator=generator(image_seed(image, seed), "other class")))
    before = explainer(image[None], target, seed).attribution[0] if original is None else original
    after = explainer(image[None], (target + step) % classes, seed).attribution[0]
    return defined(spearman(before.flatten(), after.flatten()))
