"""The images of counterfactuals as files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from made_counterfactuals import counterfactual
from PIL import Image

from cae.counterfactuals.export import picture_of, save_images


def levels(image: torch.Tensor) -> np.ndarray:
    return (image * 255).round().byte().permute(1, 2, 0).numpy()


@pytest.mark.parametrize(("channels", "mode"), [(1, "L"), (3, "RGB")])
def test_files_hold_the_rounded_pixels_at_the_images_own_size(tmp_path: Path, channels: int, mode: str):
    made = counterfactual(channels=channels)
    written = save_images(made, tmp_path, "a_to_b")
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "a_to_b_counterfactual.png", "a_to_b_end.png", "a_to_b_evidence.png",
    ]  # fmt: skip
    for kind, image in (("counterfactual", made.counterfactual), ("end", made.end)):
        with Image.open(written[kind]) as picture:
            assert picture.mode == mode
            assert picture.size == (28, 28)
            assert (np.asarray(picture).reshape(28, 28, channels) == levels(image)).all()


def test_images_of_256_levels_come_back_exactly(tmp_path: Path):
    image = torch.arange(256).reshape(1, 16, 16) / 255
    picture_of(image).save(tmp_path / "all.png")
    with Image.open(tmp_path / "all.png") as picture:
        assert torch.equal(torch.from_numpy(np.array(picture))[None] / 255, image)


def test_evidence_comes_back_with_the_largest_value_that_the_file_names(tmp_path: Path):
    made = counterfactual()
    with Image.open(save_images(made, tmp_path, "a")["evidence"]) as picture:
        assert picture.mode == "L"
        largest = float(picture.info["maximum"])
        read = torch.from_numpy(np.array(picture))[None] / 255 * largest
    assert largest == float(made.evidence.max())
    assert torch.allclose(read, made.evidence, atol=largest / 255)


def test_a_path_that_changes_nothing_has_black_evidence(tmp_path: Path):
    made = counterfactual(status="not_found")
    made.path_images[:] = made.path_images[0]
    with Image.open(save_images(made, tmp_path, "a")["evidence"]) as picture:
        assert np.asarray(picture).max() == 0
        assert picture.info["maximum"] == "0.0"


def test_without_a_counterfactual_none_is_written_and_without_a_path_nothing(tmp_path: Path):
    assert set(save_images(counterfactual(status="not_found"), tmp_path, "a")) == {"end", "evidence"}
    for status in ("already_target", "reconstruction_flip"):
        assert save_images(counterfactual(status=status), tmp_path / status, "a") == {}
