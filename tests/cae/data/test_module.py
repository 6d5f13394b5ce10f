"""The data module, its loaders, and image sets in memory."""

from __future__ import annotations

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from PIL import Image

from cae.config import DataConfig
from cae.data import ArraySet, Batch, CAEDataModule, ImageFiles, Sample, collate
from cae.data.module import flip
from cae.errors import UserError


@pytest.fixture
def folder(tmp_path):
    random = np.random.default_rng(0)
    for name in ("cat", "dog"):
        for index in range(20):
            values = random.integers(0, 256, (8, 8), dtype=np.uint8)
            path = tmp_path / name / f"{index:02d}.png"
            path.parent.mkdir(exist_ok=True)
            Image.fromarray(values).save(path)
            if name == "dog":
                mask = tmp_path / "masks" / name / f"{index:02d}.png"
                mask.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray((values > 128).astype(np.uint8)).save(mask)
    return tmp_path


def config(folder, **options):
    return DataConfig(source="folder", path=str(folder), **{"image_size": 8, "batch_size": 5, **options})


def ids_of(batches):
    return [name for batch in batches for name in batch.ids]


def test_an_array_set_gives_floats_in_0_1_with_masks():
    masks = torch.zeros(2, 1, 3, 4, dtype=torch.bool)
    masks[1] = True
    images = ArraySet(torch.full((2, 3, 3, 4), 51, dtype=torch.uint8), torch.tensor([1, 0]), ["a", "b"], masks)
    sample = images[1]
    assert sample.image.dtype == torch.float32
    assert sample.image.unique().tolist() == [pytest.approx(0.2)]
    assert (sample.label, sample.id) == (0, "b")
    assert sample.mask.all()
    assert ArraySet(torch.rand(2, 1, 3, 4), torch.tensor([1, 0]), ["a", "b"])[0].mask is None
    assert images.subset([1, 1, 0]).ids == ["b", "b", "a"]
    assert images.subset([1, 0])[0].mask.all()


@pytest.mark.parametrize(
    ("images", "labels", "ids", "masks", "words"),
    [
        (torch.rand(2, 2, 4, 4), torch.zeros(2), ["a", "b"], None, "C of 1 or 3"),
        (torch.rand(2, 1, 4, 4).double(), torch.zeros(2), ["a", "b"], None, "uint8 or float32"),
        (torch.rand(2, 1, 4, 4), torch.zeros(3), ["a", "b"], None, "2 images, but labels"),
        (torch.rand(2, 1, 4, 4), torch.zeros(2), ["a", "b"], torch.zeros(2, 1, 4, 5), "`masks` must be"),
    ],
)
def test_an_array_set_of_parts_that_do_not_fit_is_refused(images, labels, ids, masks, words):
    with pytest.raises(ValueError, match=words):
        ArraySet(images, labels, ids, masks)


def test_the_module_gives_classes_shape_and_counts(folder):
    module = CAEDataModule(config(folder))
    assert module.classes == ("cat", "dog")
    assert module.image_shape == (1, 8, 8)
    assert module.describe().splitlines() == [
        "train: 28 images (cat 14, dog 14)",
        "val: 6 images (cat 3, dog 3)",
        "test: 6 images (cat 3, dog 3)",
    ]
    assert module.dataset("val") is module.val
    with pytest.raises(UserError, match="did you mean 'test'"):
        module.dataset("tset")


def test_evaluation_loaders_keep_order_and_drop_nothing(folder):
    module = CAEDataModule(config(folder))
    for split, loader in (("val", module.val_dataloader()), ("test", module.test_dataloader())):
        batches = list(loader)
        assert [len(batch) for batch in batches] == [5, 1]
        assert ids_of(batches) == module.dataset(split).ids
    batches = list(module.loader(module.train, batch_size=9))
    assert [len(batch) for batch in batches] == [9, 9, 9, 1]
    assert torch.equal(torch.cat([batch.labels for batch in batches]), module.train.labels)


def test_batches_carry_masks_and_tell_which_are_real(folder):
    batch = next(iter(CAEDataModule(config(folder)).test_dataloader()))
    assert isinstance(batch, Batch)
    assert batch.images.shape == (5, 1, 8, 8)
    assert batch.images.dtype == torch.float32
    assert batch.has_mask.tolist() == [label == 1 for label in batch.labels]
    assert torch.equal(batch.masks[3], batch.images[3] > 128 / 255)
    assert not batch.masks[0].any()


def test_training_batches_are_full_and_shuffled_by_the_seed(folder):
    def order(**options):
        loader = CAEDataModule(config(folder, **options)).train_dataloader()
        return [[batch.ids for batch in loader] for _ in range(2)]

    first, second = order()
    assert [len(ids) for ids in first] == [5] * 5
    assert first != second  # every epoch another order
    assert order() == [first, second]
    assert [len(ids) for ids in order(batch_size=28)[0]] == [28]
    assert [len(ids) for ids in order(batch_size=100)[0]] == [28]  # a single batch is never dropped


