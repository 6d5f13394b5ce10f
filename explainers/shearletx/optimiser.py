"""One optimiser for all mask explainers: the smallest mask over a representation that keeps the prediction.

The representation, what replaces the removed parts, the measure of size and the form of the objective are settings.
Each image has its own mask, noise, multipliers and stop, so that images in company fare as they do alone.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from cae.classifiers import TargetClassifier
from explainers.base import Instance
from explainers.shearletx.objective import credited, unit_ranks
from explainers.shearletx.pictures import MaskedPictures
from explainers.shearletx.search_objective import SearchObjective
from explainers.shearletx.search_state import MULTIPLIER_EVERY, Candidate, Outcome, Search
from explainers.shearletx.settings import Settings
from explainers.shearletx.smooth_masks import grid_shape
from explainers.transforms.representation import Representation, energy_entropy

BISECTIONS = 6


class MaskOptimiser:
    """Searches masks for images of one size.

    Args:
        classifier: with gradients.
        representation: T and S for the images' size, type and device.
        settings: of the search.
        batch_size: pictures in one pass of the classifier at most.
    """

    def __init__(
        self, classifier: TargetClassifier, representation: Representation, settings: Settings, batch_size: int
    ):
        self.classifier = classifier
        self.representation = representation
        self.settings = settings
        self.batch_size = batch_size
        self.pictures = MaskedPictures(representation, settings, classifier.image_shape[0])
        self.objective = SearchObjective(representation, settings, self.pictures.counts)

    def __call__(self, instances: Sequence[Instance], start: Tensor | None = None) -> Iterator[Outcome]:
        """Search masks of several images side by side; ``start (M, n)`` takes the place of the initial mask."""
        began = time.perf_counter()
        searches = [self.begin(instance, start) for instance in instances]
        together = max(1, self.batch_size // sum(self.pictures.counts))
        for step in range(self.settings.steps):
            active = [search for search in searches if not search.stopped]
            late = self.settings.budget_seconds is not None
            if not active or (late and time.perf_counter() - began > (self.settings.budget_seconds or 0)):
                break
            for first in range(0, len(active), together):
                self._advance(active[first : first + together], step)
        for search in searches:
            yield self._finish(search)

    def begin(self, instance: Instance, start: Tensor | None = None) -> Search:
        """The state from which the search of one image starts."""
        with torch.no_grad():
            coefficients = self.representation.analyse(instance.image)
            baseline = self.pictures.baseline(instance.image)
            weights = self.objective.weights(coefficients)
        parameter, spent = self._initial(instance, coefficients, start)
        noise = torch.Generator(instance.image.device).manual_seed(instance.generator(0).initial_seed())
        probability = float(instance.probabilities[instance.target])
        credit = self.objective.credit(torch.ones_like(coefficients), coefficients)
        counted = coefficients if credit is None else credited(coefficients, credit)
        return Search(
            instance=instance,
            coefficients=coefficients,
            fill=self.pictures.fill(coefficients, instance.image),
            baseline=baseline,
            weights=weights,
            credit=credit,
            entropy=float(energy_entropy(counted)),
            parameter=parameter,
            optimiser=self._stepper(parameter),
            noise=noise,
            log_probability=math.log(max(probability, 1e-30)),
            multipliers=torch.ones(len(self.pictures.counts)),
            evaluations=spent,
        )

    def scored(self, pictures: Tensor, targets: Tensor, gradients: bool = True) -> tuple[Tensor, Tensor, Tensor]:
        """Log probabilities ``(N,)``, what the objective reads ``(N,)``, and its gradient by the pictures.

        Args:
            pictures: ``(N, C, H, W)``; scored at most ``batch_size`` at once, apart from the transforms' graph.
            targets: ``(N,)`` classes.
            gradients: if not, the third is empty.
        """
        margin = self.settings.form == "area"
        found: list[tuple[Tensor, Tensor, Tensor]] = []
        for part, classes in zip(pictures.split(self.batch_size), targets.split(self.batch_size), strict=True):
            with torch.set_grad_enabled(gradients):
                leaf = part.detach().requires_grad_(gradients)
                with torch.autocast(leaf.device.type, torch.bfloat16, self.settings.mixed and leaf.is_cuda):
                    rows = self.classifier.logits(leaf).to(leaf.dtype).log_softmax(1)
                own = rows.gather(1, classes[:, None])[:, 0]
                value = own - rows.scatter(1, classes[:, None], -math.inf).amax(1) if margin else own
                slope = torch.autograd.grad(value.sum(), leaf)[0] if gradients else leaf.new_empty(0)
            found.append((own.detach(), value.detach(), slope))
        log_p, values, slopes = zip(*found, strict=True)
        return torch.cat(log_p), torch.cat(values), torch.cat(slopes)

    def gradients(self, searches: Sequence[Search], step: int) -> tuple[Tensor, Tensor, Tensor]:
        """Gradient of the objective by the parameters of a group of images.

        Returns:
            The gradient ``(A, ...)``; objective, size and probability of the first composition ``(A, 3)``; and the
            first picture of each image ``(A, C, H, W)``.
        """
        parameters = torch.stack([search.parameter for search in searches]).requires_grad_()
        with torch.enable_grad():
            mask = self.pictures.mask(parameters)
            pictures, intensity = self.pictures.compose(searches, mask)
        images, count = pictures.shape[:2]
        targets = torch.tensor([search.instance.target for search in searches], device=pictures.device)
        flip = self.settings.form == "area" and step % 2 == 1  # as the published smooth masks
        seen = (pictures.flip(-1) if flip else pictures).detach().flatten(0, 1)
        log_p, values, slopes = self.scored(seen, targets.repeat_interleave(count))
        slopes = (slopes.flip(-1) if flip else slopes).unflatten(0, (images, count))
        with torch.enable_grad():
            leaves = values.unflatten(0, (images, count)).requires_grad_()
            costs, sizes = self.objective.value(searches, mask, leaves, intensity)
            (by_value,) = torch.autograd.grad(costs.sum(), leaves, retain_graph=True)
            # the classifier's part of the chain rule joins as a constant times the pictures
            surrogate = (pictures * (slopes * by_value[..., None, None, None])).sum()
            (gradient,) = torch.autograd.grad(costs.sum() + surrogate, parameters)
        shown = log_p.unflatten(0, (images, count))[:, : self.pictures.counts[0]].exp().mean(1)
        report = torch.stack([costs.detach(), sizes.detach(), shown], 1)
        return gradient, report, pictures[:, 0].detach()

    def _initial(self, instance: Instance, coefficients: Tensor, start: Tensor | None) -> tuple[Tensor, int]:
        """The parameter that the search starts from, and the evaluations it took."""
        image = instance.image
        if start is not None:
            return start.to(coefficients).clone(), 0
        if self.settings.smooth:
            return torch.ones(grid_shape(*self.representation.shape), dtype=image.dtype, device=image.device), 0
        rows = len(image) if self.settings.colour else 1
        if self.settings.init == "ones":
            return torch.ones_like(coefficients[:rows]), 0
        _, _, slope = self.scored(image[None], torch.tensor([instance.target], device=image.device))
        steepness = self.representation.analyse(slope[0]).abs()
        return unit_ranks(steepness if rows > 1 else steepness.amax(0, keepdim=True)), 1

    def _stepper(self, parameter: Tensor) -> torch.optim.Optimizer:
        if self.settings.form == "area":
            return torch.optim.SGD([parameter], self.settings.learning_rate, momentum=0.9, dampening=0.9)
        memory = 0.95 if self.settings.form == "constraint" else 0.999
        return torch.optim.Adam([parameter], self.settings.learning_rate, (0.9, memory), foreach=False)

    def _advance(self, searches: Sequence[Search], step: int) -> None:
        """One step of a group of images."""
        if step and step % MULTIPLIER_EVERY == 0:
            for search in searches:
                mask = self.pictures.mask(search.parameter[None])[0]
                search.credit = self.objective.credit(mask, search.coefficients)
        gradients, report, pictures = self.gradients(searches, step)
        chosen = self.settings
        for place, (search, figures) in enumerate(zip(searches, report.tolist(), strict=True)):
            search.evaluations += sum(self.pictures.counts)
            for name, value in zip(search.history, figures, strict=True):
                search.history[name].append(value)
            if chosen.best and chosen.compositions[0] == "displayed":
                least = chosen.accept * math.exp(search.log_probability)
                search.remember(pictures[place], figures[1], figures[2], least)
            self._update(search, gradients[place], step)
            search.update_multipliers()
            search.stopped = search.has_settled(chosen.patience)

    def _update(self, search: Search, gradient: Tensor, step: int) -> None:
        """One step of the image's mask."""
        chosen = self.settings
        for group in search.optimiser.param_groups:
            share = (1 + math.cos(math.pi * step / max(chosen.steps - 1, 1))) / 2
            group["lr"] = chosen.last_rate + (chosen.learning_rate - chosen.last_rate) * share
        if chosen.form == "constraint":
            # a constraint that turns slack drops its gradient a thousandfold; Adam, whose memory of magnitudes is long,
            # would then stand still, so it is given directions alone
            gradient = gradient / gradient.abs().mean().clamp_min(torch.finfo(gradient.dtype).tiny)
        search.parameter.grad = gradient
        search.optimiser.step()
        search.parameter.grad = None
        with torch.no_grad():
            search.parameter.clamp_(0, 1)

    @torch.no_grad()
    def _finish(self, search: Search) -> Outcome:
        bound = self.settings.accept * math.exp(search.log_probability)
        best, repaired = search.best, False
        if best is None:
            best = self._candidate(search, search.parameter)
            if self.settings.best and best.probability < bound:
                best, repaired = self._repair(search, bound), True
        mask = self.pictures.mask(best.parameter[None])
        search.credit = self.objective.credit(mask[0], search.coefficients)
        return Outcome(
            mask=mask[0],
            explanation=best.picture,
            probability=best.probability,
            size=float(self.objective.size([search], mask)[0]),
            feasible=best.probability >= bound,
            repaired=repaired,
            history=search.history,
            evaluations=search.evaluations,
        )

    def _candidate(self, search: Search, parameter: Tensor) -> Candidate:
        """A mask's parameter with its displayed picture, which is scored."""
        picture = self.pictures.shown(self.pictures.mask(parameter[None])[0], search.coefficients)
        targets = torch.tensor([search.instance.target], device=picture.device)
        search.evaluations += 1
        return Candidate(parameter, picture, float(self.scored(picture[None], targets, gradients=False)[0].exp()[0]))

    def _repair(self, search: Search, bound: float) -> Candidate:
        """Bisect the least share of ones that, mixed into the mask, makes it keep enough; ones alone always do."""
        last, low, high = search.parameter, 0.0, 1.0
        best = Candidate(torch.ones_like(last), search.instance.image, math.exp(search.log_probability))
        for _ in range(BISECTIONS):
            share = (low + high) / 2
            candidate = self._candidate(search, last + share * (1 - last))
            if candidate.probability >= bound:
                high, best = share, candidate
            else:
                low = share
        return best
