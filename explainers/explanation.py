"""What an explainer returns, and how it is kept in a file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from cae.errors import UserError
from cae.files import read_saved, write_tensors

FORMAT = "explanation-1"


@dataclass(frozen=True, eq=False)
class Explanation:
    """Attribution maps of B images by one method, with what they cost.

    Attributes:
        attribution: ``(B, 1, H, W)`` float32, raw; signed where the method is: positive supports the target.
        target: ``(B,)`` int64, the class explained.
        probabilities: ``(B, K)`` float32 of the classifier on the images.
        method: registered name of the method.
        parameters: its hyper-parameters, plain values.
        evaluations: ``(B,)`` int64, images scored by the classifier on each image's account.
        seconds: wall time of the whole call.
        extras: one dict per image; the method documents its keys. Values are tensors, lists of tensors, or plain
            values fit for JSON.

    In a notebook it draws itself as its maps; ``show()`` does the same elsewhere.
    """

    attribution: Tensor
    target: Tensor
    probabilities: Tensor
    method: str
    parameters: Mapping[str, Any]
    evaluations: Tensor
    seconds: float
    extras: Sequence[Mapping[str, Any]]

    def __len__(self) -> int:
        return len(self.attribution)

    def __getitem__(self, place: int | slice) -> Explanation:
        """One image of the batch, as an explanation of length 1, or several; seconds are shared out equally."""
        places = range(len(self))[place] if isinstance(place, slice) else [range(len(self))[place]]
        if len(places) == 0:
            raise UserError(f"There is no image in {place} of an explanation of {len(self)}.")
        rows = place if isinstance(place, slice) else slice(places[0], places[0] + 1)
        return Explanation(
            self.attribution[rows], self.target[rows], self.probabilities[rows], self.method, self.parameters,
            self.evaluations[rows], self.seconds * len(places) / len(self), tuple(self.extras[k] for k in places),
        )  # fmt: skip

    def save(self, path: str | Path) -> None:
        """Write everything to one ``.safetensors`` file, atomically; ``load`` is the exact inverse (on the CPU)."""
        tensors = {name: getattr(self, name) for name in ("attribution", "target", "probabilities", "evaluations")}
        header = {
            "format": FORMAT,
            "method": self.method,
            "parameters": self.parameters,
            "seconds": self.seconds,
            "extras": [_packed(extras, f"extras/{row}", tensors) for row, extras in enumerate(self.extras)],
        }
        write_tensors(path, tensors, "explanation", header)

    @classmethod
    def load(cls, path: str | Path) -> Explanation:
        """Read what ``save`` wrote.

        Raises:
            UserError: if there is no such file, or it is not an explanation.
        """
        header, tensors = read_saved(path, "explanation", FORMAT)
        return cls(
            tensors["attribution"], tensors["target"], tensors["probabilities"], header["method"],
            header["parameters"], tensors["evaluations"], header["seconds"],
            tuple(_unpacked(extras, tensors) for extras in header["extras"]),
        )  # fmt: skip

    def show(self, classes: Sequence[str] | None = None, images: Any = None) -> None:
        """Show the maps in a window of matplotlib, or in the output of a notebook.

        Args:
            classes: names of the K classes; without them, the numbers are shown.
            images: what was explained, as it was given; drawn beside the maps.
        """
        from cae.canvas import show_picture
        from explainers.figures import maps_picture
        from explainers.inputs import as_images

        height, width = self.attribution.shape[-2:]
        shown = None if images is None else as_images(images, 3, height if height == width else None)
        if (shown is not None and shown.shape[-2:] != (height, width)) or (
            shown is not None and len(shown) != len(self)
        ):
            raise UserError(
                f"`images` must be the {len(self)} explained, of {width} × {height} pixels, but are "
                f"{tuple(shown.shape)}."
            )
        show_picture(maps_picture(self, classes, shown))

    def _repr_png_(self) -> bytes:
        from cae.canvas import png_bytes
        from explainers.figures import maps_picture

        return png_bytes(maps_picture(self))


def _packed(value: Any, name: str, tensors: dict[str, Tensor]) -> Any:
    """The value as JSON, with a reference ``{"tensor": name}`` for each tensor, which is put into ``tensors``."""
    if isinstance(value, Tensor):
        tensors[name] = value
        return {"tensor": name}
    if isinstance(value, Mapping):
        return {"dict": {key: _packed(item, f"{name}/{key}", tensors) for key, item in value.items()}}
    if isinstance(value, (list, tuple)):
        return [_packed(item, f"{name}/{place}", tensors) for place, item in enumerate(value)]
    return value


def _unpacked(value: Any, tensors: Mapping[str, Tensor]) -> Any:
    if isinstance(value, dict):
        if "tensor" in value:
            return tensors[value["tensor"]]
        return {key: _unpacked(item, tensors) for key, item in value["dict"].items()}
    return [_unpacked(item, tensors) for item in value] if isinstance(value, list) else value
