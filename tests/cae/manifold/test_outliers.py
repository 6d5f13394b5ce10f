"""Outliers and label errors among class codes, planted and found."""

from __future__ import annotations

import csv

import torch

from cae.config import ManifoldConfig
from cae.manifold.class_manifold import ClassManifold
from cae.manifold.outliers import Candidates, find_suspects, minority, write_suspects

CLASSES = ("a", "b", "c")


def blobs(count: int = 600, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Codes ``(count, 2)`` of three blobs, and the blob of each."""
    generator = torch.Generator().manual_seed(seed)
    blob = torch.arange(count) % 3
    centres = torch.tensor([[0.0, 0.0], [8.0, 0.0], [0.0, 8.0]])
    return centres[blob] + torch.randn(count, 2, generator=generator), blob


def manifold_of(codes: torch.Tensor, verdicts: torch.Tensor, labels: torch.Tensor) -> ClassManifold:
    answers = torch.eye(3)[verdicts] * 0.85 + 0.05
    ids = tuple(f"train/{number}" for number in range(len(codes)))
    return ClassManifold(codes, answers, labels, ids, CLASSES, ManifoldConfig(neighbours=10))


def candidates_of(manifold: ClassManifold) -> Candidates:
    return Candidates(manifold.codes, manifold.probabilities, manifold.labels, manifold.ids, "train")


def found(manifold: ClassManifold, kind: str) -> list[str]:
    return [one.id for one in find_suspects(manifold, candidates_of(manifold)) if one.kind == kind]


def test_planted_label_errors_are_found_and_little_else():
    codes, blob = blobs()
    wrong = torch.randperm(len(codes), generator=torch.Generator().manual_seed(1))[:30]  # 5 %
    labels = blob.clone()
    labels[wrong] = (labels[wrong] + 1) % 3
    planted = {f"train/{row}" for row in wrong.tolist()}
    listed = found(manifold_of(codes, blob, labels), "label")
    hits = len(planted & set(listed))
    assert hits / len(listed) >= 0.9  # precision
    assert hits / len(planted) >= 0.8  # recall


def test_clean_labels_give_no_suspect_and_unknown_ones_neither():
    codes, blob = blobs()
    assert found(manifold_of(codes, blob, blob), "label") == []
    assert found(manifold_of(codes, blob, torch.full_like(blob, -1)), "label") == []


def test_a_verdict_that_no_neighbour_shares_is_listed_with_theirs():
    codes, blob = blobs()
    verdicts = blob.clone()
    verdicts[0] = 2  # among codes of blob 0
    manifold = manifold_of(codes, verdicts, blob)
    (suspect,) = [one for one in find_suspects(manifold, candidates_of(manifold)) if one.kind == "verdict"]
    assert (suspect.id, suspect.verdict, suspect.neighbours, suspect.label) == ("train/0", "c", "a", "a")
    assert suspect.score >= 0.9


def test_about_one_training_code_in_a_hundred_is_an_outlier_and_a_far_one_leads():
    codes, blob = blobs()
    codes[5] = torch.tensor([30.0, 30.0])
    listed = found(manifold_of(codes, blob, blob), "outlier")
    assert listed[0] == "train/5"
    assert 4 <= len(listed) <= 7


def test_other_images_are_compared_with_training_codes(tmp_path):
    codes, blob = blobs()
    manifold = manifold_of(codes, blob, blob)
    others = Candidates(
        torch.tensor([[0.0, 0.0], [8.0, 0.1], [-40.0, 0.0]]), torch.eye(3)[[0, 1, 0]], torch.tensor([0, 2, -1]),
        ["x", "y", "z"], "test",
    )  # fmt: skip
    suspects = find_suspects(manifold, others)
    assert [(one.id, one.kind, one.label) for one in suspects] == [("y", "label", "c"), ("z", "outlier", None)]
    write_suspects(tmp_path / "suspects.csv", suspects)
    with (tmp_path / "suspects.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["id"] for row in rows] == ["y", "z"]
    assert (rows[0]["neighbours"], rows[1]["label"]) == ("b", "")


def test_neighbours_of_unknown_label_do_not_count():
    share, common = minority(torch.tensor([0, 0, 1]), torch.tensor([[1, 2, 1, -1], [-1, -1, -1, -1], [1, 0, 1, 1]]), 3)
    assert share.tolist() == [0.75, 0, 0.25]
    assert common.tolist() == [1, 0, 1]