def test_workers_give_the_same_batches(folder):
    def images(workers):
        module = CAEDataModule(config(folder, workers=workers))
        loader = module.train_dataloader()
        assert loader.persistent_workers == (workers > 0)
        return [(batch.ids, batch.images.clone()) for batch in loader]

    for (ids, mine), (other_ids, other) in zip(images(0), images(2), strict=True):
        assert ids == other_ids
        assert torch.equal(mine, other)


def test_every_rank_opens_the_same_splits(folder, monkeypatch):
    first = CAEDataModule(config(folder))
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("LOCAL_RANK", "1")
    torch.manual_seed(123)
    np.random.seed(123)
    other = CAEDataModule(config(folder))
    assert other.test.ids == first.test.ids
    assert [batch.ids for batch in other.train_dataloader()] == [batch.ids for batch in first.train_dataloader()]


def test_flip_mirrors_image_and_mask_together():
    images = torch.rand(3, 1, 2, 4)
    samples = [Sample(images[i], i, str(i), images[i] > 0.5 if i else None) for i in range(3)]
    batch = flip(collate(samples), torch.tensor([True, False, True]))
    assert torch.equal(batch.images[0], images[0].flip(-1))
    assert torch.equal(batch.images[1], images[1])
    assert torch.equal(batch.masks[1:], batch.images[1:] > 0.5)
    assert batch.has_mask.tolist() == [False, True, True]


def test_only_training_batches_are_mirrored_and_about_half_of_them(folder):
    module = CAEDataModule(config(folder, flip=True))
    plain = {sample.id: sample.image for sample in module.train}
    mirrored = []
    for _ in range(4):
        for batch in module.train_dataloader():
            for image, mask, label, name in zip(batch.images, batch.masks, batch.labels, batch.ids, strict=True):
                turned = not torch.equal(image, plain[name])
                assert torch.equal(image.flip(-1) if turned else image, plain[name])
                assert label == 0 or torch.equal(mask, image > 128 / 255)
                mirrored.append(turned)
    assert 0.3 < sum(mirrored) / len(mirrored) < 0.7
    for batch in module.val_dataloader():
        for image, name in zip(batch.images, batch.ids, strict=True):
            assert torch.equal(image, module.val[module.val.ids.index(name)].image)


def test_cached_images_are_decoded_once(folder):
    module = CAEDataModule(config(folder))
    sample = module.train[0]
    path = folder / sample.id
    Image.fromarray(np.zeros((8, 8), dtype=np.uint8)).save(path)
    assert module.train[0] is sample
    assert module.train[-len(module.train)] is sample
    uncached = CAEDataModule(config(folder, cache=False))
    assert uncached.train[uncached.train.ids.index(sample.id)].image.max() == 0


def test_a_file_that_fails_only_when_it_is_decoded_is_named(folder):
    noise = np.random.default_rng(0).integers(0, 256, (64, 64), dtype=np.uint8)
    Image.fromarray(noise).save(folder / "cat" / "99.jpg")
    path = folder / "cat" / "99.jpg"
    path.write_bytes(path.read_bytes()[:1000])  # the header is whole
    module = CAEDataModule(config(folder))  # the check of the headers passes
    images = next(images for images in (module.train, module.val, module.test) if "cat/99.jpg" in images.ids)
    with pytest.raises(UserError, match=r"cannot read the image '.*99\.jpg'"):
        list(module.loader(images))


def test_predict_serves_a_split_or_the_images_of_the_user(folder):
    module = CAEDataModule(config(folder))
    with pytest.raises(UserError, match="nothing to predict"):
        module.predict_dataloader()
    module.predict = "test"
    assert ids_of(module.predict_dataloader()) == module.test.ids
    module.predict = ImageFiles(folder / "cat", 8, 1)
    batches = list(module.predict_dataloader())
    assert batches[0].ids[0] == "00.png"
    assert {int(label) for batch in batches for label in batch.labels} == {-1}


class _Collect(pl.LightningModule):
    def predict_step(self, batch, batch_idx):
        return batch.ids, batch.images.device


def test_lightning_serves_batches_whole(folder):
    module = CAEDataModule(config(folder))
    module.predict = "val"
    trainer = pl.Trainer(accelerator="cpu", logger=False, enable_progress_bar=False, enable_model_summary=False)
    answers = trainer.predict(_Collect(), datamodule=module)
    assert [name for ids, _ in answers for name in ids] == module.val.ids


def test_the_embedded_data_opens_with_masks():
    pytest.importorskip("cae.data.lesions")
    options = DataConfig(image_size=16)
    options.lesions.train, options.lesions.val, options.lesions.test = 12, 6, 6
    module = CAEDataModule(options)
    batch = next(iter(module.test_dataloader()))
    assert batch.images.shape == (6, 1, 16, 16)
    assert batch.masks is not None
    assert len(module.classes) == 3
