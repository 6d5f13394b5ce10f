"""The app over HTTP: answers, files, refusals, visitors at once, and a token for others."""

from __future__ import annotations

import io
import re
import resource
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from malformed_pictures import MALFORMED
from PIL import Image
from served_app import RefusedError, Visitor, png, served, shipped_engine

from cae.counterfactuals.result import Counterfactual
from explainers.app.engine import written

TOKEN = "long-enough-secret"


@pytest.fixture(scope="module")
def engine():
    return shipped_engine()


@pytest.fixture(scope="module")
def pictures(engine) -> list[bytes]:
    return [png(engine.run.data.test[number].image) for number in range(6)]


@pytest.fixture(scope="module")
def url(engine):
    with served(engine, "serve.largest_upload=0.1", "serve.pixels=0.1") as address:
        yield address


@pytest.fixture
def visitor(url) -> Visitor:
    return Visitor(url)


def test_a_picture_that_is_sent_is_explained_moved_and_mapped(visitor, pictures):
    words, strip, slider, image, seen, oracle, _ = visitor.explain(pictures[0])
    assert words.endswith("the answer is mass.")
    assert int.from_bytes(visitor.get(strip["path"])[16:20], "big") > 1000  # the width that the PNG file says
    assert Image.open(io.BytesIO(visitor.get(image["path"]))).size == (192, 192)
    assert seen["label"] == "mass"
    assert {one["label"] for one in oracle["confidences"]} == {"healthy", "mass", "cyst"}
    assert visitor.ask("frame", 0)[1]["label"] == "healthy"
    assert slider["value"] > 0
    assert visitor.ask("moved", 1, 0, 0, 0, 0, 0)[1]["confidences"]  # whole numbers, as a browser writes them
    assert "random for" in visitor.ask("map", "random")[1]


def test_what_a_region_holds_is_asked_over_http(visitor, pictures):
    visitor.explain(pictures[0])
    layer = io.BytesIO()
    Image.new("RGBA", (512, 512), (255, 0, 0, 255)).save(layer, "PNG")
    drawn = visitor.upload("layer.png", layer.getvalue())
    answer = visitor.ask("region", {"background": None, "layers": [drawn], "composite": None})[0]
    assert answer.startswith("100% of the change lies in the region")


def test_downloads_are_the_files_that_traverse_writes(engine, visitor, pictures, tmp_path):
    visitor.explain(pictures[0])
    files = {file["path"].rpartition("/")[2]: visitor.get(file["path"]) for file in visitor.ask("files")[0]}
    (tmp_path / "sent.safetensors").write_bytes(next(data for name, data in files.items() if name.endswith("tensors")))
    result = Counterfactual.load(tmp_path / "sent.safetensors")
    expected = written(result, tmp_path / "expected")
    assert sorted(files) == sorted(path.name for path in expected)
    for path in expected:
        if path.suffix == ".png":
            assert files[path.name] == path.read_bytes()


@pytest.mark.parametrize("kind", MALFORMED)
def test_a_malformed_upload_is_refused_in_words_without_a_path(visitor, kind):
    with pytest.raises(RefusedError) as refused:
        visitor.explain(MALFORMED[kind])
    assert "/" not in str(refused.value)
    assert re.search("the (upload|picture|file|image) |exceeded maximum allowed size", str(refused.value))


OUTSIDE = (
    "/etc/passwd",
    "/proc/self/environ",
    "../../../../etc/passwd",
    "..%2f..%2f..%2fetc%2fpasswd",
    "/var/../etc/passwd",
    "file:///etc/passwd",
    "C:\\Windows\\win.ini",
    "\\\\host\\share\\x.png",
    "/etc/passwd%00.png",
    "pyproject.toml",
)


@pytest.mark.parametrize("place", OUTSIDE)
def test_no_file_of_the_machine_is_handed_out_or_read(visitor, place):
    assert visitor.http.get(f"/file={place}").status_code in (400, 403, 404)
    with pytest.raises(RefusedError):
        visitor.ask("explain", {"path": place, "meta": {"_type": "gradio.FileData"}}, "mass", "prototype")


def test_a_picture_of_the_machine_is_not_explained(visitor, tmp_path_factory):
    place = tmp_path_factory.mktemp("private") / "secret.png"
    Image.new("L", (64, 64)).save(place)
    for path in (str(place), f"{place.parent}/x/../secret.png"):
        with pytest.raises(RefusedError):
            visitor.ask("explain", {"path": path, "meta": {"_type": "gradio.FileData"}}, "mass", "prototype")
        assert visitor.http.get(f"/file={path}").status_code in (403, 404)


