"""What others send is data: nothing in it runs, unless it is asked for by name."""

from __future__ import annotations

import pickle
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_training import OPTIONS

import cae
from cae.classifiers import load_classifier
from cae.classifiers.checkpoints import read_state_dict
from cae.config import ClassifierConfig
from cae.config.command_line import load_config, parse, save_config
from cae.data import CAEDataModule
from cae.errors import UserError
from cae.files import read_checkpoint
from cae.runs.classifier_run import open_classifier
from cae.runs.run_config import explanation_config

SMALL = (*OPTIONS, "data.lesions.train=6", "data.lesions.val=3", "data.lesions.test=3", "cae.black_box=true")
WORDS = "asks to run .*A run folder is data"


class Payload:
    """Writes a file as soon as it is unpickled."""

    def __init__(self, mark: Path):
        self.mark = mark

    def __reduce__(self):
        return Path.touch, (self.mark,)


@pytest.fixture
def mark(tmp_path) -> Path:
    return tmp_path / "mark"


def zipped_pickle(path: Path, mark: Path) -> None:
    """A checkpoint of PyTorch's own form around a payload."""
    torch.save({"state_dict": {"a": torch.ones(1)}, "epoch": 1, "global_step": 1}, path)
    with zipfile.ZipFile(path) as archive:
        content = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, part in content.items():
            archive.writestr(name, pickle.dumps(Payload(mark), 2) if name.endswith("data.pkl") else part)


def bare_pickle(path: Path, mark: Path) -> None:
    path.write_bytes(pickle.dumps(Payload(mark), 2))


def test_the_payload_works(mark, tmp_path):
    bare_pickle(tmp_path / "payload", mark)
    pickle.loads((tmp_path / "payload").read_bytes())
    assert mark.exists()


@pytest.mark.parametrize("write", [zipped_pickle, bare_pickle])
@pytest.mark.parametrize("name", ["w.pt", "w.pth", "last.ckpt", "w.safetensors", "w.bin"])
@pytest.mark.parametrize("read", [read_state_dict, read_checkpoint, cae.CAE.load, cae.ClassManifold.load])
def test_objects_in_weights_are_not_made(read, name, write, mark, tmp_path):
    write(tmp_path / name, mark)
    with pytest.raises(UserError, match=name):
        read(tmp_path / name)
    assert not mark.exists()


def test_objects_in_a_numpy_archive_are_not_made(mark, tmp_path):
    payload = np.empty(1, dtype=object)
    payload[0] = Payload(mark)
    np.savez(tmp_path / "own.npz", train_images=payload)
    config = load_config(overrides=["data.source=medmnist", f"data.path={tmp_path / 'own.npz'}"])
    with pytest.raises(UserError, match=r"own\.npz"):
        CAEDataModule(config.data).setup()
    assert not mark.exists()


@pytest.mark.parametrize("tag", ["!!python/object/apply:pathlib.Path.touch [x]", "!!python/name:os.system", "!own x"])
def test_tags_in_a_configuration_are_refused(tag, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for text in (f"name: {tag}\n", f"data:\n  path: {tag}\n", f"- {tag}\n"):
        (tmp_path / "config.yaml").write_text(text)
        with pytest.raises(UserError, match=r"config\.yaml"):
            load_config([tmp_path / "config.yaml"], former=True)
    assert [path.name for path in tmp_path.iterdir()] == ["config.yaml"]


@pytest.fixture
def received(tmp_path, mark, monkeypatch) -> Path:
    """A run folder with a module beside its ``config.yaml``, opened from within, where Python finds the module."""
    folder = tmp_path / "runs" / "received"
    folder.mkdir(parents=True)
    (folder / "received_scores.py").write_text(
        f"import pathlib\npathlib.Path({str(mark)!r}).touch()\n"
        "def scores(images):\n    bright = images.mean((1, 2, 3))\n    return bright[:, None] * [1, 0.5, 0.2]\n"
    )
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.delitem(sys.modules, "received_scores", raising=False)
    return folder


def asking_for(folder: Path, *options: str) -> tuple[str, ...]:
    save_config(load_config(overrides=[*SMALL, *options]), folder / "config.yaml")
    return options


def explained(folder: Path, *words: str) -> None:
    """What ``explain.py compare`` opens."""
    arguments = ["compare", f"runs={folder.parent}", f"name={folder.name}", "trainer.accelerator=cpu", *words]
    open_classifier(explanation_config(parse(arguments, {"compare": ""}, "explain.py")))


@pytest.fixture(params=["callable", "torchscript"])
def program(request, received, mark) -> tuple[str, ...]:
    if request.param == "callable":
        return asking_for(received, "classifier.model=callable:received_scores:scores")
    path = received / "classifier.pt"
    with pytest.warns(match="torch.jit"):
        torch.jit.script(torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(256, 3))).save(str(path))
    return asking_for(received, "classifier.model=torchscript", f"classifier.weights={path}")


