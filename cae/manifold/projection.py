"""Class codes in two dimensions: PCA, t-SNE or UMAP."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE, trustworthiness
from torch import Tensor

from cae.errors import UserError, did_you_mean

EMBEDDINGS = ("pca", "tsne", "umap")


@dataclass(frozen=True, eq=False)
class Embedding:
    """A 2-D map of codes: ``coordinates (N, 2)``, the method, and how far its neighbourhoods can be trusted.

    ``trustworthiness`` in [0, 1]: 1 where all near neighbours on the map are near neighbours among the codes.
    ``axes`` says what the two axes mean. Distances on t-SNE and UMAP maps mean nothing.
    """

    coordinates: Tensor
    method: str
    trustworthiness: float
    axes: tuple[str, str]


def embed(codes: Tensor, method: str = "pca", seed: int = 0, train: Tensor | None = None) -> Embedding:
    """Lay codes out in the plane, for display only.

    Args:
        codes: ``(N, D)`` codes to draw.
        method: ``pca`` (fitted on ``train``, so that maps of different sets agree), ``tsne`` (PCA start, perplexity
            ``min(30, (N - 1) / 3)``) or ``umap`` (optional extra).
        seed: of t-SNE and UMAP.
        train: ``(M, D)`` codes that PCA and the standardisation are fitted on; ``codes`` themselves by default.

    Raises:
        UserError: for an unknown method, fewer than four codes, or where UMAP is not installed.
    """
    if method not in EMBEDDINGS:
        known = ", ".join(EMBEDDINGS)
        raise UserError(
            f"manifold.embeddings: unknown map {method!r}{did_you_mean(method, EMBEDDINGS)}; known are {known}."
        )
    if len(codes) < 4:
        raise UserError(f"a map of the manifold needs at least 4 codes, but got {len(codes)}; use more images.")
    fitted = (codes if train is None else train).double().cpu().numpy()
    scale = fitted.std(0).clip(1e-12)
    cloud, fitted = codes.double().cpu().numpy() / scale, fitted / scale
    flat, axes = {"pca": _pca, "tsne": _tsne, "umap": _umap}[method](cloud, fitted, seed)
    neighbours = max(1, min(10, (len(codes) - 1) // 2))
    trust = float(trustworthiness(cloud, flat, n_neighbors=neighbours))
    return Embedding(torch.from_numpy(np.ascontiguousarray(flat)).float(), method, trust, axes)


def _pca(cloud: np.ndarray, fitted: np.ndarray, seed: int) -> tuple[np.ndarray, tuple[str, str]]:
    if cloud.shape[1] == 1:
        return np.concatenate([cloud, np.zeros_like(cloud)], axis=1), ("class code", "")
    model = PCA(2, svd_solver="full").fit(fitted)
    first, second = (
        f"principal axis {i + 1} ({share:.0%} of variance)" for i, share in enumerate(model.explained_variance_ratio_)
    )
    return model.transform(cloud), (first, second)


def _tsne(cloud: np.ndarray, fitted: np.ndarray, seed: int) -> tuple[np.ndarray, tuple[str, str]]:
    start = "pca" if cloud.shape[1] > 1 else "random"
    model = TSNE(2, perplexity=min(30.0, (len(cloud) - 1) / 3), init=start, random_state=seed)
    return model.fit_transform(cloud), ("t-SNE 1", "t-SNE 2")


def _umap(cloud: np.ndarray, fitted: np.ndarray, seed: int) -> tuple[np.ndarray, tuple[str, str]]:
    try:
        from umap import UMAP
    except ImportError as error:
        raise UserError(
            "manifold.embeddings names umap, which is not installed. Run `pip install 'cae-explain[umap]'`, "
            "or name only pca and tsne."
        ) from error
    model = UMAP(n_neighbors=min(15, len(cloud) - 1), random_state=seed, n_jobs=1)
    return model.fit_transform(cloud), ("UMAP 1", "UMAP 2")
