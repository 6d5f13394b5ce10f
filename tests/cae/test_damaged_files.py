"""A damaged file is named, with a way out; nothing ends in a traceback."""

from __future__ import annotations

import json
import os

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from tiny_training import same

from cae.classifiers.checkpoints import read_state_dict
from cae.continuing import continue_work
from cae.errors import UserError
from cae.files import read_checkpoint, read_json, read_tensors, update_json, write_json, write_tensors, write_weights
from cae.manifold.class_manifold import ClassManifold
from cae.models.cae import CAE
from cae.models.published import PublishedCAE
from cae.tables.index import COLUMNS, IndexRow, read_features, read_index, write_parquet
from cae.training.csv_log import read_log
from cae.training.trainer import AtomicCheckpointIO
from explainers.caes.ncc import NeuralCausation
from explainers.caes.result import CausalScores
from explainers.commands.compare import _values
from explainers.explanation import Explanation
from explainers.infills.learned import LearnedSampler

CONTENTS = {
    "empty": b"",
    "cut off": b'{"cae/steps": 12, "cae/re',
    "noise": bytes(range(256)) * 8,
    "another JSON": b"[1, 2]",
    "nested": b"[" * 100_000,
    "not UTF-8": b'{"a": "\xff"}',
}
READERS = {
    "JSON": read_json,
    "update": lambda path: update_json(path, {"a": 1}),
    "options": lambda path: continue_work(path.parent, {"seed": 1}, "explain.folder"),
    "measures": lambda path: _values(path, dict),
    "checkpoint": read_checkpoint,
    "resumed checkpoint": AtomicCheckpointIO().load_checkpoint,
    "CAE": CAE.load,
    "published CAE": PublishedCAE.load,
    "manifold": ClassManifold.load,
    "coefficients": NeuralCausation.load,
    "sampler": lambda path: LearnedSampler.load(path.parent),
    "scores": CausalScores.load,
    "features": read_features,
    "index": read_index,
    "explanation": Explanation.load,
}
NAMES = {"options": "options.json", "sampler": "sampler.safetensors"}


def refused(reader: str, path) -> None:
    with pytest.raises(UserError) as told:
        READERS[reader](path)
    assert str(path) in str(told.value)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("content", CONTENTS)
def test_a_damaged_file_is_named(reader, content, tmp_path):
    path = tmp_path / NAMES.get(reader, "own.file")
    path.write_bytes(CONTENTS[content])
    refused(reader, path)
    assert path.read_bytes() == CONTENTS[content]


@pytest.mark.parametrize("reader", READERS)
def test_a_folder_in_place_of_a_file_is_named(reader, tmp_path):
    path = tmp_path / NAMES.get(reader, "own.file")
    path.mkdir()
    refused(reader, path)


@pytest.mark.parametrize("reader", READERS)
def test_a_pipe_is_not_waited_for(reader, tmp_path):
    path = tmp_path / NAMES.get(reader, "own.file")
    os.mkfifo(path)
    refused(reader, path)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.999])
def test_a_checkpoint_that_was_cut_off_is_named(share, tmp_path):
    path = tmp_path / "last.ckpt"
    torch.save({"state_dict": {"a": torch.ones(100)}, "epoch": 1, "global_step": 2}, path)
    assert read_checkpoint(path)["epoch"] == 1
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(UserError, match=r"last\.ckpt' is damaged.*resume=last"):
        read_checkpoint(path)


def flipped(content: bytes, count: int):
    """The content with one bit changed, at ``count`` places spread over it."""
    for number in range(count):
        place, bit = number * len(content) // count, number % 8
        yield content[:place] + bytes([content[place] ^ 1 << bit]) + content[place + 1 :]


WEIGHTS = {"a": torch.arange(12.0).reshape(3, 4), "b": torch.tensor([1, 2]), "c": torch.ones(2, dtype=torch.bool)}


@pytest.mark.parametrize("read", [lambda path: read_tensors(path, "own"), lambda path: (None, read_state_dict(path))])
def test_a_flipped_bit_in_weights_changes_nothing_unseen(read, tmp_path):
    path = tmp_path / "own.safetensors"
    write_weights(path, WEIGHTS, "own", {"classes": ["x", "y"]})
    whole, found = path.read_bytes(), 0
    header, _ = read(path)
    for content in flipped(whole, 250):
        path.write_bytes(content)
        try:
            same_header, tensors = read(path)
        except (UserError, ValueError, KeyError, SafetensorError):
            found += 1
        else:
            assert same_header is None or same_header["classes"] == header["classes"]
            assert same(tensors, WEIGHTS)
    assert found > 220  # the rest is the padding, and the name of the digest