@pytest.mark.parametrize("place", ["http://127.0.0.1:9/x.png", "https://example.org/x.png", "ftp://127.0.0.1/x.png"])
def test_nothing_is_fetched_from_elsewhere(visitor, place):
    with pytest.raises(RefusedError):
        visitor.ask("explain", {"path": place, "meta": {"_type": "gradio.FileData"}}, "mass", "prototype")
    assert visitor.http.get(f"/proxy={place}").status_code >= 400


def test_a_name_that_leaves_the_folder_does_not_leave_it(visitor, pictures):
    sent = visitor.upload("../../../../tmp/evil\x1b[31m.png", pictures[0])
    assert ".." not in sent["path"]
    assert sent["path"].count("/evil") == 1


def test_an_upload_beyond_the_limit_is_refused_before_it_is_stored(visitor):
    with pytest.raises(RefusedError, match="exceeded maximum allowed size"):
        visitor.upload("large.png", bytes(200_000))


def test_questions_of_another_form_are_refused_and_the_server_goes_on(visitor, pictures):
    for values in (
        (None, "mass", "prototype"), ("text", "mass", "prototype"), (1, 2, 3), ([], {}, None), (),
        ({"path": None}, "mass", "prototype"), ({"meta": {}}, "mass", "prototype"),
    ):  # fmt: skip
        with pytest.raises(RefusedError):
            visitor.ask("explain", *values)
    assert visitor.explain(pictures[1], "healthy")[0].startswith("mass")


def test_an_error_of_one_visitor_is_told_to_that_visitor_alone(url, pictures):
    one, other = Visitor(url), Visitor(url)
    one.explain(pictures[0])
    for question, values in (
        ("frame", ["NaN"]), ("moved", [9.0] * 6), ("moved", ["a"] * 6), ("map", ["lime"]), ("region", [None])
    ):  # fmt: skip
        with pytest.raises(RefusedError):
            one.ask(question, *values)
    with pytest.raises(RefusedError, match="nothing was explained yet"):
        other.ask("frame", 0)
    assert one.ask("frame", 0)[1]["label"] == "healthy"


@pytest.mark.slow
def test_visitors_at_once_do_not_mix(url, pictures):
    visitors = [Visitor(url) for _ in pictures]
    targets = ["mass", "cyst", "healthy"] * 2
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(Visitor.explain, visitors, pictures, targets))
        firsts = list(pool.map(lambda one: one.get(one.ask("frame", 0)[0]["path"]), visitors))
    for sent, first in zip(pictures, firsts, strict=True):
        shown = np.asarray(Image.open(io.BytesIO(first)).convert("L").resize((64, 64), Image.Resampling.NEAREST))
        assert np.abs(shown.astype(int) - np.asarray(Image.open(io.BytesIO(sent)), int)).max() <= 2


@pytest.mark.slow
def test_of_fifty_visitors_at_once_none_is_lost_and_memory_is_bounded(url, pictures):
    Visitor(url).explain(pictures[0])
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with ThreadPoolExecutor(50) as pool:
        answers = list(pool.map(lambda number: Visitor(url).explain(pictures[number % 6], "healthy"), range(50)))
    assert len({answer[0] for answer in answers}) <= 6
    assert all(answer[0] for answer in answers)
    # kilobytes; some 2 MB of each visitor's path are kept, and the search is one at a time
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 400_000


def test_others_are_let_in_by_the_token_alone(engine, pictures):
    with served(engine, "serve.host=127.0.0.1", f"serve.token={TOKEN}") as address:
        stranger = Visitor(address)
        for place in (f"{address}/config", "/info"):
            assert stranger.http.get(place).status_code == 401
        assert stranger.http.post("/upload", files={"files": ("a.png", pictures[0])}).status_code == 401
        assert stranger.http.post("/call/rest", json={"data": []}).status_code == 401
        assert stranger.http.get("/file=/etc/passwd").status_code == 401
        for word in ("wrong", TOKEN[:-1], f"{TOKEN} "):
            assert stranger.http.post(f"{address}/login", data={"username": "a", "password": word}).status_code == 400
        assert stranger.http.post(f"{address}/login", data={"username": "a", "password": TOKEN}).status_code == 200
        assert stranger.explain(pictures[0])[0].endswith("the answer is mass.")
