"""Settings of the mask explainers: what each method is made of, ours and as published."""

from __future__ import annotations

from dataclasses import dataclass, replace

from cae.errors import UserError
from explainers.shearletx.compositions import COMPOSITIONS, NOISES
from explainers.shearletx.objective import SIZES

FORMS = ("constraint", "weighted", "area")
REWARDS = ("maximise", "keep")
STARTS = ("ones", "gradient_rank")
# shearlet_full and wavelet_zero are the published frames: sampled on every pixel, extended by zeros
TRANSFORMS = ("shearlet", "shearlet_full", "wavelet", "wavelet_zero", "dual_tree", "pixel")


@dataclass(frozen=True)
class Settings:
    """What tells one mask explainer from another.

    Attributes:
        form: ``constraint``, smallest mask that keeps the probability; ``weighted``, fixed weights as published;
            ``area``, highest score for a mask of a given area.
        compositions: pictures that must keep the probability, of ``compositions.COMPOSITIONS``.
        samples: noisy pictures per step; even, for they come in pairs of opposite signs, unless the noise is published.
        noise: calibration of the noise, of ``compositions.NOISES``.
        clamp_coefficients: clamp coefficients instead of pixels (the published shearlets).
        size: measure of the mask, of ``objective.SIZES``.
        size_weight: weight of the size.
        spatial_weight: weight of the shown picture's mean intensity.
        reward: of the weighted form: ``maximise`` aims at probability 1, ``keep`` at the image's own.
        keep: share of the image's probability that the displayed picture must keep during the search.
        keep_noise: the same for the other compositions.
        accept: share that the returned picture keeps at least.
        init: ``ones``, or ``gradient_rank`` (Uendes et al. 2025).
        steps: at most.
        learning_rate: of Adam; decays as a cosine to ``last_rate``.
        last_rate: at the last step.
        patience: steps without progress after which an image stops; 0 for never.
        best: return the smallest mask that keeps enough; otherwise the last one.
        colour: a mask for each channel instead of one for all.
        smooth: the mask is a coarse grid made smooth, for pixels only.
        area: share of ones that the area form asks for.
        transform: the representation, of ``TRANSFORMS``.
        jitter: all but the displayed picture are shifted by up to this many whole pixels.
        zoom: pictures of the composition ``moved`` are enlarged or shrunk by up to this share.
        mixed: run the classifier in bfloat16 where it is on an accelerator.
        budget_seconds: stop all images of a group after this time; None for never.
    """

    form: str = "constraint"
    compositions: tuple[str, ...] = ("displayed", "noise")
    samples: int = 4
    noise: str = "global"
    clamp_coefficients: bool = False
    size: str = "coefficients"
    size_weight: float = 1.0
    spatial_weight: float = 0.3
    reward: str = "maximise"
    keep: float = 0.95
    keep_noise: float = 0.9
    accept: float = 0.9
    init: str = "ones"
    steps: int = 150
    learning_rate: float = 0.1
    last_rate: float = 0.01
    patience: int = 30
    best: bool = True
    colour: bool = False
    smooth: bool = False
    area: float = 0.1
    transform: str = "shearlet"
    jitter: int = 0
    zoom: float = 0.0
    mixed: bool = False
    budget_seconds: float | None = None

    @property
    def published_noise(self) -> bool:
        """Whether the noisy pictures are made as the published code makes them."""
        return self.noise == "published"


