"""The exception that stands for a mistake of the user, and its kinds."""

from __future__ import annotations

import difflib
import re
import sys
from collections.abc import Iterable
from itertools import islice

MOST_KNOWN = 3000  # words among which the nearest is looked for

# what a terminal obeys or hides: control characters but line feed and tab, and marks that turn the direction of text
_UNSEEN = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


class UserError(Exception):
    """A mistake that the user can mend: printed as words, without a traceback, exit code 2.

    Several problems found together are given as a list, so that all can be mended at once.
    """

    def __init__(self, problems: str | Iterable[str]):
        self.problems = _from_worker(problems) if isinstance(problems, str) else list(problems)
        super().__init__("\n".join(self.problems))


def _from_worker(text: str) -> list[str]:
    """The sentences of an error that a process of a data loader raised: torch wraps their traceback around them."""
    if not re.match(r"Caught \w+ in ", text):
        return [text]
    *_, sentences = re.split(r"^cae\.errors\.\w+: ", text, flags=re.MULTILINE)
    return sentences.strip().splitlines()


class NotFiniteError(UserError):
    """Scores of a classifier that are NaN or infinite: it is damaged, or what it was given is."""


def printable(text: str) -> str:
    r"""The text with what a terminal would obey or cannot show, such as bytes of a file name, escaped.

    >>> printable("a\x1b[2Jb"), printable("a\n\tb")
    ('a\\x1b[2Jb', 'a\n\tb')
    """
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    seen = _UNSEEN.sub(lambda found: found[0].encode("unicode_escape").decode(), text)
    return seen.encode(encoding, "backslashreplace").decode(encoding)


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """The nearest known word as a sentence part, `` (did you mean 'x'?)``, or an empty string.

    At most ``MOST_KNOWN`` are looked at: a hint must not cost more than the error.
    """
    near = difflib.get_close_matches(word, list(islice(known, MOST_KNOWN)), n=1, cutoff=0.6)
    return f" (did you mean {near[0]!r}?)" if near else ""
