"""Outliers and label errors among class codes, planted and found."""

from __future__ import annotations

import csv

import torch

from cae.config import ManifoldConfig
from cae.manifold.class_manifold import ClassManifold
from cae.manifold.image_codes import ImageCodes, manifold_codes
from cae.manifold.outliers import LabelIssue, Outlier, find_label_issues, find_outliers, minority, write_rows

CLASSES = ("a", "b", "c")


def blobs(count: int = 600, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Codes ``(count, 2)`` of three blobs, and the blob of each."""
    generator = torch.Generator().manual_seed(seed)
    blob = torch.arange(count) % 3
    centres = torch.tensor([[0.0, 0.0], [8.0, 0.0], [0.0, 8.0]])
    return centres[blob] + torch.randn(count, 2, generator=generator), blob


def manifold_of(codes: torch.Tensor, predictions: torch.Tensor, labels: torch.Tensor) -> ClassManifold:
    probabilities = torch.eye(3)[predictions] * 0.85 + 0.05
    ids = tuple(f"train/{number}" for number in range(len(codes)))
    return ClassManifold(codes, probabilities, labels, ids, CLASSES, ManifoldConfig(neighbours=10))


def training_codes(manifold: ClassManifold) -> ImageCodes:
    return manifold_codes(manifold, torch.arange(len(manifold)))


def found(manifold: ClassManifold, kind: str) -> list[str]:
    return [one.id for one in find_label_issues(manifold, training_codes(manifold)) if one.kind == kind]


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


def test_clean_labels_give_no_issue_and_unknown_ones_neither():
    codes, blob = blobs()
    assert found(manifold_of(codes, blob, blob), "label") == []
    assert found(manifold_of(codes, blob, torch.full_like(blob, -1)), "label") == []


def test_a_prediction_that_no_neighbour_shares_is_listed_with_theirs():
    codes, blob = blobs()
    predictions = blob.clone()
    predictions[0] = 2  # among codes of blob 0
    manifold = manifold_of(codes, predictions, blob)
    (issue,) = [one for one in find_label_issues(manifold, training_codes(manifold)) if one.kind == "prediction"]
    assert (issue.id, issue.prediction, issue.neighbours, issue.label) == ("train/0", "c", "a", "a")
    assert issue.score >= 0.9


def test_about_one_training_code_in_a_hundred_is_an_outlier_and_a_far_one_leads():
    codes, blob = blobs()
    codes[5] = torch.tensor([30.0, 30.0])
    manifold = manifold_of(codes, blob, blob)
    listed = [one.id for one in find_outliers(manifold, training_codes(manifold))]
    assert listed[0] == "train/5"
    assert 4 <= len(listed) <= 7


def test_other_images_are_compared_with_training_codes(tmp_path):
    codes, blob = blobs()
    manifold = manifold_of(codes, blob, blob)
    others = ImageCodes(
        torch.tensor([[0.0, 0.0], [8.0, 0.1], [-40.0, 0.0]]), torch.eye(3)[[0, 1, 0]], torch.tensor([0, 2, -1]),
        ["x", "y", "z"], "test",
    )  # fmt: skip
    issues, outliers = find_label_issues(manifold, others), find_outliers(manifold, others)
    assert [(one.id, one.kind, one.label) for one in issues] == [("y", "label", "c")]
    assert [(one.id, one.label) for one in outliers] == [("z", None)]
    rows = []
    for name, kind, found in (("issues.csv", LabelIssue, issues), ("outliers.csv", Outlier, outliers)):
        write_rows(tmp_path / name, kind, found)
        with (tmp_path / name).open(newline="", encoding="utf-8") as file:
            rows += list(csv.DictReader(file))
    assert [row["id"] for row in rows] == ["y", "z"]
    assert (rows[0]["neighbours"], rows[1]["label"]) == ("b", "")


def test_an_empty_table_still_names_its_columns(tmp_path):
    write_rows(tmp_path / "outliers.csv", Outlier, [])
    assert (tmp_path / "outliers.csv").read_text().startswith("id,split,score,")


def test_neighbours_of_unknown_label_do_not_count():
    share, common = minority(torch.tensor([0, 0, 1]), torch.tensor([[1, 2, 1, -1], [-1, -1, -1, -1], [1, 0, 1, 1]]), 3)
    assert share.tolist() == [0.75, 0, 0.25]
    assert common.tolist() == [1, 0, 1]
