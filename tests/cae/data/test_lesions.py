"""The embedded data: deterministic, with exact masks, and a shortcut only where one is planted."""

from __future__ import annotations

import pytest
import torch

from cae.config import DataConfig, LesionsConfig
from cae.data import lesions
from cae.data.lesions import KINDS, draw_slices, draw_split, marker_box, open_lesions
from cae.errors import UserError


def config(size: int = 32, **lesions) -> DataConfig:
    counts = {"train": 30, "val": 9, "test": 12, **lesions}
    return DataConfig(image_size=size, lesions=LesionsConfig(**counts))


def test_same_seed_same_images_and_another_seed_others():
    first, again = draw_split(config(), "test"), draw_split(config(), "test")
    assert torch.equal(first.images, again.images)
    other = config()
    other.seed = 1
    assert not torch.equal(first.images, draw_split(other, "test").images)
    assert not torch.equal(first.images, draw_split(config(val=12), "val").images)


def test_an_image_does_not_depend_on_how_many_are_drawn():
    few, many = draw_split(config(test=12), "test"), draw_split(config(test=300), "test")
    assert torch.equal(few.images, many.images[:12])
    assert few.ids == many.ids[:12]


def test_splits_have_the_wanted_size_balanced_labels_and_ids():
    splits = open_lesions(config())
    assert [len(split) for split in (splits.train, splits.val, splits.test)] == [30, 9, 12]
    assert splits.classes == ("healthy", "mass", "cyst")
    assert torch.bincount(splits.train.labels).tolist() == [10, 10, 10]
    sample = splits.test[4]
    assert sample.id == "test/00004"
    assert sample.label == 1
    assert sample.image.shape == (1, 32, 32)
    assert 0 <= sample.image.min() <= sample.image.max() <= 1


def test_the_mask_is_exactly_where_the_lesion_changed_the_image():
    """The same random numbers without a lesion give the same head: the difference is the lesion and nothing else."""
    options = LesionsConfig(noise=0)

    def draw(kind: str):
        kinds = torch.full((8,), KINDS.index(kind))
        return draw_slices(kinds, 64, options, torch.Generator().manual_seed(3))

    healthy, none = draw("healthy")
    assert not none.any()
    for kind in ("mass", "cyst"):
        image, mask = draw(kind)
        change = (image - healthy).abs()
        assert mask.flatten(1).any(1).all()
        # the outline is where the soft edge has half its height: some of it lies beyond, nothing lies further out
        assert (change * mask).sum() > 0.75 * change.sum()
        grown = torch.nn.functional.max_pool2d(mask.float(), 9, 1, 4) > 0
        assert change[~grown].max() < 0.01


def test_a_mass_is_brighter_and_a_cyst_darker_than_the_tissue():
    options = LesionsConfig(noise=0)
    inside = {}
    for kind in KINDS:
        kinds = torch.full((16,), KINDS.index(kind))
        image, mask = draw_slices(kinds, 64, options, torch.Generator().manual_seed(5))
        if kind == "healthy":
            plain = image
        else:
            core = -torch.nn.functional.max_pool2d(-mask.float(), 3, 1, 1) > 0  # without the rim
            inside[kind] = (image - plain)[core].mean()
    assert inside["mass"] > 0.1
    assert inside["cyst"] < 0


@pytest.mark.parametrize("size", [28, 45, 64])
def test_any_size_and_colour(size):
    options = config(size)
    options.channels = 3
    sample = open_lesions(options).train[0]
    assert sample.image.shape == (3, size, size)
    assert torch.equal(sample.image[0], sample.image[2])


def marked(split, size: int) -> torch.Tensor:
    top, left, bottom, right = marker_box(size)
    return (split.images[:, 0, top:bottom, left:right].float() / 255).flatten(1).mean(1) > 0.7


def test_the_shortcut_goes_with_its_class_as_strongly_as_asked_for():
    perfect = draw_split(config(train=300, shortcut=1.0, shortcut_class="cyst"), "train")
    assert torch.equal(marked(perfect, 32), perfect.labels == 2)
    chance = draw_split(config(train=900, shortcut=0.0), "train")
    shares = [marked(chance, 32)[chance.labels == k].float().mean().item() for k in range(3)]
    assert all(abs(share - 0.5) < 4 * 0.5 / 300**0.5 for share in shares)  # four standard errors


def test_without_a_shortcut_no_marker_is_drawn():
    assert not marked(draw_split(config(train=60), "train"), 32).any()


def test_two_classes_can_be_chosen_and_one_is_refused():
    assert open_lesions(config(classes=["healthy", "cyst"])).classes == ("healthy", "cyst")
    with pytest.raises(UserError, match="at least two of healthy, mass, cyst"):
        open_lesions(config(classes=["mass"]))


def test_images_are_drawn_when_they_are_asked_for_and_once(monkeypatch):
    drawn = []
    monkeypatch.setattr(
        lesions, "draw_slices", lambda kinds, *a, **k: drawn.append(len(kinds)) or draw_slices(kinds, *a, **k)
    )
    splits = open_lesions(config(size=8, train=600))
    assert (len(splits.train), len(splits.train.labels), drawn) == (600, 600, [])
    late, again = splits.train[-1], splits.train[599]
    assert (late.id, drawn) == ("train/00599", [600 - 512])
    assert torch.equal(late.image, again.image)
    assert torch.equal(late.image, draw_split(config(size=8, train=600), "train")[599].image)
    with pytest.raises(IndexError):
        splits.train[600]
