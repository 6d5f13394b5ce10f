"""Other labels for the same images: permuted, by brightness, by a marker."""

from __future__ import annotations

import torch
from sanity_run import config_in

from cae.data import CAEDataModule
from cae.data.lesions import marker_box
from cae.sanity.control_models import marked_config
from cae.sanity.relabelled_data import RelabelledData, brightness_labels, has_marker, marker_labels, permuted_labels


def test_permuted_labels_keep_their_counts_and_forget_the_images(tmp_path):
    config = config_in(tmp_path)
    data = RelabelledData(config.data, permuted_labels(0), val_from_train=True)
    plain = CAEDataModule(config.data)
    assert torch.equal(data.train.labels.bincount(), plain.train.labels.bincount())
    assert 0.2 < float((data.train.labels == plain.train.labels).float().mean()) < 0.5
    assert torch.equal(data.train[5].image, plain.train[5].image)
    assert [data.val[i].id for i in range(3)] == ["train/00000", "train/00001", "train/00002"]
    assert torch.equal(data.val.labels, data.train.labels[:24])


def test_labels_by_brightness_order_the_images_and_have_equal_counts(tmp_path):
    data = RelabelledData(config_in(tmp_path).data, brightness_labels)
    assert data.train.labels.bincount().tolist() == [32, 32, 32]
    middle = torch.stack([data.train[place].image for place in range(96)])[..., 4:12, 4:12].mean((1, 2, 3))
    assert middle[data.train.labels == 0].max() <= middle[data.train.labels == 1].min()
    assert middle[data.train.labels == 1].max() <= middle[data.train.labels == 2].min()


def test_labels_by_the_marker_disagree_with_the_lesion_on_half_of_the_images(tmp_path):
    config = marked_config(config_in(tmp_path), "marker", "follower", 0.0)
    assert config.data.lesions.classes == ["healthy", "mass"]
    data = RelabelledData(config.data, marker_labels(1, 0))
    truth = CAEDataModule(config.data)
    assert 0.3 < float((data.train.labels == truth.train.labels).float().mean()) < 0.7
    top, left, _, _ = marker_box(16)
    for place in range(10):
        sample = data.train[place]
        assert (float(sample.image[0, top, left]) > 0.5) == (sample.label == 1)


def test_a_perfect_shortcut_marks_one_class_alone(tmp_path):
    config = marked_config(config_in(tmp_path), "shortcut", "follower", 1.0)
    train = CAEDataModule(config.data).train
    images = torch.stack([train[place].image for place in range(20)])
    assert torch.equal(has_marker(images), train.labels[:20] == 1)
    assert torch.equal(has_marker((images * 255).byte()), train.labels[:20] == 1)