@pytest.mark.parametrize("read", [read_checkpoint, read_state_dict])
def test_a_flipped_bit_in_a_checkpoint_changes_nothing_unseen(read, tmp_path):
    path = tmp_path / "best.ckpt"
    content = {"state_dict": {"a": torch.rand(3000)}, "epoch": 1, "global_step": 2}
    torch.save(content, path)
    whole, found = read(path), 0
    for damaged in flipped(path.read_bytes(), 300):
        path.write_bytes(damaged)
        try:
            assert same(read(path), whole)
        except UserError:
            found += 1
    assert found > 240  # 12 of 15 kB are the tensor


def test_a_flipped_bit_in_an_index_changes_nothing_unseen(tmp_path):
    path = tmp_path / "index.parquet"
    absent = dict.fromkeys(COLUMNS) | {"source": "cat", "target": "dog", "status": "found"}
    rows = [IndexRow(**{**absent, "image": n, "id": f"test/{n}", "l1": n / 7}) for n in range(9)]
    write_parquet(path, rows)
    assert read_index(path) == rows
    found = 0
    for content in flipped(path.read_bytes(), 60):
        path.write_bytes(content)
        try:
            assert read_index(path) == rows
        except UserError:
            found += 1
    assert found > 10


@pytest.mark.parametrize("part", WEIGHTS)
def test_weights_of_former_versions_have_no_digest_and_open(part, tmp_path):
    save_file({part: WEIGHTS[part]}, tmp_path / "own.safetensors", metadata={"own": "{}"})
    assert same(read_tensors(tmp_path / "own.safetensors", "own")[1], {part: WEIGHTS[part]})
    assert same(read_state_dict(tmp_path / "own.safetensors"), {part: WEIGHTS[part]})


@pytest.mark.parametrize("content", [[1], {"epoch": 1}, {"state_dict": object()}])
def test_a_file_that_is_no_checkpoint_is_named_and_its_objects_are_not_made(content, tmp_path):
    torch.save(content, tmp_path / "last.ckpt")
    with pytest.raises(UserError, match=r"last\.ckpt' is damaged"):
        read_checkpoint(tmp_path / "last.ckpt")


def test_a_header_that_is_no_mapping_is_no_header(tmp_path):
    write_tensors(tmp_path / "own.safetensors", {"a": torch.ones(1)}, "own", [1])
    with pytest.raises(ValueError, match="no mapping"):
        read_tensors(tmp_path / "own.safetensors", "own")


def test_nothing_is_written_in_place_of_a_folder(tmp_path):
    (tmp_path / "metrics.json").mkdir()
    with pytest.raises(UserError, match=r"metrics\.json' is a folder where a file"):
        write_json(tmp_path / "metrics.json", {})
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.json"]


def test_json_of_another_kind_is_refused_unless_asked_for(tmp_path):
    (tmp_path / "own.json").write_text("[1]")
    with pytest.raises(UserError, match="a list instead of a dict"):
        read_json(tmp_path / "own.json")
    assert read_json(tmp_path / "own.json", list) == [1]
    assert read_json(tmp_path / "absent.json") == {}
    assert read_json(tmp_path / "absent.json", list) == []


@pytest.mark.parametrize("note", [{"common": 1}, {"common": {}, "methods": 3}, {"parts": []}])
def test_a_note_of_other_content_is_named(note, tmp_path):
    (tmp_path / "options.json").write_text(json.dumps(note))
    with pytest.raises(UserError, match=r"options\.json' is damaged.*overwrite=true"):
        continue_work(tmp_path, {"seed": 1}, "explain.folder")


def test_a_log_is_read_up_to_a_line_that_was_cut_off(tmp_path):
    path = tmp_path / "metrics.csv"
    path.write_text("step,train/loss,val/score\n1,0.5,\n2,,0.25\n3,0.")
    assert read_log(path) == [{"step": "1", "train/loss": "0.5"}, {"step": "2", "val/score": "0.25"}]
    path.write_text("step,train/loss\n")
    assert read_log(path) == []


@pytest.mark.parametrize(
    "text", ["step,a\n1,2,3\n2,3\n", "step,a\nx,2\n2,3\n", "a,b\n1,2\n2,3\n", "step,a\n1,\0\0\n\xff\xfe\n2,3", '"']
)
def test_a_damaged_log_is_named(text, tmp_path):
    path = tmp_path / "metrics.csv"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(UserError, match=r"metrics\.csv' is damaged.*goes on with a new log"):
        read_log(path)
