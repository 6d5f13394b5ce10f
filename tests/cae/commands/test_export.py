"""ONNX files give what PyTorch gives, for any number of images."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tiny_training import level_classifier, tiny_config, tiny_data
from torch import Tensor

from cae.commands import export as module
from cae.commands.export import export
from cae.config import Config
from cae.config.command_line import load_config
from cae.counterfactuals.find import find_counterfactuals
from cae.errors import UserError
from cae.manifold.class_manifold import ClassManifold
from cae.models.cae import CAE
from cae.runs.run_folder import RunFolder
from cae.runs.trained_run import TrainedRun

pytestmark = pytest.mark.slow  # PyTorch's exporter takes seconds for each graph
pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")


def run_of(config: Config) -> TrainedRun:
    """A run of tiny, untrained networks."""
    data, classifier = tiny_data(config), level_classifier()
    torch.manual_seed(0)
    cae = CAE(data.image_shape, config.cae.model).eval().requires_grad_(False)
    manifold = ClassManifold.build(cae, classifier, data.loader(data.train), config=config.manifold)
    return TrainedRun(config, RunFolder(config), data, classifier, torch.device("cpu"), None, cae, manifold)


@pytest.fixture(scope="module", autouse=True)
def _opened():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "load_run", run_of)
        yield


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """A run with its counterfactuals towards one class exported."""
    folder = tmp_path_factory.mktemp("runs") / "own"
    export(config_in(folder, "counterfactual.target=grey"))
    return folder


def config_in(folder, *overrides) -> Config:
    return tiny_config(f"runs={folder.parent}", f"name={folder.name}", *overrides)


def images_of(run: TrainedRun, count: int) -> Tensor:
    return torch.stack([run.data.test[place].image for place in range(count)])


def session(folder, name):
    path = folder / "explanations" / "export" / f"{name}.onnx"
    return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])


def test_the_files_and_what_they_say_of_themselves(exported):
    folder = exported / "explanations" / "export"
    assert {path.name for path in folder.iterdir() if path.suffix} == {
        "encoder.onnx", "decoder.onnx", "counterfactual_to_grey.onnx"
    }  # fmt: skip
    facts = session(exported, "counterfactual_to_grey").get_modelmeta().custom_metadata_map
    assert facts["target"] == "grey"
    assert facts["classes"] == "dark,grey,bright"
    assert len(facts["fingerprint_classifier"]) == 16


def test_a_counterfactual_of_the_search_is_on_the_way_of_the_graph(exported):
    run = run_of(config_in(exported, "counterfactual.reference=prototype", "counterfactual.references=1"))
    images = images_of(run, 3)
    found = find_counterfactuals(
        run.cae, run.classifier, run.manifold, images, targets=torch.tensor([1, 1, 1]), config=run.config.counterfactual
    )
    graph = session(exported, "counterfactual_to_grey")
    end = graph.run(None, {"images": images.numpy(), "position": np.ones(3, np.float32)})[0]
    start = graph.run(None, {"images": images.numpy(), "position": np.zeros(3, np.float32)})[0]
    assert np.abs(start - images.numpy()).max() < 1e-4  # nothing is changed yet
    compared = [(number, result) for number, result in enumerate(found) if len(result.path_images) > 1]
    assert compared
    for number, result in compared:
        assert np.abs(end[number] - result.path_images[-1].numpy()).max() < 1 / 255  # which are rounded to 8 bits


def test_encoder_and_decoder_fit_together(exported):
    run = run_of(config_in(exported))
    images = images_of(run, 5)
    codes = session(exported, "encoder").run(None, {"images": images.numpy()})
    found = session(exported, "decoder").run(None, dict(zip(("class_code", "individual_code"), codes, strict=True)))[0]
    with torch.no_grad():
        own = run.cae.encode(images)
        assert np.abs(found - run.cae.decode(own.class_code, own.individual_code).numpy()).max() < 1e-4


def test_a_file_that_gives_other_numbers_is_not_written(exported, monkeypatch):
    monkeypatch.setattr(module, "_difference", lambda *arguments: float("nan"))
    before = (exported / "explanations" / "export" / "encoder.onnx").read_bytes()
    with pytest.raises(UserError, match=r"encoder\.onnx' is not written"):
        export(config_in(exported, "counterfactual.target=grey"))
    assert (exported / "explanations" / "export" / "encoder.onnx").read_bytes() == before


def test_an_unknown_class_is_named(exported):
    with pytest.raises(UserError, match=r"must be one of the classes .*got 'gre' .did you mean 'grey'"):
        export(config_in(exported, "counterfactual.target=gre"))


def test_without_the_packages_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "onnxruntime", None)
    with pytest.raises(UserError, match=r"pip install 'cae-explain\[onnx\]'"):
        export(load_config())
