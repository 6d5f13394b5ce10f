"""Names as text: no control character, nothing that turns the direction, no end of a script."""

from __future__ import annotations

import json

import pytest

from explainers.report.text import percent, printable, script_json


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[31mred", "␛[31mred"),
        ("a\x00b\x7f", "a␀b␡"),
        ("\u202egnp.exe", "�gnp.exe"),
        ("שלום", "שלום"),
        ("👩‍⚕️", "👩‍⚕️"),
        ("\ud800", "�"),
    ],
)
def test_what_cannot_be_seen_is_made_visible(text, shown):
    assert printable(text) == shown


def test_no_value_ends_the_script_that_it_stands_in():
    text = script_json({"</script><script>": ["<!--", "\u2028&", float("inf"), ("a", 1.5)]})
    assert not set("<>&\u2028") & set(text)
    assert json.loads(text) == {"</script><script>": ["<!--", "\u2028&", None, ["a", 1.5]]}


def test_a_percentage_never_says_all_or_nothing_of_what_is_not():
    assert [percent(share)[:-2] for share in (0.0, 0.0001, 0.05, 0.5, 0.9999, 1.0)] == [
        "0", "< 0.1", "5", "50", "> 99.9", "100",
    ]  # fmt: skip
