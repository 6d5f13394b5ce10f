"""Tables of `compare`: what stands in them, and why something does not."""

from __future__ import annotations

import pytest

from explainers.commands.tables import write_tables


def rows(*shares: float | None) -> dict:
    """One method and the control on an image for each share that its mask covers; None without a mask."""
    return {
        f"image {number}": {
            name: {
                "mask_share": share,
                "pointing": float(name == "edges") if share else None,
                "auprc": 0.5 if share else None,
                "deletion_auc_excess": 0.1,
            }
            for name in ("edges", "random order")
        }
        for number, share in enumerate(shares)
    }


@pytest.mark.parametrize(
    ("shares", "words"),
    [
        ((None, None), "No `pointing` and `auprc`: none of the images has a mask of where its evidence is."),
        ((None, 0.0, 0.0), "No `pointing` and `auprc`: the masks of all 2 images that have one are empty."),
        ((None, 0.0, 0.2), "`pointing` and `auprc` are measured where a mask marks something: on 1 of 3 images."),
    ],
)
def test_localisation_stands_in_the_table_or_is_told_to_be_missing(tmp_path, shares, words):
    text = write_tables(tmp_path, rows(*shares), {}, {"edges": True})
    assert words in text
    assert ("| pointing ↑ | auprc ↑ |" in text) == words.startswith("`pointing`")
    assert (tmp_path / "table.md").read_text().strip() == text


def test_chance_of_localisation_stands_beside_it(tmp_path):
    text = write_tables(tmp_path, rows(0.2, 0.2), {}, {"edges": True})
    (control,) = [line for line in text.splitlines() if line.startswith("| random order |")]
    assert "0.000" in control
