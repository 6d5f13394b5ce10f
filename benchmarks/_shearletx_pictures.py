"""Pictures of the mask explainers for the documents, of photographs that scikit-image brings along."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import skimage.data
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from cae.canvas import FAINT, INK, PAPER, tile
from cae.classifiers.imagenet import load_imagenet_classifier
from cae.lettering import font
from explainers import get_explainer
from explainers.explanation import Explanation
from explainers.shearletx.figures import mask_figure

PHOTOGRAPHS = ("chelsea", "coffee", "rocket")
FAMILY = {
    "shearletx": "ours",
    "shearletx_published": "ShearletX, published",
    "waveletx_published": "WaveletX, published",
    "cartoonx_published": "CartoonX, published",
}
ROOT = Path(__file__).resolve().parent.parent
FOLDER, KEPT = ROOT / "docs" / "images", ROOT / "runs" / "benchmarks" / "shearletx" / "pictures"
GAP, NOTES = 10, 40  # pixels
COLOURS = 160


def pictures(arguments: argparse.Namespace) -> None:
    """One figure of ours for each photograph, and a sheet of the family: every shown picture and its probability."""
    classifier = load_imagenet_classifier()
    classifier.network.to(memory_format=torch.channels_last)
    rows = []
    for name in PHOTOGRAPHS:
        image = centre_square(Image.fromarray(getattr(skimage.data, name)()), arguments.side)
        row = []
        for method in FAMILY:
            path = KEPT / f"{name}-{method}-{arguments.steps}-{arguments.samples}-{arguments.seed}.safetensors"
            if not path.exists():
                explainer = get_explainer(method, classifier, steps=arguments.steps, samples=arguments.samples)
                path.parent.mkdir(parents=True, exist_ok=True)
                explainer(image, seed=arguments.seed).save(path)
            found = Explanation.load(path)
            row.append(found.extras[0])
            if method == "shearletx":
                path = FOLDER / f"shearletx_{name}.png"
                mask_figure(image[0], found, classifier.classes, path)
                reduced(path)
        target = int(found.target[0])
        words = (classifier.classes[target], float(found.probabilities[0, target]))
        rows.append((image[0], words, row))
        print(name, flush=True)
    path = FOLDER / "shearletx_family.png"
    sheet(rows).save(path)
    reduced(path)


def centre_square(picture: Image.Image, side: int) -> Tensor:
    """The centre square of a picture, resampled to ``(1, 3, side, side)`` in [0, 1]."""
    picture = picture.convert("RGB")
    short = min(picture.size)
    left, top = (picture.width - short) // 2, (picture.height - short) // 2
    square = picture.crop((left, top, left + short, top + short)).resize((side, side), Image.Resampling.BICUBIC)
    return torch.from_numpy(np.asarray(square).copy()).permute(2, 0, 1)[None].float() / 255


def sheet(rows: list[tuple[Tensor, tuple[str, float], list[dict[str, Any]]]]) -> Image.Image:
    """A row per photograph: the image, and what each method shows, with the probability of the image's class."""
    first = tile(rows[0][0])
    across, down = first.width + GAP, first.height + NOTES
    picture = Image.new("RGB", (GAP + across * (1 + len(FAMILY)), 28 + down * len(rows)), PAPER)
    draw = ImageDraw.Draw(picture)
    for column, title in enumerate(("image", *FAMILY.values())):
        draw.text((GAP + column * across, 6), title, fill=INK, font=font(13, bold=True))
    for y, (image, (name, probability), found) in enumerate(rows):
        top = 28 + y * down
        shown = [(image, f"p({name}) = {probability:.3f}", "")]
        for extras in found:
            note = f"{extras['kept_l1']:.0%} of magnitude kept, {extras['kept_pixels']:.0%} of light"
            shown.append((extras["explanation"].clamp(0, 1), f"p = {extras['probability_displayed']:.3f}", note))
        for column, (part, words, note) in enumerate(shown):
            left = GAP + column * across
            picture.paste(tile(part), (left, top))
            draw.text((left, top + first.height + 3), words, fill=INK, font=font(12))
            draw.text((left, top + first.height + 19), note, fill=FAINT, font=font(10))
    return picture


def reduced(path: Path) -> None:
    """A palette, for a third of the file; dithered, as bands of colour would look like invented edges."""
    with Image.open(path) as picture:
        full = picture.convert("RGB")
    small = full.quantize(palette=full.quantize(COLOURS), dither=Image.Dither.FLOYDSTEINBERG)
    small.save(path, optimize=True)
