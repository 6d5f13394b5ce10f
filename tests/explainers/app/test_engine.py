"""What the app answers, by the shipped run: paths, codes moved by hand, regions, downloads."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest
import torch
from made_counterfactuals import counterfactual
from PIL import Image

from cae.config.command_line import load_config
from cae.counterfactuals.result import Counterfactual
from cae.errors import UserError
from cae.runs.trained_run import load_run
from explainers.app.downloads import Downloads
from explainers.app.engine import Engine, composed, share_inside
from explainers.app.interface import Visit, _Page, described, drawn_region
from explainers.app.uploads import Limits
from explainers.commands.serve import check, is_token, live_maps


@pytest.fixture(scope="module")
def engine() -> Engine:
    small = ("data.lesions.train=30", "data.lesions.val=3", "data.lesions.test=6", "trainer.accelerator=cpu")
    return Engine(load_run("pretrained", *small))


@pytest.fixture(scope="module")
def images(engine) -> list[torch.Tensor]:
    return [engine.run.data.test[number].image for number in range(6)]


@pytest.fixture(scope="module")
def visit(engine, images) -> Visit:
    return Visit(images[0], engine.explain(images[0], "mass"))


def test_a_path_leads_to_the_class_that_was_asked_for(visit):
    assert visit.result.target_class == "mass"
    assert "mass" in described(visit.result)


def test_what_is_not_offered_is_refused(engine, images):
    with pytest.raises(UserError, match="there is no class 'mas'"):
        engine.explain(images[0], "mas")
    with pytest.raises(UserError, match="reference must be one of"):
        engine.explain(images[0], reference="../../etc/passwd")
    with pytest.raises(UserError, match="along 6 axes"):
        engine.moved(images[0], [0.0])
    with pytest.raises(UserError, match="at most 4 deviations"):
        engine.moved(images[0], [float("nan")] * 6)


def test_visitors_at_once_get_what_each_would_get_alone(engine, images):
    alone = [engine.explain(image) for image in images]
    with ThreadPoolExecutor(6) as pool:
        together = list(pool.map(engine.explain, images))
    for one, other in zip(alone, together, strict=True):
        assert one.path_images.equal(other.path_images)


def test_a_code_at_rest_changes_nothing(engine, images):
    still = engine.moved(images[0], [0.0] * len(engine.axes))
    assert still.image.allclose(images[0], atol=1e-5)
    assert still.classifier.keys() == still.oracle.keys() == set(engine.run.classes)
    assert not engine.moved(images[0], [3.0, *[0.0] * 5]).image.allclose(images[0], atol=0.01)


def test_the_whole_image_as_a_region_has_the_whole_change(engine, visit):
    whole = torch.ones(1, 64, 64, dtype=torch.bool)
    found = engine.region(visit.result, whole)
    assert found.share == pytest.approx(1.0)
    assert found.inside.image.equal(visit.result.end)
    assert found.outside.image.equal(visit.result.path_images[0])


def test_an_image_composed_of_two_is_each_in_its_part():
    region = torch.tensor([[[True, False]]])
    assert composed(torch.zeros(1, 1, 2), torch.ones(1, 1, 2), region).tolist() == [[[1.0, 0.0]]]
    assert share_inside(torch.zeros(1, 1, 2), torch.tensor([[[3.0, 1.0]]]), region) == 0.75
    assert share_inside(torch.zeros(1, 1, 2), torch.zeros(1, 1, 2), region) is None


def test_a_region_that_nobody_drew_is_asked_for(engine, visit):
    nothing = drawn_region({"layers": [Image.new("RGBA", (512, 512))]}, (64, 64))
    with pytest.raises(UserError, match="the region is empty"):
        engine.region(visit.result, nothing)
    with pytest.raises(UserError, match="no change to look at"):
        engine.region(counterfactual(status="already_target"), torch.ones(1, 28, 28, dtype=torch.bool))


def test_what_is_drawn_is_brought_to_the_image():
    layer = Image.new("RGBA", (512, 512))
    layer.paste((255, 0, 0, 255), (0, 0, 256, 512))
    region = drawn_region({"layers": [layer]}, (64, 32))
    assert region[0, :, :16].all()
    assert not region[0, :, 16:].any()


def test_downloads_are_those_of_traverse_and_old_ones_go(visit):
    downloads = Downloads(most=2)
    first = downloads.write(visit.result)
    assert {path.parent.name for path in first} == {"strips", "gifs", "images", "tensors"}
    saved = next(path for path in first if path.suffix == ".safetensors")
    assert Counterfactual.load(saved).path_images.equal(visit.result.path_images)
    downloads.write(visit.result)
    assert saved.exists()
    downloads.write(visit.result)
    assert not saved.exists()


def test_the_page_answers_only_what_was_explained(engine, visit):
    page = _Page(engine, live_maps(engine, load_config(overrides=["methods=[random]"])), Limits())
    for question in (page.frame, page.moved, page.region, page.map):
        with pytest.raises(UserError, match="nothing was explained yet"):
            question(None, None)
    picture, seen, oracle = page.frame(visit, 10**9)
    assert picture.size == (192, 192)
    assert max(seen, key=seen.get) == max(oracle, key=oracle.get) == "mass"
    with pytest.raises(UserError, match="no picture yet"):
        page.explain(None, "mass", "prototype")


def test_maps_are_of_the_explainers_that_are_offered(engine, images):
    explain = live_maps(engine, load_config(overrides=["methods=[random]"]))
    assert explain("random", images[0]).attribution.shape == (1, 1, 64, 64)
    with pytest.raises(UserError, match="there is no explainer 'lime'"):
        explain("lime", images[0])


def test_the_app_opens_to_others_only_behind_a_token(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: SimpleNamespace(origin="gradio.py"))
    check(load_config(overrides=[]))
    with pytest.raises(UserError, match=r"serve\.host=0\.0\.0\.0 opens the app to other machines"):
        check(load_config(overrides=["serve.host=0.0.0.0"]))
    with pytest.raises(UserError, match="at least 16 characters"):
        check(load_config(overrides=["serve.host=0.0.0.0", "serve.token=short"]))
    check(load_config(overrides=["serve.host=0.0.0.0", "serve.token=long-enough-secret"]))
    assert is_token("long-enough-secret", "long-enough-secret")
    assert not is_token("é", "long-enough-secret")


def test_without_gradio_a_sentence_says_how_to_get_it(monkeypatch):
    for found in (None, SimpleNamespace(origin=None)):  # not there, or a folder that was left behind
        monkeypatch.setattr("importlib.util.find_spec", lambda name, found=found: found)
        with pytest.raises(UserError, match=r"pip install 'cae-explain\[app\]'"):
            check(load_config(overrides=[]))
