"""Pictures of the manifold: maps with rings and thumbnails, and traversals row by row."""

from __future__ import annotations

from pathlib import Path

import torch
from manifolds import three_blobs
from pictures import pixels

from cae.manifold.figures import draw_embedding, draw_traversals
from cae.manifold.image_codes import ImageCodes
from cae.manifold.projection import embed
from cae.manifold.traversals import DirectionTraversals

CLASSES = ("healthy", "mass", "cyst")


def test_the_map_is_drawn_with_rings_and_thumbnails(tmp_path: Path):
    cloud, classes = three_blobs()
    labels = classes.clone()
    labels[:5] = (labels[:5] + 1) % 3
    labels[5] = -1  # unknown, no ring
    path = tmp_path / "map.png"
    probabilities, ids = torch.eye(3)[classes] * 0.8 + 0.2 / 3, [str(number) for number in range(60)]
    images = ImageCodes(cloud, probabilities, labels, ids, "test", torch.rand(60, 3, 28, 28))
    draw_embedding(embed(cloud), images, CLASSES, path, "test")
    assert pixels(path).shape[1] > 1000
    assert pixels(path).std() > 10


def test_traversals_are_drawn_row_by_row(tmp_path: Path):
    images, probabilities = torch.rand(2, 5, 1, 28, 28), torch.rand(2, 5, 3).softmax(2)
    positions = ["-2", "-1", "0", "+1", "+2"]
    traversals = DirectionTraversals(images, probabilities, ["axis 1", "longer\naxis 2"], positions, "offset")
    draw_traversals(traversals, CLASSES, tmp_path / "axes.png")
    height, width, _ = pixels(tmp_path / "axes.png").shape
    assert height == 44 + 2 * (168 + 38)
    assert 5 * 176 < width < 5 * 176 + 100