def problems(settings: Settings) -> list[str]:
    """Everything that is wrong with settings, in sentences."""
    found = []
    words = {"form": FORMS, "size": SIZES, "noise": NOISES, "reward": REWARDS, "init": STARTS, "transform": TRANSFORMS}
    for name, known in words.items():
        if getattr(settings, name) not in known:
            found.append(f"`{name}` must be one of {', '.join(known)}, but is {getattr(settings, name)!r}.")
    if not settings.compositions or not set(settings.compositions) <= set(COMPOSITIONS):
        given = ", ".join(settings.compositions) or "empty"
        found.append(f"`compositions` must be some of {', '.join(COMPOSITIONS)}, but is {given}.")
    elif "pyramid" in settings.compositions and (len(settings.compositions) > 1 or settings.transform != "pixel"):
        found.append("`compositions=pyramid` stands alone, and needs `transform=pixel`.")
    if "moved" in settings.compositions and not settings.jitter and not settings.zoom:
        found.append(
            "`compositions` with `moved` needs `jitter` or `zoom` above 0: unmoved, it is `displayed` once more."
        )
    elif "moved" not in settings.compositions and (settings.jitter or settings.zoom):
        found.append("`jitter` and `zoom` above 0 need `moved` among the `compositions`: set them to 0, or add it.")
    if settings.published_noise and settings.compositions != ("noise",):
        given = ", ".join(settings.compositions)
        found.append(f"`noise=published` needs `compositions=noise` alone, but it is {given}.")
    if settings.samples < 1 or (settings.samples % 2 and not settings.published_noise):
        found.append(f"`samples` must be even and at least 2 (noise comes in pairs), but is {settings.samples}.")
    if settings.smooth and settings.transform != "pixel":
        found.append(f"`smooth` masks need `transform=pixel`, but it is {settings.transform!r}.")
    if (settings.smooth or settings.published_noise or settings.form == "area") and settings.colour:
        found.append("`colour=true` needs one of our own settings: neither smooth masks nor published noise have it.")
    for name in ("keep", "keep_noise", "accept", "area"):
        if not 0 < getattr(settings, name) <= 1:
            found.append(f"`{name}` must be in (0, 1], but is {getattr(settings, name)}.")
    for name in ("size_weight", "spatial_weight", "patience", "jitter", "zoom"):
        if getattr(settings, name) < 0:
            found.append(f"`{name}` must not be negative, but is {getattr(settings, name)}.")
    if settings.steps < 1:
        found.append(f"`steps` must be at least 1, but is {settings.steps}.")
    return found


def checked_settings(settings: Settings, **changes: object) -> Settings:
    """Settings with changes (those that are not None), checked.

    Raises:
        UserError: naming every option that is wrong.
    """
    given = {name: value for name, value in changes.items() if value is not None}
    if isinstance(given.get("compositions"), (str, list)):
        value = given["compositions"]
        given["compositions"] = tuple([value] if isinstance(value, str) else value)  # type: ignore[arg-type]
    changed = replace(settings, **given)  # type: ignore[arg-type]
    if found := problems(changed):
        raise UserError(found)
    return changed


# more steps make masks smaller, maps not measurably more faithful, and convince a second network less often
SHEARLETX = Settings(compositions=("displayed", "moved", "noise"), size="conciseness", jitter=4, zoom=0.2, steps=60)
WAVELETX = Settings(transform="wavelet")
CARTOONX = Settings(transform="wavelet", spatial_weight=0.0)
PIXELMASK = Settings(transform="pixel", spatial_weight=0.0)
SMOOTHMASK = Settings(transform="pixel", spatial_weight=0.0, smooth=True)

# Kolek et al. 2023, arXiv:2211.12857, and 2022, arXiv:2110.03485, as the authors' code has them
SHEARLETX_PUBLISHED = Settings(
    form="weighted", compositions=("noise",), samples=16, noise="published", clamp_coefficients=True, size="entries",
    spatial_weight=2.0, steps=300, last_rate=0.1, patience=0, best=False, transform="shearlet_full",
)  # fmt: skip
WAVELETX_PUBLISHED = replace(
    SHEARLETX_PUBLISHED, clamp_coefficients=False, size_weight=2.0, spatial_weight=10.0, transform="wavelet_zero"
)
CARTOONX_PUBLISHED = replace(WAVELETX_PUBLISHED, spatial_weight=0.0)
PIXELMASK_PUBLISHED = replace(CARTOONX_PUBLISHED, size_weight=1.0, transform="pixel")
# Fong, Patrick and Vedaldi 2019, arXiv:1910.08485, as TorchRay has them
SMOOTHMASK_PUBLISHED = Settings(
    form="area", compositions=("pyramid",), steps=800, learning_rate=0.01, last_rate=0.01, patience=0, best=False,
    transform="pixel", smooth=True, size="entries", spatial_weight=0.0,
)  # fmt: skip
