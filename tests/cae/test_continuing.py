"""Continuing earlier work: the same work goes on, other work is refused by name."""

import json

import pytest

from cae.continuing import NOTE, changed_names, continue_work, same_work
from cae.errors import UserError


def test_identities_are_compared_as_json_holds_them():
    assert same_work({"sizes": (1, 2), "name": None}, {"sizes": [1, 2], "name": None})
    assert not same_work({"sizes": [1, 2]}, {"sizes": [2, 1]})
    assert changed_names({"a": 1, "b": [1], "gone": 2}, {"a": 1, "b": (1,), "new": 3}) == ["gone", "new"]
    assert changed_names({"a": None}, {}) == []


def test_the_same_work_goes_on(tmp_path):
    for _ in range(2):
        continue_work(tmp_path, {"seed": 0, "sizes": (1, 2)}, "here.folder")
    assert json.loads((tmp_path / NOTE).read_text()) == {"seed": 0, "sizes": [1, 2]}


def test_other_work_is_refused_with_both_values_and_every_way_out(tmp_path):
    continue_work(tmp_path, {"seed": 0, "fingerprint": "f00"}, "here.folder")
    before = (tmp_path / NOTE).read_bytes()
    with pytest.raises(UserError) as refused:
        continue_work(tmp_path, {"seed": 1, "fingerprint": "", "limit": True}, "here.folder")
    for words in ("seed was 0 and is 1", "fingerprint was f00 and is absent", "limit was null and is true",
                  "overwrite=true", "here.folder=NAME", "set them back"):  # fmt: skip
        assert words in str(refused.value)
    assert (tmp_path / NOTE).read_bytes() == before


def test_a_note_without_results_is_of_no_account(tmp_path):
    continue_work(tmp_path, {"seed": 0}, "here.folder", begun=False)
    continue_work(tmp_path, {"seed": 1}, "here.folder", begun=False)
    with pytest.raises(UserError, match="seed was 1 and is 2"):
        continue_work(tmp_path, {"seed": 2}, "here.folder", begun=True)


def test_results_without_a_note_are_not_continued(tmp_path):
    with pytest.raises(UserError, match="seed was null and is 0"):
        continue_work(tmp_path, {"seed": 0}, "here.folder", begun=True)


def test_parts_join_one_another_and_are_kept_when_not_asked_for(tmp_path):
    continue_work(tmp_path, {"seed": 0}, "here.folder", parts={"one": {"window": 2}})
    continue_work(tmp_path, {"seed": 0}, "here.folder", parts={"two": {"window": 4}})
    continue_work(tmp_path, {"seed": 0}, "here.folder", parts={"one": {"window": 2}})
    with pytest.raises(UserError, match=r"two\.window was 4 and is 5"):
        continue_work(tmp_path, {"seed": 0}, "here.folder", parts={"one": {"window": 2}, "two": {"window": 5}})


def test_a_note_of_the_former_form_is_understood(tmp_path):
    former = {"common": {"seed": 0}, "methods": {"one": {"window": 2}}}
    (tmp_path / NOTE).write_text(json.dumps(former))
    continue_work(tmp_path, {"seed": 0}, "here.folder", parts={"one": {"window": 2}})
    with pytest.raises(UserError, match="seed was 0 and is 1"):
        continue_work(tmp_path, {"seed": 1}, "here.folder", parts={"one": {"window": 2}})
