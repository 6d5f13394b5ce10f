"""Every image of a source decoded once: what its pixels are like, and which files are damaged."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice

import torch
from torch import Tensor
from tqdm.auto import tqdm

from cae.data.inspection import DARK, FLAT
from cae.data.near_duplicates import SIDE, correlation, near_duplicates, thumbnail
from cae.data.splits import SPLITS
from cae.data.types import ImageSet, Splits
from cae.errors import UserError

LIGHT = 0.9  # an image whose least value is above shows next to nothing
BAR_FROM = 500  # images from which on a progress bar is worth its line
AHEAD = 64  # images decoded ahead for each worker


@dataclass(frozen=True, eq=False)
class SplitSurvey:
    """What the images of a split are like.

    Attributes:
        places: of the images that could be read, in their set.
        ids: of these.
        labels: ``(N,)`` of these.
        levels: ``(N, 3)``: least, mean and largest value of each, in [0, 1].
        thumbnails: ``(N, 256)``, standardised; see ``near_duplicates``.
        mask_area: ``(N,)`` share of the image that its mask covers; NaN where it has none.
        problems: the other images, in words.
    """

    places: tuple[int, ...]
    ids: tuple[str, ...]
    labels: Tensor
    levels: Tensor
    thumbnails: Tensor
    mask_area: Tensor
    problems: tuple[str, ...]

    def named(self, chosen: Tensor) -> list[str]:
        """Ids of the images of ``chosen (N,)`` bool."""
        return [self.ids[place] for place in chosen.nonzero()[:, 0].tolist()]

    @property
    def constant(self) -> list[str]:
        """Ids of images of one value everywhere."""
        return self.named(self._flat)

    @property
    def _flat(self) -> Tensor:
        return self.levels[:, 2] - self.levels[:, 0] < FLAT

    @property
    def dark(self) -> list[str]:
        """Ids of images that are nearly black, but not of one value."""
        return self.named((self.levels[:, 2] < DARK) & ~self._flat)

    @property
    def light(self) -> list[str]:
        """Ids of images that are nearly white, but not of one value."""
        return self.named((self.levels[:, 0] > LIGHT) & ~self._flat)


def survey(images: ImageSet, workers: int = 0, progress: bool = False, name: str = "") -> SplitSurvey:
    """Decode every image of a set, on as many threads as there are workers; a damaged file costs no other image."""
    bar = tqdm(total=len(images), desc=f"look at {name}", unit="image", disable=not progress or len(images) < BAR_FROM)
    looks, problems = list[_Look](), list[str]()
    for found in _decoded(images, workers):
        bar.update()
        if isinstance(found, UserError):
            problems += found.problems
        else:
            looks.append(found)
    bar.close()
    return SplitSurvey(
        tuple(look.place for look in looks),
        tuple(look.id for look in looks),
        torch.tensor([look.label for look in looks], dtype=torch.int64),
        torch.stack([look.levels for look in looks]) if looks else torch.zeros(0, 3),
        torch.stack([look.thumbnail for look in looks]) if looks else torch.zeros(0, SIDE**2),
        torch.tensor([look.mask_area for look in looks]),
        tuple(problems),
    )


@dataclass(frozen=True, eq=False)
class _Look:
    """What is kept of one image."""

    place: int
    id: str
    label: int
    levels: Tensor
    thumbnail: Tensor
    mask_area: float


def _decoded(images: ImageSet, workers: int) -> Iterator[_Look | UserError]:
    """A look at every image, in order."""

    def look(place: int) -> _Look | UserError:
        try:
            sample = images[place]
        except UserError as error:
            return error
        image = sample.image
        levels = torch.stack([image.min(), image.mean(), image.max()])
        area = float("nan") if sample.mask is None else float(sample.mask.float().mean())
        return _Look(place, sample.id, sample.label, levels, thumbnail(image), area)

    if workers < 2:
        yield from map(look, range(len(images)))
        return
    with ThreadPoolExecutor(workers) as pool:
        for part in _parts(range(len(images)), AHEAD * workers):
            yield from pool.map(look, part)


def _parts(items: Iterable[int], size: int) -> Iterator[Sequence[int]]:
    source = iter(items)
    while part := list(islice(source, size)):
        yield part


def survey_all(splits: Splits, workers: int = 0, progress: bool = False) -> dict[str, SplitSurvey]:
    """The survey of every split, by name."""
    return {name: survey(getattr(splits, name), workers, progress, f"the {name} split") for name in SPLITS}


@dataclass(frozen=True)
class NearDuplicate:
    """An image, the one of an earlier split that it looks like, by their ids, and their correlation."""

    id: str
    other: str
    correlation: float


def duplicates_across(splits: Splits, surveys: dict[str, SplitSurvey]) -> dict[tuple[str, str], list[NearDuplicate]]:
    """Images of val and test that look like one of an earlier split, by both names, such as ``("test", "train")``."""
    found = {}
    for one, other in (("val", "train"), ("test", "train"), ("test", "val")):
        first, second = surveys[one], surveys[other]
        images, others = getattr(splits, one), getattr(splits, other)

        def compare(i: int, j: int, first=first, second=second, images=images, others=others) -> float:
            return correlation(images[first.places[i]].image, others[second.places[j]].image)

        pairs = near_duplicates(first.thumbnails, second.thumbnails, compare)
        found[one, other] = [NearDuplicate(first.ids[i], second.ids[j], value) for i, j, value in pairs]
    return found
