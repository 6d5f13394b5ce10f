"""What is suspicious in the names of classes."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

from cae.data.splits import few


def name_notes(classes: Sequence[str]) -> list[str]:
    """What is suspicious in the names of classes: nearly the same twice, or several in one."""
    alike: dict[str, list[str]] = {}
    for name in classes:
        plain = unicodedata.normalize("NFKC", name).casefold()
        alike.setdefault(re.sub(r"[\s_-]+", "", plain), []).append(name)
    notes = [
        f"the labels {' and '.join(map(repr, names))} are classes of their own, though their names are nearly the same."
        for names in alike.values()
        if len(names) > 1
    ]
    joined = [name for name in classes if any(part.strip() in classes for part in re.split(r"[|;,+&]", name)[1:])]
    joined += [name for name in classes if re.search(r"[|;]", name) and name not in joined]
    if joined:
        notes.append(
            f"{len(joined)} labels seem to name several classes, but are each one of their own: {few(joined)}."
        )
    return notes
