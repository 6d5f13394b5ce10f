"""Pictures of counterfactuals: the traversal strip, its animation, and a gallery of many."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw
from torch import Tensor

from cae.canvas import (
    ACCENT,
    DIVERGING,
    FAINT,
    INK,
    OTHER,
    PAPER,
    SEQUENTIAL,
    SOURCE,
    TARGET,
    centred,
    colour_bar,
    colour_mapped,
    fitted,
    outline,
    placeholder,
    probability_bar,
    probability_curves,
    save_png,
    tile,
    tile_size,
)
from cae.files import atomic_path
from cae.lettering import font

if TYPE_CHECKING:  # a result draws itself with this module
    from cae.counterfactuals.result import Counterfactual

MARGIN, GAP, HEAD, BAR = 14, 10, 20, 19  # pixels: around the page, between tiles, above a tile, of one bar with its gap
BOUNDARY_INK = "#8A5A00"  # dark enough for text; the frame itself is drawn in ACCENT
STATUS = {
    "found": "counterfactual found",
    "not_found": "no counterfactual found",
    "already_target": "already of the target class",
    "reconstruction_flip": "reconstruction changes the prediction",
}


def traversal_strip(
    counterfactual: Counterfactual, path: str | Path, frames: int = 7, mask: Tensor | None = None
) -> None:
    """Write ``strip_picture`` as a PNG file.

    Args:
        counterfactual: of any status.
        path: PNG file to write.
        frames: of the path.
        mask: ``(1, H, W)`` bool, where the class is known to show, outlined on the evidence.
    """
    save_png(strip_picture(counterfactual, frames, mask), path)


def strip_picture(counterfactual: Counterfactual, frames: int = 7, mask: Tensor | None = None) -> Image.Image:
    """One image's explanation: what changes, where, and how the probabilities move along the path.

    Above: original, reconstruction, counterfactual, signed difference, evidence (the change at the path's end), and
    the classes' probabilities over the path. Below: frames of the path, the one at which the decision changes outlined.

    Args:
        counterfactual: of any status; where none was found, nothing is shown as one.
        frames: of the path.
        mask: ``(1, H, W)`` bool, where the class is known to show, outlined on the evidence.
    """
    height, width = tile_size(*counterfactual.original.shape[1:])
    shown = _frames(counterfactual, frames) if counterfactual.has_path else []
    lines = -(-len(shown) // 9)
    across = max(7, -(-len(shown) // lines)) if shown else 5
    bars = BAR * _bar_count(counterfactual) + 4
    row_height, column = HEAD + height + bars + GAP, width + GAP
    size = (2 * MARGIN + across * column - GAP, 56 + row_height * (1 + lines) + MARGIN - GAP)
    page = Image.new("RGB", size, PAPER)
    _title(page, counterfactual)
    _overview(page, counterfactual, (MARGIN, 56), across, mask)
    for number, frame in enumerate(shown):
        corner = (MARGIN + number % across * column, 56 + row_height * (1 + number // across))
        _path_frame(page, counterfactual, corner, *frame)
    return page


def traversal_gif(counterfactual: Counterfactual, path: str | Path) -> None:
    """The path as an endless animation, there and back, with the probabilities of source and target drawn below.

    The border takes the colour of the source class before the decision changes and of the target class after it.
    """
    count = len(counterfactual.tau) + counterfactual.found
    steps = [_animation_frame(counterfactual, *frame) for frame in _frames(counterfactual, count)]
    pause = [90] * len(steps)
    pause[0] = pause[-1] = 700
    order = [*range(len(steps)), *range(len(steps) - 2, 0, -1)]
    sheet = Image.fromarray(np.concatenate([np.asarray(step) for step in steps]))
    palette = sheet.quantize(255, dither=Image.Dither.NONE)  # one palette for all, or the colours flicker
    indexed = [step.quantize(palette=palette, dither=Image.Dither.NONE) for step in steps]
    with atomic_path(path) as temporary:
        indexed[0].save(
            temporary, format="GIF", save_all=True, append_images=[indexed[i] for i in order[1:]],
            duration=[pause[i] for i in order], loop=0, disposal=1, optimize=False,
        )  # fmt: skip


def gallery(counterfactuals: Sequence[Counterfactual], path: str | Path, rows: int | None = None) -> None:
    """Many images on one page: original, counterfactual and signed difference of each, with class and probability.

    Args:
        counterfactuals: of images of one size.
        path: PNG file to write.
        rows: images below one another; further ones start a new column. By default about as wide as high.
    """
    height, width = tile_size(*counterfactuals[0].original.shape[1:])
    bars = BAR * max(_bar_count(result) for result in counterfactuals) + 6
    block_width, block_height = 3 * (width + 6) + 22, HEAD + height + bars + 12
    number = len(counterfactuals)
    rows = max(1, min(rows or round((number * block_width / block_height) ** 0.5 + 0.49), number))
    columns = -(-number // rows)
    page = Image.new("RGB", (2 * MARGIN + columns * block_width - 22, MARGIN + HEAD + rows * block_height), PAPER)
    for place in range(3 * columns):
        left = MARGIN + place // 3 * block_width + place % 3 * (width + 6)
        centred(
            ImageDraw.Draw(page), ("original", "counterfactual", "difference")[place % 3], left, 6, width, fill=FAINT
        )
    for index, result in enumerate(counterfactuals):
        corner = (MARGIN + index // rows * block_width, MARGIN + HEAD + index % rows * block_height)
        _gallery_block(page, result, corner)
    save_png(page, path)


def _frames(result: Counterfactual, count: int) -> list[tuple[Tensor, Tensor, float, bool]]:
    """Image, probabilities, position, and whether it is the boundary: evenly spaced, the boundary among them."""
    picked = np.unique(np.linspace(0, len(result.tau) - 1, min(count, len(result.tau))).round().astype(int))
    frames = [(result.path_images[i], result.path_probabilities[i], float(result.tau[i]), False) for i in picked]
    if result.counterfactual is None or result.boundary is None or result.boundary_probabilities is None:
        return frames
    boundary = (result.counterfactual, result.boundary_probabilities, result.boundary, True)
    if count > len(frames):  # room for all points of the path: the boundary comes in between
        return sorted([*frames, boundary], key=lambda frame: (frame[2], frame[3]))
    nearest = int(np.argmin([abs(frame[2] - result.boundary) for frame in frames]))
    frames[max(nearest, 1)] = boundary  # the start of the path always stays
    return frames


def _bar_count(result: Counterfactual) -> int:
    return min(3, len(result.classes))


def _title(page: Image.Image, result: Counterfactual) -> None:
    draw, width = ImageDraw.Draw(page), page.width - 2 * MARGIN
    head = font(16, True)
    draw.text((MARGIN, 9), fitted(f"{result.id}:  {_aim(result)}", width, head), fill=INK, font=head)
    words = [f"{STATUS[result.status]}: {result.reason}"]
    if result.found:
        words.append(f"margin {result.margin:.3f}, overshoot {result.overshoot:.4f}")
    if result.averaged > 1:
        words.append(f"difference averaged over {result.averaged} references")
    draw.text((MARGIN, 32), fitted("  ·  ".join(words), width, font(13)), fill=FAINT, font=font(13))


def _aim(result: Counterfactual) -> str:
    """Where the path starts and where it gets to, with probabilities: ``healthy 0.91 → mass 0.56``."""
    start = result.source_class
    if result.output == "residual":  # such a path starts at the original, a decoded one at the reconstruction
        start += f" {float(result.path_probabilities[0, result.source]):.2f}"
    if result.target == result.source:
        return start
    if result.boundary_probabilities is not None:
        return f"{start} → {result.target_class} {float(result.boundary_probabilities[result.target]):.2f}"
    reached = f" {float(result.path_probabilities[:, result.target].max()):.2f} at most" if result.has_path else ""
    return f"{start} → {result.target_class}{reached}"


def _overview(
    page: Image.Image, result: Counterfactual, corner: tuple[int, int], across: int, mask: Tensor | None
) -> None:
    """Original, reconstruction, counterfactual, difference, evidence, and the chart of the path."""
    height, width = tile_size(*result.original.shape[1:])
    left, top = corner
    columns = [left + number * (width + GAP) for number in range(across)]
    right, below = columns[-1] + width, top + HEAD + height + 4
    _tile(page, (columns[0], top), "original", tile(result.original))
    _tile(page, (columns[1], top), "reconstruction", tile(result.reconstruction))
    residual = result.output == "residual"
    _bars(page, result, (columns[0 if residual else 1], below), result.path_probabilities[0])
    if residual:
        error = f"mean absolute error {float(result.reconstruction_error.mean()):.3f}"
        _notes(page, (columns[1], below), width, [error, "no part of the difference"])
    else:
        _notes(page, (columns[0], below), width, [f"predicted: {result.source_class}"])
    if not result.has_path:
        page.paste(placeholder((right - columns[2], height), result.reason), (columns[2], top + HEAD))
        return
    _counterfactual_tile(page, result, (columns[2], top))
    _difference_tile(page, result, (columns[3], top))
    _evidence_tile(page, result, (columns[4], top), mask)
    _chart(page, result, (columns[5], top), (right - columns[5], HEAD + height + BAR * _bar_count(result)))


def _notes(page: Image.Image, corner: tuple[int, int], width: int, lines: Sequence[str]) -> None:
    for number, line in enumerate(lines):
        centred(ImageDraw.Draw(page), line, corner[0], corner[1] + 2 + 17 * number, width, 12, fill=FAINT)


def _tile(page: Image.Image, corner: tuple[int, int], name: str, picture: Image.Image, boundary: bool = False) -> None:
    left, top = corner
    draw = ImageDraw.Draw(page)
    style = {"fill": BOUNDARY_INK, "weight": "bold"} if boundary else {}
    centred(draw, name, left - 4, top + 1, picture.width + 8, 12 if boundary else 13, **style)
    page.paste(picture, (left, top + HEAD))
    edge = (left - 1, top + HEAD - 1, left + picture.width, top + HEAD + picture.height)
    if boundary:
        draw.rectangle((edge[0] - 3, edge[1] - 3, edge[2] + 3, edge[3] + 3), outline=ACCENT, width=4)
    else:
        draw.rectangle(edge, outline="#CCCCCC")


def _bars(page: Image.Image, result: Counterfactual, corner: tuple[int, int], probabilities: Tensor) -> None:
    """Source, target, and the rest of the classes together."""
    (left, top), width = corner, tile_size(*result.original.shape[1:])[1]
    draw, answer = ImageDraw.Draw(page), probabilities.tolist()
    source, target = answer[result.source], answer[result.target]
    entries = [(result.source_class, source, SOURCE)]
    if result.target != result.source:
        entries.append((result.target_class, target, TARGET))
    rest = max(0.0, 1 - sum(entry[1] for entry in entries))
    others = len(answer) - len(entries)
    if others > 0:
        names = [name for k, name in enumerate(result.classes) if k not in (result.source, result.target)]
        entries.append((names[0] if others == 1 else f"{others} others", rest, OTHER))
    for number, (name, probability, colour) in enumerate(entries):
        probability_bar(draw, left, top + number * BAR, width, name, probability, colour)


def _counterfactual_tile(page: Image.Image, result: Counterfactual, corner: tuple[int, int]) -> None:
    height, width = tile_size(*result.original.shape[1:])
    below = (corner[0], corner[1] + HEAD + height + 4)
    if result.counterfactual is not None and result.boundary_probabilities is not None:
        _tile(page, corner, "counterfactual", tile(result.counterfactual))
        _bars(page, result, below, result.boundary_probabilities)
    elif result.closest is not None:
        _tile(page, corner, "closest attempt", tile(result.closest))
        _notes(page, below, width, ["not a counterfactual:", f"margin {result.margin:+.3f}"])
    else:
        _tile(page, corner, "counterfactual", placeholder((width, height), STATUS[result.status]))


def _difference_tile(page: Image.Image, result: Counterfactual, corner: tuple[int, int]) -> None:
    height, width = tile_size(*result.original.shape[1:])
    name = "difference to original" if result.output == "residual" else "difference to reconstruction"
    if result.difference is None:
        _tile(page, corner, name, placeholder((width, height), "no counterfactual, no difference"))
        return
    signed, limit = _signed(result.difference)
    _tile(page, corner, name, colour_mapped(signed, DIVERGING, -limit, limit))
    below = corner[1] + HEAD + height + 7
    colour_bar(page, corner[0], below, width, DIVERGING, (f"−{limit:.2g}", f"+{limit:.2g}"), "0")
    if _bar_count(result) > 2:
        draw, face = ImageDraw.Draw(page), font(12)
        draw.text((corner[0], below + 29), "darker", fill=FAINT, font=face, anchor="la")
        draw.text((corner[0] + width, below + 29), "brighter", fill=FAINT, font=face, anchor="ra")


def _signed(difference: Tensor) -> tuple[np.ndarray, float]:
    """Mean over channels ``(H, W)``, and the largest size of it (at least one grey level), which ends the colours."""
    signed = difference.mean(0).cpu().numpy()
    return signed, max(float(np.abs(signed).max()), 1 / 255)


def _evidence_tile(page: Image.Image, result: Counterfactual, corner: tuple[int, int], mask: Tensor | None) -> None:
    height, width = tile_size(*result.original.shape[1:])
    if not result.found or result.evidence is None:
        _tile(page, corner, "evidence", placeholder((width, height), "no counterfactual, no evidence"))
        return
    values = result.evidence[0].cpu().numpy()
    picture = colour_mapped(values, SEQUENTIAL, 0, max(float(values.max()), 1 / 255**2))
    known = mask is not None and bool(mask.any())
    if mask is not None and known:
        outline(picture, mask)
    _tile(page, corner, "evidence (τ = 1)" + _left_out(result), picture)
    below = corner[1] + HEAD + height + 7
    colour_bar(page, corner[0], below, width, SEQUENTIAL, ("0", f"{values.max():.2g}"))
    if known:
        third = _bar_count(result) > 2
        centred(ImageDraw.Draw(page), "outline: truth", corner[0], below + (30 if third else 13), width, 12, fill=FAINT)


def _left_out(result: Counterfactual) -> str:
    """That some of the regions that change are no evidence."""
    kept = result.regions_kept
    return "" if kept is None or bool(kept.all()) else f", {int(kept.sum())} of {len(kept)} regions"


def _chart(page: Image.Image, result: Counterfactual, corner: tuple[int, int], size: tuple[int, int]) -> None:
    """Probabilities of source and target over the path, all other classes in grey."""
    left, top = corner
    draw, face = ImageDraw.Draw(page), font(12, True)
    x = left + 46
    rest = [k for k in range(len(result.classes)) if k not in (result.source, result.target)]
    legend = [(result.source_class, SOURCE), (result.target_class, TARGET)]
    legend += [("others", OTHER)] if rest else []
    legend += [("τ*", ACCENT)] if result.found else []
    space = (size[0] - 60) / len(legend) - 22
    for name, colour in legend:
        draw.line((x, top + 9, x + 14, top + 9), fill=colour, width=4)
        text = fitted(name, space, face)
        draw.text((x + 18, top + 9), text, fill=INK, font=face, anchor="lm")
        x += 18 + int(face.getlength(text)) + 16
    curve = result.path_probabilities.T.tolist()
    lines = [(curve[k], "#BDBDBD", 1) for k in rest]
    lines += [(curve[result.source], SOURCE, 3), (curve[result.target], TARGET, 3)]
    picture = probability_curves((size[0], size[1] - HEAD), result.tau.tolist(), lines, result.boundary)
    page.paste(picture, (left, top + HEAD))


def _path_frame(
    page: Image.Image,
    result: Counterfactual,
    corner: tuple[int, int],
    image: Tensor,
    probabilities: Tensor,
    tau: float,
    boundary: bool,
) -> None:
    name = f"τ* = {tau:.2f} decision changes" if boundary else f"τ = {tau:.2f}"
    picture = tile(image)
    _tile(page, corner, name, picture, boundary)
    _bars(page, result, (corner[0], corner[1] + HEAD + picture.height + 4), probabilities)


def _animation_frame(
    result: Counterfactual, image: Tensor, probabilities: Tensor, tau: float, boundary: bool
) -> Image.Image:
    picture = tile(image)
    two = min(2, len(result.classes)) if result.target != result.source else 1
    page = Image.new("RGB", (picture.width + 8, picture.height + 8 + BAR * two + 2), PAPER)
    changed = result.boundary is not None and tau >= result.boundary
    ImageDraw.Draw(page).rectangle((0, 0, picture.width + 7, picture.height + 7), fill=TARGET if changed else SOURCE)
    page.paste(picture, (4, 4))
    draw, top = ImageDraw.Draw(page), picture.height + 10
    for k, colour in [(result.source, SOURCE), (result.target, TARGET)][:two]:
        probability_bar(draw, 4, top, picture.width, result.classes[k], float(probabilities[k]), colour)
        top += BAR
    return page


def _gallery_block(page: Image.Image, result: Counterfactual, corner: tuple[int, int]) -> None:
    height, width = tile_size(*result.original.shape[1:])
    left, top = corner
    draw, face = ImageDraw.Draw(page), font(13, True)
    draw.text((left, top + 1), fitted(f"{result.id}:  {_aim(result)}", 3 * width, face), fill=INK, font=face)
    columns = [left + number * (width + 6) for number in range(3)]
    below = top + HEAD + height + 4
    page.paste(tile(result.original), (columns[0], top + HEAD))
    if result.output == "residual":
        _bars(page, result, (columns[0], below), result.path_probabilities[0])
    else:
        centred(draw, f"predicted: {result.source_class}", columns[0], below, width, 12, fill=FAINT)
    if result.counterfactual is None or result.difference is None or result.boundary_probabilities is None:
        page.paste(
            placeholder((2 * width + 6, height), f"{STATUS[result.status]}: {result.reason}"), (columns[1], top + HEAD)
        )
        return
    page.paste(tile(result.counterfactual), (columns[1], top + HEAD))
    _bars(page, result, (columns[1], below), result.boundary_probabilities)
    signed, limit = _signed(result.difference)
    page.paste(colour_mapped(signed, DIVERGING, -limit, limit), (columns[2], top + HEAD))
    colour_bar(page, columns[2], below + 2, width, DIVERGING, (f"−{limit:.2g}", f"+{limit:.2g}"), "0")