def test_a_received_run_starts_no_program(received, program, mark):
    with pytest.raises(UserError, match=WORDS) as told:
        explained(received)
    assert " ".join(program) in str(told.value)
    for opens in (cae.load_run, open_classifier):
        with pytest.raises(UserError, match=WORDS):
            opens(received)
    assert not mark.exists()


def test_another_program_than_the_one_asked_for_is_not_started(received, mark, tmp_path):
    asking_for(received, "classifier.model=callable:received_scores:scores")
    (tmp_path / "own.yaml").write_text("classifier: {model: 'callable:other:scores'}\n")
    with pytest.raises(UserError, match=WORDS):
        explained(received, str(tmp_path / "own.yaml"))
    asking_for(received, "classifier.model=torchscript", f"classifier.weights={received / 'any.pt'}")
    (tmp_path / "own.yaml").write_text("classifier: {model: torchscript, weights: other.pt}\n")
    with pytest.raises(UserError, match=WORDS):
        explained(received, str(tmp_path / "own.yaml"))
    assert not mark.exists()


@pytest.mark.parametrize("way", ["arguments", "YAML", "Python", "Python argument"])
def test_a_program_that_is_asked_for_runs(way, received, program, tmp_path):
    if way == "arguments":
        explained(received, *program)
    elif way == "YAML":
        lines = [f"{name}: '{value}'" for name, _, value in (option.partition("=") for option in program)]
        (tmp_path / "own.yaml").write_text("\n".join(lines))
        explained(received, str(tmp_path / "own.yaml"))
    elif way == "Python":
        open_classifier(received, *program)
    else:
        open_classifier(received, trust_programs=True)


def onnx_with_data_in(path: Path, place: str) -> None:
    """A classifier of 4 x 4 pixels whose weights lie in another file."""
    onnx = pytest.importorskip("onnx")
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    weights = onnx.TensorProto(name="w", dims=[16, 3], data_type=kind, data_location=onnx.TensorProto.EXTERNAL)
    for key, value in (("location", place), ("offset", "0"), ("length", str(16 * 3 * 4))):
        entry = weights.external_data.add()
        entry.key, entry.value = key, value
    nodes = [helper.make_node("Flatten", ["x"], ["f"]), helper.make_node("MatMul", ["f", "w"], ["y"])]
    ends = (
        [helper.make_tensor_value_info("x", kind, ["b", 1, 4, 4])],
        [helper.make_tensor_value_info("y", kind, ["b", 3])],
    )
    model = helper.make_model(
        helper.make_graph(nodes, "net", *ends, [weights]), opset_imports=[helper.make_opsetid("", 17)]
    )
    model.ir_version = 8
    path.write_bytes(model.SerializeToString())


@pytest.mark.parametrize("place", ["../secret", "{absolute}", "link"])
def test_an_onnx_file_reads_no_data_outside_its_folder(place, tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "secret").write_bytes(np.ones((16, 3), np.float32).tobytes())
    (tmp_path / "model" / "link").symlink_to(tmp_path / "secret")
    path = tmp_path / "model" / "own.onnx"
    onnx_with_data_in(path, place.format(absolute=tmp_path / "secret"))
    config = ClassifierConfig(model="onnx", weights=str(path))
    with pytest.raises(UserError, match=r"own\.onnx"):
        load_classifier(config, ("a", "b", "c"), (1, 4, 4))


def test_an_onnx_file_may_keep_its_weights_beside_it(tmp_path):
    (tmp_path / "weights").write_bytes(np.ones((16, 3), np.float32).tobytes())
    onnx_with_data_in(tmp_path / "own.onnx", "weights")
    config = ClassifierConfig(model="onnx", weights=str(tmp_path / "own.onnx"))
    assert load_classifier(config, ("a", "b", "c"), (1, 4, 4)).classes == ("a", "b", "c")
