"""The exception that stands for a mistake of the user, and its kinds."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """A mistake that the user can mend: printed as words, without a traceback, exit code 2.

    Several problems found together are given as a list, so that all can be mended at once.
    """

    def __init__(self, problems: str | Iterable[str]):
        self.problems = [problems] if isinstance(problems, str) else list(problems)
        super().__init__("\n".join(self.problems))


class NotFiniteError(UserError):
    """Scores of a classifier that are NaN or infinite: it is damaged, or what it was given is."""


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """The nearest known word as a sentence part, `` (did you mean 'x'?)``, or an empty string."""
    near = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f" (did you mean {near[0]!r}?)" if near else ""
