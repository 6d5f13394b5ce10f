"""LIME: a linear model of how the class's probability depends on which superpixels are there, fitted by captum."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from cae.classifiers import TargetClassifier
from cae.errors import UserError
from explainers.base import Explainer, Instance, InstanceResult
from explainers.option_checks import below
from explainers.superpixels import superpixels

BLUR = 1.0  # standard deviation in pixels of the Gaussian before the superpixels are found


class Lime(Explainer):
    """Weights of a ridge regression from the presence of superpixels to the class's probability.

    Superpixels are found by SLIC; an absent one is filled with its own mean colour. Copies count by how much they
    keep: ``exp(-d^2 / width^2)``, d the cosine distance between which superpixels they have and all. A pixel gets
    the weight of its superpixel, signed, in units of the probability.

    Args:
        classifier: the classifier to explain.
        batch_size: images in one forward pass at most.
        samples: copies with a random half of the superpixels, which are that many evaluations.
        segments: superpixels asked for; SLIC finds about as many.
        kernel_width: width of the kernel above.
        ridge: strength of the penalty on the weights.

    Extras of every image: ``segments (1, H, W)`` int64, the superpixel of each pixel.

    Reference: Ribeiro et al. 2016, arXiv:1602.04938, section 3; Achanta et al. 2012 (SLIC).
    """

    name = "lime"

    def __init__(
        self,
        classifier: TargetClassifier,
        *,
        batch_size: int = 64,
        samples: int = 1000,
        segments: int = 50,
        kernel_width: float = 0.25,
        ridge: float = 1.0,
    ):
        super().__init__(classifier, batch_size=batch_size)
        self.samples = samples
        self.segments = segments
        self.kernel_width = kernel_width
        self.ridge = ridge
        problems = below(self, 2, "samples", "segments")
        if kernel_width <= 0:
            problems.append(f"`kernel_width` must be above 0, but is {kernel_width}.")
        if ridge < 0:
            problems.append(f"`ridge` must not be negative, but is {ridge}.")
        if problems:
            raise UserError(problems)

    def explain_image(self, instance: Instance) -> InstanceResult:
        """Fit the linear model."""
        # with matplotlib, which a list of methods should not wait for
        from captum._utils.models.linear_model import SkLearnRidge
        from captum.attr import Lime as CaptumLime

        image = instance.image.cpu()
        segments = superpixels(image, self.segments, BLUR)[None]
        method = CaptumLime(
            lambda images: self.score(images)[:, instance.target],
            interpretable_model=SkLearnRidge(alpha=self.ridge),
            similarity_func=presence_kernel(self.kernel_width),
            perturb_func=_random_halves(instance.generator()),
        )
        # captum 0.9.0 makes a DataLoader and a linear layer, which both use up global randomness
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            weights = method.attribute(
                image[None],
                baselines=segment_means(image, segments)[None],
                feature_mask=segments[None],
                n_samples=self.samples,
                perturbations_per_eval=self.batch_size,
                return_input_shape=False,
            )
        return InstanceResult(weights.reshape(-1)[segments], {"segments": segments})


def segment_means(image: Tensor, segments: Tensor) -> Tensor:
    """The image ``(C, H, W)`` with every region of ``segments (1, H, W)`` in its mean colour."""
    labels = segments.reshape(-1)
    sums = torch.zeros(len(image), int(labels.max()) + 1).index_add_(1, labels, image.reshape(len(image), -1))
    return (sums / labels.bincount())[:, labels].reshape(image.shape)


def presence_kernel(width: float) -> Callable[..., Tensor]:
    """captum's similarity function ``exp(-d^2 / width^2)``, d the cosine distance of a presence vector to all ones.

    For n of N superpixels present, ``d = 1 - sqrt(n / N)``.
    """

    def similarity(_: Tensor, __: Tensor, present: Tensor, **___: object) -> Tensor:
        distance = 1 - present.float().mean().sqrt()
        return torch.exp(-((distance / width) ** 2))

    return similarity


def _random_halves(generator: torch.Generator) -> Callable[..., Iterator[Tensor]]:
    """captum's source of presence vectors ``(1, N)``: first all superpixels, then a random half of them each time."""

    def presences(_: Tensor, **known: int) -> Iterator[Tensor]:
        count = known["num_interp_features"]
        yield torch.ones(1, count, dtype=torch.int64)
        while True:
            yield torch.randint(0, 2, (1, count), generator=generator)

    return presences
