"""Class codes in two dimensions: what maps keep, and what they refuse."""

from __future__ import annotations

import sys

import pytest
import torch
from manifolds import three_blobs

from cae.errors import UserError
from cae.manifold.projection import embed


def test_pca_is_fitted_on_train_and_applied_to_test():
    cloud, _ = three_blobs()
    whole = embed(cloud, "pca", train=cloud).coordinates
    part = embed(cloud[:7], "pca", train=cloud).coordinates
    assert torch.allclose(whole[:7], part, atol=1e-5)


@pytest.mark.parametrize("method", ["pca", "tsne"])
def test_separate_classes_stay_separate_and_neighbourhoods_are_kept(method: str):
    cloud, classes = three_blobs()
    embedding = embed(cloud, method, seed=1)
    assert embedding.coordinates.shape == (60, 2)
    assert embedding.trustworthiness > 0.8
    distance = torch.cdist(embedding.coordinates, embedding.coordinates).fill_diagonal_(torch.inf)
    assert (classes[distance.argmin(1)] == classes).all()
    assert torch.equal(embed(cloud, method, seed=1).coordinates, embedding.coordinates)


def test_a_code_of_one_number_and_a_handful_of_codes_can_be_drawn():
    assert embed(torch.randn(9, 1), "pca").coordinates.shape == (9, 2)
    assert embed(torch.randn(9, 1), "tsne").coordinates.shape == (9, 2)
    assert embed(torch.randn(4, 3), "tsne").coordinates.shape == (4, 2)


def test_an_unknown_map_is_answered_with_the_nearest_known_one():
    with pytest.raises(UserError, match=r"'tnse' \(did you mean 'tsne'\?\); known are pca, tsne, umap"):
        embed(torch.randn(10, 3), "tnse")
    with pytest.raises(UserError, match="at least 4 codes, but got 3"):
        embed(torch.randn(3, 3), "pca")


def test_missing_umap_is_answered_with_the_extra_to_install(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "umap", None)
    with pytest.raises(UserError, match=r"cae-explain\[umap\]"):
        embed(torch.randn(10, 3), "umap")
