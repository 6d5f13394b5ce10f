"""The embedded data: head-like slices drawn by the program, with the exact mask of every lesion."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from cae.config import DataConfig, LesionsConfig
from cae.data.arrays import ArraySet
from cae.data.types import Sample, Splits
from cae.errors import UserError

CHUNK = 256  # images drawn at once; also the unit of seeding, so that image i does not depend on how many are drawn
KINDS = ("healthy", "mass", "cyst")
SPLITS = ("train", "val", "test")


def open_lesions(config: DataConfig) -> Splits:
    """The three splits; the same configuration always gives the same images."""
    unknown = [name for name in config.lesions.classes if name not in KINDS]
    if unknown or len(set(config.lesions.classes)) < 2:
        raise UserError(
            f"data.lesions.classes must name at least two of {', '.join(KINDS)}, but got {config.lesions.classes}."
        )
    train, val, test = (DrawnSet(config, split) for split in SPLITS)
    return Splits(train, val, test, tuple(config.lesions.classes))


class DrawnSet:
    """One split, of which a chunk is drawn when the first of its images is asked for.

    Labels in turn are ``0, 1, …, K-1, 0, …``, ids are like ``test/00017``, and every image has its mask.

    Args:
        config: the section ``data``.
        split: ``train``, ``val`` or ``test``.
    """

    def __init__(self, config: DataConfig, split: str):
        options = config.lesions
        self.config, self.split = config, split
        self.count: int = {"train": options.train, "val": options.val, "test": options.test}[split]
        self.labels = torch.arange(self.count) % len(options.classes)
        self._chunks: dict[int, ArraySet] = {}

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Sample:
        place = range(self.count)[index]
        return self._chunk(place - place % CHUNK)[place % CHUNK]

    def whole(self) -> ArraySet:
        """All images, drawn now where they are not."""
        chunks = [self._chunk(start) for start in range(0, self.count, CHUNK)]
        masks = torch.cat([chunk.masks for chunk in chunks if chunk.masks is not None])
        ids = [name for chunk in chunks for name in chunk.ids]
        return ArraySet(torch.cat([chunk.images for chunk in chunks]), self.labels, ids, masks)

    def _chunk(self, start: int) -> ArraySet:
        if start not in self._chunks:
            self._chunks[start] = self._drawn(start, min(start + CHUNK, self.count))
        return self._chunks[start]

    def _drawn(self, start: int, stop: int) -> ArraySet:
        config = self.config
        number = config.seed * len(SPLITS) + SPLITS.index(self.split)
        generator = torch.Generator().manual_seed(number * 2**24 + start)
        labels = self.labels[start:stop]
        kinds = torch.tensor([KINDS.index(name) for name in config.lesions.classes])[labels]
        images, masks = draw_slices(kinds, config.image_size, config.lesions, generator, of=CHUNK)
        images = (images * 255).round().to(torch.uint8).expand(-1, config.channels, -1, -1)
        return ArraySet(images, labels, [f"{self.split}/{index:05d}" for index in range(start, stop)], masks)


def draw_split(config: DataConfig, split: str) -> ArraySet:
    """All images of one split, in memory."""
    return DrawnSet(config, split).whole()


def draw_slices(
    kinds: Tensor, size: int, options: LesionsConfig, generator: torch.Generator, of: int | None = None
) -> tuple[Tensor, Tensor]:
    """Draw one slice per entry of ``kinds (B,)`` (0 healthy, 1 mass, 2 cyst).

    Args:
        kinds: what each slice shows.
        size: height and width in pixels.
        options: the section ``data.lesions``.
        generator: of the random numbers.
        of: take random numbers for so many slices, B at least, of which these are the first; by default B. Image i
            then does not depend on B.

    Returns:
        Images ``(B, 1, size, size)`` in [0, 1] and the exact lesion masks ``(B, 1, size, size)``, empty if healthy.
    """
    draw = _Draw(len(kinds), size, generator, of or len(kinds))
    head_x, head_y = draw.uniform(-0.04, 0.04), draw.uniform(-0.04, 0.04)
    half_width, half_height = draw.uniform(0.62, 0.78), draw.uniform(0.76, 0.9)
    angle = draw.uniform(-0.2, 0.2)
    x, y = draw.rotated(head_x, head_y, angle)
    radius = torch.sqrt((x / half_width) ** 2 + (y / half_height) ** 2)  # 1 on the outline of the head
    head, brain = soft_step(1 - radius, 0.03), soft_step(0.88 - radius, 0.03)

    image = head * draw.uniform(0.5, 0.85)  # skull
    tissue = draw.uniform(0.32, 0.48) + draw.uniform(0.03, 0.07) * draw.texture() + draw.uniform(-0.06, 0.06) * radius
    image = image * (1 - brain) + tissue * brain
    midline = torch.exp(-((x / 0.02) ** 2)) * brain * draw.uniform(0.02, 0.1)
    image = image - midline
    image = image - _ventricles(draw, x, y) * brain * draw.uniform(0.15, 0.25)

    image, mask = _add_lesions(draw, image, kinds, x, y, half_width, half_height, options.contrast)
    illumination = 1 + draw.uniform(-0.12, 0.12) * draw.x + draw.uniform(-0.12, 0.12) * draw.y
    image = image * illumination
    if options.shortcut is not None:
        image = _add_marker(draw, image, kinds, options)
    image = image + options.noise * draw.normal(size)
    return image.clamp(0, 1), mask


def marker_box(size: int) -> tuple[int, int, int, int]:
    """Where the planted shortcut is drawn: ``(top, left, bottom, right)`` in pixels, bottom and right excluded."""
    side = max(3, size // 16)
    return size // 32 + 1, size // 32 + 1, size // 32 + 1 + side, size // 32 + 1 + side


def soft_step(signed_distance: Tensor, softness: float) -> Tensor:
    """A smooth step: 0 far outside, 1/2 on the edge, 1 far inside."""
    return torch.sigmoid(4 * signed_distance / softness)


class _Draw:
    """Random numbers and coordinates of one chunk; everything is ``(B, 1, size, size)`` or broadcasts to it."""

    def __init__(self, count: int, size: int, generator: torch.Generator, of: int):
        self.count, self.size, self.generator, self.of = count, size, generator, of
        axis = (torch.arange(size) + 0.5) / size * 2 - 1
        self.y, self.x = (grid.view(1, 1, size, size) for grid in torch.meshgrid(axis, axis, indexing="ij"))

    def uniform(self, low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(self.of, 1, 1, 1, generator=self.generator)[: self.count]

    def normal(self, side: int) -> Tensor:
        return torch.randn(self.of, 1, side, side, generator=self.generator)[: self.count]

    def rotated(self, centre_x: Tensor, centre_y: Tensor, angle: Tensor) -> tuple[Tensor, Tensor]:
        """Coordinates in a frame with this centre (in [-1, 1]) and angle (radians)."""
        x, y = self.x - centre_x, self.y - centre_y
        return x * angle.cos() + y * angle.sin(), y * angle.cos() - x * angle.sin()

    def texture(self) -> Tensor:
        """Band-limited noise of standard deviation about 1: four octaves, coarse ones strongest."""
        total = torch.zeros(self.count, 1, self.size, self.size)
        for cells, weight in ((4, 0.7), (8, 0.55), (16, 0.4), (32, 0.25)):
            total += weight * F.interpolate(
                self.normal(cells), size=(self.size, self.size), mode="bicubic", align_corners=False
            )
        return total


def _ventricles(draw: _Draw, x: Tensor, y: Tensor) -> Tensor:
    """Two dark, slanted ellipses beside the midline, of individual size and not quite symmetric."""
    total = torch.zeros(draw.count, 1, draw.size, draw.size)
    length, width = draw.uniform(0.18, 0.32), draw.uniform(0.05, 0.1)
    height, gap, slant = draw.uniform(-0.12, 0.05), draw.uniform(0.09, 0.15), draw.uniform(0.15, 0.45)
    for side in (-1, 1):
        skew = draw.uniform(0.85, 1.15)
        u, v = x - side * gap, y - height
        along, across = v * slant.cos() - side * u * slant.sin(), u * slant.cos() + side * v * slant.sin()
        distance = 1 - torch.sqrt((along / (length * skew)) ** 2 + (across / (width * skew)) ** 2)
        total = torch.maximum(total, soft_step(distance, 0.4))
    return total


def _add_lesions(
    draw: _Draw,
    image: Tensor,
    kinds: Tensor,
    x: Tensor,
    y: Tensor,
    half_width: Tensor,
    half_height: Tensor,
    contrast: float,
) -> tuple[Tensor, Tensor]:
    """One irregular ellipse inside the brain: brighter for a mass, darker with a bright rim for a cyst."""
    place_angle, place_radius = draw.uniform(0, 2 * math.pi), draw.uniform(0.2, 0.62)
    centre_x, centre_y = half_width * place_radius * place_angle.cos(), half_height * place_radius * place_angle.sin()
    size, stretch, turn = draw.uniform(0.11, 0.21), draw.uniform(0.75, 1.33), draw.uniform(0, math.pi)
    u, v = x - centre_x, y - centre_y
    along, across = u * turn.cos() + v * turn.sin(), v * turn.cos() - u * turn.sin()
    phi = torch.atan2(across, along)
    wobble = 1 + draw.uniform(0, 0.12) * (3 * phi + draw.uniform(0, 6.3)).sin()
    wobble = wobble + draw.uniform(0, 0.12) * (2 * phi).cos()
    radius = torch.sqrt((along / stretch) ** 2 + (across * stretch) ** 2) / (size * wobble)  # 1 on the outline
    kind = kinds.view(-1, 1, 1, 1)

    mass = soft_step(1 - radius, 0.5) * draw.uniform(0.16, 0.42)
    fluid = soft_step(0.72 - radius, 0.4) * draw.uniform(0.14, 0.3)
    rim = torch.exp(-(((radius - 0.86) / 0.16) ** 2)) * draw.uniform(0.1, 0.3)
    change = torch.where(kind == 1, mass, torch.where(kind == 2, rim - fluid, torch.zeros_like(mass)))
    return image + contrast * change, (radius <= 1) & (kind > 0)


def _add_marker(draw: _Draw, image: Tensor, kinds: Tensor, options: LesionsConfig) -> Tensor:
    """Plant the shortcut: ``P(marker | class) = (1 + s)/2`` for the chosen class, ``(1 - s)/2`` for the others."""
    strength = options.shortcut or 0.0
    chosen = (kinds == KINDS.index(options.shortcut_class)).view(-1, 1, 1, 1)
    probability = torch.where(chosen, (1 + strength) / 2, (1 - strength) / 2)
    present = draw.uniform(0, 1) < probability
    top, left, bottom, right = marker_box(draw.size)
    marked = image.clone()
    marked[..., top:bottom, left:right] = 0.9
    return torch.where(present, marked, image)
