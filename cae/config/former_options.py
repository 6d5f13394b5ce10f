"""Options of former versions: an older saved configuration still opens, and a recipe is told what changed."""

from __future__ import annotations

# former name of an option -> its present name
RENAMED: dict[str, str] = {}
# present name of an option -> former value -> present value
RENAMED_VALUES: dict[str, dict[str, str]] = {"cae.preset": {"reference": "published"}}
# former name of an option that is gone -> what a user of it should know, as the end of a sentence
DROPPED: dict[str, str] = {
    "caes.top": "one of a hundred features counts as the top, as published",
    "ncc.batch_pairs": "a step takes 16 pairs, as published",
}
