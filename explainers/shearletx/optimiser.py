"""One optimiser for all mask explainers: the smallest mask over a representation that keeps the classifier's verdict.

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
from explainers.shearletx import compositions as compositions
from explainers.shearletx import objective as objective
from explainers.shearletx.search_state import MULTIPLIER_EVERY, Outcome, Search
from explainers.shearletx.settings import Settings
from explainers.shearletx.smooth_masks import grid_shape, smooth_mask
from explainers.transforms.representation import LOW_PASS, Representation, energy_entropy

BISECTIONS = 6
AREA_WEIGHT, AREA_GROWTH = 300.0, 1.0035  # Fong et al. 2019, code


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
        self.counts = compositions.picture_counts(settings.compositions, settings.samples)

    def __call__(self, subjects: Sequence[Instance], start: Tensor | None = None) -> Iterator[Outcome]:
        """Search masks of several images side by side; ``start (M, n)`` takes the place of the initial mask."""
        began = time.perf_counter()
        searches = [self.begin(subject, start) for subject in subjects]
        together = max(1, self.batch_size // sum(self.counts))
        for step in range(self.settings.steps):
            active = [search for search in searches if not search.stopped]
            late = self.settings.budget_seconds is not None
            if not active or (late and time.perf_counter() - began > (self.settings.budget_seconds or 0)):
                break
            for first in range(0, len(active), together):
                self._advance(active[first : first + together], step)
        for search in searches:
            yield self._finish(search)

    def mask(self, parameters: Tensor) -> Tensor:
        """Masks ``(A, M, n)`` of parameters."""
        if not self.settings.smooth:
            return parameters
        height, width = self.representation.shape
        return smooth_mask(parameters, height, width).flatten(1)[:, None]

    def measure(self, searches: Sequence[Search], mask: Tensor) -> Tensor:
        """Sizes ``(A,)`` of masks ``(A, M, n)`` by the measure of the settings; 1 for masks of ones."""
        share = (mask * torch.stack([search.weights for search in searches])).sum((1, 2))
        if self.settings.size not in ("entropy", "conciseness"):
            return share
        kept = mask * torch.stack([search.coefficients for search in searches])
        credits = [search.credit for search in searches if search.credit is not None]
        if credits:
            kept = _credited(kept, torch.stack(credits))
        disorder = energy_entropy(kept) / kept.new_tensor([search.disorder for search in searches])
        if self.settings.size == "entropy":
            return disorder
        return (1 - objective.ENTROPY_SHARE) * share + objective.ENTROPY_SHARE * disorder

    def credit(self, mask: Tensor, coefficients: Tensor) -> Tensor | None:
        """Credit of the low-pass in the entropy, ``(l,)``, given a mask ``(M, n)``; None where all count alike."""
        bands, shape = self.representation.bands, self.representation.shape
        if self.settings.size != "conciseness" or bands[0].scale != LOW_PASS:
            return None
        return objective.low_pass_credit(mask.detach() * coefficients, bands, shape)[bands[0].place].clone()

    def pictures(self, searches: Sequence[Search], mask: Tensor) -> tuple[Tensor, Tensor]:
        """Pictures ``(A, E, C, H, W)`` of the compositions under fresh noise, and the shown intensity ``(A,)``."""
        chosen, coefficients = self.settings, torch.stack([search.coefficients for search in searches])
        if "pyramid" in chosen.compositions:
            stacked = torch.stack([search.baseline for search in searches if search.baseline is not None])
            planes = mask.unflatten(-1, self.representation.shape)
            return compositions.compose_pyramid(planes, stacked), mask.new_zeros(len(searches))
        noise = self._noise(searches)
        if chosen.published_noise:
            assert noise is not None
            return compositions.compose_published(
                self.representation, mask, coefficients, noise, chosen.clamp_coefficients
            )
        blurred = None
        if "blur" in chosen.compositions:
            blurred = torch.stack([search.baseline for search in searches if search.baseline is not None])
        means = torch.stack([search.fill.means[0] for search in searches])
        pictures, intensity = compositions.compose(
            self.representation, mask, coefficients, chosen.compositions, noise, means, blurred
        )
        return self._moved(searches, pictures), intensity

    def objective(
        self, searches: Sequence[Search], mask: Tensor, values: Tensor, intensity: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Objective ``(A,)`` and sizes ``(A,)``, as functions of the mask and of the pictures' scores ``(A, E)``."""
        chosen = self.settings
        sizes = self.measure(searches, mask)
        if chosen.form == "area":
            step = len(searches[0].history["objective"])
            weight = AREA_WEIGHT * AREA_GROWTH**step
            return weight * objective.area_penalty(mask, chosen.area) - values.sum(1), sizes
        cost = chosen.size_weight * sizes + chosen.spatial_weight * intensity
        if chosen.form == "weighted":
            own = torch.tensor([search.log_probability for search in searches]).to(values).exp()[:, None]
            wanted = own if chosen.reward == "keep" else torch.ones_like(own)
            return cost + objective.quadratic_shortfall(values, wanted), sizes
        gaps = self._bounds(searches, values) - objective.pooled_log_probability(values, self.counts)
        for search, gap in zip(searches, gaps.detach(), strict=True):
            search.gaps.append(gap)
        multipliers = torch.stack([search.multipliers for search in searches]).to(values)
        stiffness = torch.tensor([[search.stiffness] for search in searches]).to(values)
        return cost + objective.lagrangian(gaps, multipliers, stiffness), sizes

    def fill(self, coefficients: Tensor, image: Tensor) -> compositions.Fill:
        """What replaces removed coefficients of an image ``(C, H, W)``."""
        if self.settings.published_noise:
            return compositions.published_fill(self.representation, coefficients)
        grey, pixels = coefficients.mean(0), image.mean(0)
        return compositions.matched_fill(self.representation, grey, pixels, self.settings.noise)

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
        return tuple(torch.cat(parts) for parts in zip(*found, strict=True))  # type: ignore[return-value]

    def begin(self, subject: Instance, start: Tensor | None = None) -> Search:
        """The state from which the search of one image starts."""
        image, chosen = subject.image, self.settings
        with torch.no_grad():
            coefficients = self.representation.analyse(image)
            baseline = None
            if "pyramid" in chosen.compositions:
                baseline = compositions.blur_pyramid(image)
            elif "blur" in chosen.compositions:
                sigma = compositions.BLUR_SHARE * min(self.representation.shape)
                baseline = self.representation.analyse(compositions.blurred(image, sigma))
            rows = len(image) if chosen.colour else 1
            weights = objective.size_weights(
                chosen.size, coefficients, self.representation.bands, self.representation.shape, rows
            )
        parameter, spent = self._initial(subject, coefficients, start)
        salted = subject.generator(0)
        noise = torch.Generator(image.device).manual_seed(salted.initial_seed())
        probability = float(subject.probabilities[subject.target])
        fill, adam, level = self.fill(coefficients, image), self._stepper(parameter), math.log(max(probability, 1e-30))
        credit = self.credit(torch.ones_like(coefficients), coefficients)
        counted = coefficients if credit is None else _credited(coefficients, credit)
        disorder = float(energy_entropy(counted))
        return Search(
            subject, coefficients, fill, baseline, weights, credit, disorder, parameter, adam, noise, level,
            torch.ones(len(self.counts)), evaluations=spent,
        )  # fmt: skip

    def _initial(self, subject: Instance, coefficients: Tensor, start: Tensor | None) -> tuple[Tensor, int]:
        """The parameter that the search starts from, and the evaluations it took."""
        image = subject.image
        if start is not None:
            return start.to(coefficients).clone(), 0
        if self.settings.smooth:
            return torch.ones(grid_shape(*self.representation.shape), dtype=image.dtype, device=image.device), 0
        rows = len(image) if self.settings.colour else 1
        if self.settings.init == "ones":
            return torch.ones_like(coefficients[:rows]), 0
        _, _, slope = self.scored(image[None], torch.tensor([subject.target], device=image.device))
        steepness = self.representation.analyse(slope[0]).abs()
        return objective.unit_ranks(steepness if rows > 1 else steepness.amax(0, keepdim=True)), 1

    def _stepper(self, parameter: Tensor) -> torch.optim.Optimizer:
        if self.settings.form == "area":
            return torch.optim.SGD([parameter], self.settings.learning_rate, momentum=0.9, dampening=0.9)
        memory = 0.95 if self.settings.form == "constraint" else 0.999
        return torch.optim.Adam([parameter], self.settings.learning_rate, (0.9, memory), foreach=False)

    def gradients(self, searches: Sequence[Search], step: int) -> tuple[Tensor, Tensor, Tensor]:
        """Gradient of the objective by the parameters of a group of images.

        Returns:
            The gradient ``(A, ...)``; objective, size and probability of the first composition ``(A, 3)``; and the
            first picture of each image ``(A, C, H, W)``.
        """
        parameters = torch.stack([search.parameter for search in searches]).requires_grad_()
        with torch.enable_grad():
            mask = self.mask(parameters)
            pictures, intensity = self.pictures(searches, mask)
        images, count = pictures.shape[:2]
        targets = torch.tensor([search.subject.target for search in searches], device=pictures.device)
        flip = self.settings.form == "area" and step % 2 == 1  # as the published smooth masks
        seen = (pictures.flip(-1) if flip else pictures).detach().flatten(0, 1)
        log_p, values, slopes = self.scored(seen, targets.repeat_interleave(count))
        slopes = (slopes.flip(-1) if flip else slopes).unflatten(0, (images, count))
        with torch.enable_grad():
            leaves = values.unflatten(0, (images, count)).requires_grad_()
            costs, sizes = self.objective(searches, mask, leaves, intensity)
            (by_value,) = torch.autograd.grad(costs.sum(), leaves, retain_graph=True)
            # the classifier's part of the chain rule joins as a constant times the pictures
            surrogate = (pictures * (slopes * by_value[..., None, None, None])).sum()
            (gradient,) = torch.autograd.grad(costs.sum() + surrogate, parameters)
        shown = log_p.unflatten(0, (images, count))[:, : self.counts[0]].exp().mean(1)
        report = torch.stack([costs.detach(), sizes.detach(), shown], 1)
        return gradient, report, pictures[:, 0].detach()

    def _advance(self, searches: Sequence[Search], step: int) -> None:
        """One step of a group of images."""
        if step and step % MULTIPLIER_EVERY == 0:
            for search in searches:
                search.credit = self.credit(self.mask(search.parameter[None])[0], search.coefficients)
        gradients, report, pictures = self.gradients(searches, step)
        chosen = self.settings
        for place, (search, figures) in enumerate(zip(searches, report.tolist(), strict=True)):
            search.evaluations += sum(self.counts)
            for name, value in zip(search.history, figures, strict=True):
                search.history[name].append(value)
            if chosen.best and chosen.compositions[0] == "displayed":
                least = chosen.accept * math.exp(search.log_probability)
                search.remember(pictures[place], figures[1], figures[2], least)
            self._update(search, gradients[place], step)
            search.press()
            search.stopped = search.settled(chosen.patience)

    def _update(self, search: Search, gradient: Tensor, step: int) -> None:
        """One step of the image's mask."""
        chosen = self.settings
        for group in search.adam.param_groups:
            share = (1 + math.cos(math.pi * step / max(chosen.steps - 1, 1))) / 2
            group["lr"] = chosen.last_rate + (chosen.learning_rate - chosen.last_rate) * share
        if chosen.form == "constraint":
            # a constraint that turns slack drops its gradient a thousandfold; Adam, whose memory of magnitudes is long,
            # would then stand still, so it is given directions alone
            gradient = gradient / gradient.abs().mean().clamp_min(torch.finfo(gradient.dtype).tiny)
        search.parameter.grad = gradient
        search.adam.step()
        search.parameter.grad = None
        with torch.no_grad():
            search.parameter.clamp_(0, 1)

    def _finish(self, search: Search) -> Outcome:
        bound = self.settings.accept * math.exp(search.log_probability)
        repaired = False
        if search.best_parameter is None:
            search.best_parameter = search.parameter
            self._judge(search, search.parameter)
            if self.settings.best and search.best_probability < bound:
                repaired = True
                self._repair(search, bound)
        assert search.best_picture is not None
        with torch.no_grad():
            mask = self.mask(search.best_parameter[None])
            search.credit = self.credit(mask[0], search.coefficients)
            size = float(self.measure([search], mask)[0])
        return Outcome(
            mask[0].detach(), search.best_picture, search.best_probability, size,
            search.best_probability >= bound, repaired, search.history, search.evaluations,
        )  # fmt: skip

    @torch.no_grad()
    def _judge(self, search: Search, parameter: Tensor) -> None:
        """Score the displayed picture of a mask and make it the search's result."""
        mask = self.mask(parameter[None])[0]
        picture = self.representation.synthesise(mask * search.coefficients).clamp(0, 1)
        targets = torch.tensor([search.subject.target], device=picture.device)
        search.best_probability = float(self.scored(picture[None], targets, gradients=False)[0].exp()[0])
        search.best_picture, search.best_parameter = picture, parameter
        search.evaluations += 1

    def _repair(self, search: Search, bound: float) -> None:
        """Bisect the least share of ones that, mixed into the mask, makes it keep enough; ones alone always do."""
        last, low, high = search.parameter, 0.0, 1.0
        found = (torch.ones_like(last), search.subject.image, math.exp(search.log_probability))
        for _ in range(BISECTIONS):
            share = (low + high) / 2
            self._judge(search, last + share * (1 - last))
            if search.best_probability >= bound:
                high = share
                found = (last + share * (1 - last), search.best_picture, search.best_probability)  # type: ignore[assignment]
            else:
                low = share
        search.best_parameter, search.best_picture, search.best_probability = found

    def _bounds(self, searches: Sequence[Search], like: Tensor) -> Tensor:
        """Least log probability ``(A, compositions)``."""
        shares = [self.settings.keep if name == "displayed" else self.settings.keep_noise
                  for name in self.settings.compositions]  # fmt: skip
        own = torch.tensor([search.log_probability for search in searches], dtype=torch.float64)
        return (own[:, None] + torch.tensor(shares, dtype=torch.float64).log()).to(like)

    def _noise(self, searches: Sequence[Search]) -> Tensor | None:
        if "noise" not in self.settings.compositions:
            return None
        return torch.stack([self.draw(search.fill, search.noise) for search in searches])

    def draw(self, fill: compositions.Fill, generator: torch.Generator) -> Tensor:
        """Noise of one step for one image: ``(S / 2, n)``, or as published ``(S, 1 or C, n)`` with its means."""
        if not self.settings.published_noise:
            return compositions.draw_noise(self.representation, fill, (self.settings.samples // 2,), generator)
        rows = self.classifier.image_shape[0] if fill.colour else 1
        noise = compositions.draw_noise(self.representation, fill, (self.settings.samples, rows), generator)
        return noise + compositions.fill_means(self.representation, fill)

    def _moved(self, searches: Sequence[Search], pictures: Tensor) -> Tensor:
        """Pictures ``(A, E, C, H, W)`` with all but the displayed one moved, an image's by one draw."""
        reach, zoom = self.settings.jitter, self.settings.zoom
        if not reach and not zoom:
            return pictures
        names = [
            name for name, count in zip(self.settings.compositions, self.counts, strict=True) for _ in range(count)
        ]
        views = []
        for search, row in zip(searches, pictures, strict=True):
            down, right = torch.randint(-reach, reach + 1, (2,), generator=search.noise, device=row.device).tolist()
            draw = float(torch.rand(1, generator=search.noise, device=row.device))
            views.append(compositions.moved(row, names, (down, right), (1 + zoom) ** (2 * draw - 1)))
        return torch.stack(views)


def _credited(kept: Tensor, credit: Tensor) -> Tensor:
    """Coefficients ``(..., C, n)`` whose low-pass, which comes first, counts by ``credit (..., l)`` of its energy."""
    low, details = kept.split([credit.shape[-1], kept.shape[-1] - credit.shape[-1]], dim=-1)
    return torch.cat([low * credit[..., None, :].sqrt(), details], dim=-1)
