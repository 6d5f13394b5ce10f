"""A counterfactual kept in a file and shown in a notebook."""

from __future__ import annotations

import dataclasses
import io
from pathlib import Path

import matplotlib.pyplot as plt
import pytest
import torch
from made_counterfactuals import counterfactual
from PIL import Image
from torch import Tensor

from cae.counterfactuals.figures import traversal_strip
from cae.counterfactuals.result import Counterfactual
from cae.errors import UserError
from cae.files import write_tensors

STATUSES = ("found", "not_found", "already_target", "reconstruction_flip")


def averaged() -> Counterfactual:
    """Every optional field set, with numbers that have no short decimal form."""
    return dataclasses.replace(
        counterfactual(channels=3),
        difference_std=torch.rand(3, 28, 28), diversity=1 / 3, averaged=2, margin=0.1 + 0.2, seconds=1e-17 / 3,
        reference_ids=("train/1", "train/ä 2"), fingerprint="0123456789abcdef", boundary=float(torch.tensor(0.43)),
    )  # fmt: skip


def same(one: object, other: object) -> bool:
    if isinstance(one, Tensor) and isinstance(other, Tensor):
        return one.dtype == other.dtype and torch.equal(one, other)
    return type(one) is type(other) and one == other


@pytest.mark.parametrize("status", [*STATUSES, "averaged"])
@pytest.mark.parametrize("output", ["residual", "decoded"])
def test_file_is_the_exact_inverse_for_every_field(tmp_path: Path, status: str, output: str):
    made = averaged() if status == "averaged" else counterfactual(status=status, output=output)
    made.save(tmp_path / "deep" / "one.safetensors")
    read = Counterfactual.load(tmp_path / "deep" / "one.safetensors")
    for field in dataclasses.fields(Counterfactual):
        assert same(getattr(made, field.name), getattr(read, field.name)), field.name
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["one.safetensors"]


def test_views_are_saved_as_their_own_values(tmp_path: Path):
    made = counterfactual()
    path = torch.stack([made.path_images, made.path_images + 1], 1)[:, 0]  # shares memory, is not contiguous
    dataclasses.replace(made, path_images=path, original=path[0]).save(tmp_path / "one.safetensors")
    assert torch.equal(Counterfactual.load(tmp_path / "one.safetensors").path_images, made.path_images)


def test_other_files_are_refused_in_words(tmp_path: Path):
    path = tmp_path / "one.safetensors"
    with pytest.raises(UserError, match="cannot be read as a counterfactual"):
        Counterfactual.load(path)
    write_tensors(path, {"a": torch.zeros(1)}, "explanation", {"format": "explanation-1"})
    with pytest.raises(UserError, match="is no counterfactual of this program"):
        Counterfactual.load(path)


def test_evidence_and_end_are_there_exactly_where_there_is_a_path():
    for status in STATUSES:
        made = counterfactual(status=status)
        followed = status in ("found", "not_found")
        assert made.has_path == followed
        assert (made.end is not None) == (made.evidence is not None) == followed
    assert torch.equal(counterfactual().end, counterfactual().path_images[-1])


@pytest.mark.parametrize("status", STATUSES)
def test_a_notebook_is_given_the_strip(tmp_path: Path, status: str):
    made = counterfactual(status=status)
    traversal_strip(made, tmp_path / "strip.png")
    with Image.open(io.BytesIO(made._repr_png_())) as drawn, Image.open(tmp_path / "strip.png") as strip:
        assert drawn.format == "PNG"
        assert drawn.tobytes() == strip.tobytes()


def test_show_opens_a_figure_of_the_strips_size():
    plt.close("all")
    made = counterfactual()
    made.show(frames=3)
    figure = plt.gcf()
    assert tuple(figure.get_size_inches() * figure.dpi) == pytest.approx(figure.axes[0].images[0].get_size()[::-1])
    plt.close("all")
