"""The report of a run made by hand: what it holds, that it keeps to its size, and that no name becomes markup."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import pytest
import torch
from made_counterfactuals import counterfactual
from markupsafe import escape
from report_run import CLASSES, HOSTILE, report_run

from cae.config import Config
from cae.config.command_line import load_config
from cae.errors import UserError
from cae.generators.table import MEANINGS
from cae.manifold.class_manifold import ClassManifold
from explainers.commands.report import report
from explainers.report.build import build_report
from explainers.report.generator_outcomes import shown_generators
from explainers.report.shown_lines import principal_coordinates, read_lines, shown_lines
from explainers.report.sprites import Detail, sprite
from explainers.report.traversals import path_frames, result_sets, shown_classes, shown_traversals, spread


class Page(HTMLParser):
    """Elements, attributes and data blocks of a page."""

    def __init__(self, html: str):
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []
        self.handlers: list[str] = []
        self.blocks: dict[str, str] = {}
        self._block: str | None = None
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.handlers += [name for name, _ in attrs if name.startswith("on") or name == "style"]
        self.links += [value or "" for name, value in attrs if name in ("src", "href")]
        self._block = dict(attrs).get("id") if tag == "script" else None

    def handle_data(self, data):
        if self._block:
            self.blocks[self._block] = data
            self._block = None


@pytest.fixture(scope="module")
def config(tmp_path_factory) -> Config:
    return report_run(tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="module")
def page(config) -> Page:
    return Page(build_report(config).html)


def test_the_file_asks_nothing_of_anybody(page):
    assert all(link.startswith(("#", "data:")) for link in page.links)
    assert page.handlers == []  # no script and no style in an attribute, which the policy would not let pass
    assert "link" not in page.tags
    assert "iframe" not in page.tags


def test_every_result_of_the_run_is_in_it(page):
    data = json.loads(page.blocks["data"])
    assert [entry["status"] for entry in data["traversals"]] == [
        "found", "found", "not_found", "already_target", "found", "found",
    ]  # fmt: skip
    first = data["traversals"][0]
    assert first["classes"] == list(CLASSES)
    assert first["tau"][first["boundary"]] == 0.43
    assert len(first["classifier"]) == len(first["oracle_path"]) == len(first["tau"]) == 12
    assert [method["name"] for method in data["folders"][0]["images"][0]["methods"]] == ["multirex", "pmi", "shearletx"]
    assert len(data["map"]["points"]) == 40 + 5  # the path of the fifth was not saved, and so has no code
    assert sum("tile" in point for point in data["map"]["points"]) == 40
    for sheet in (first["sprite"], data["map"]["sheets"][0], data["folders"][0]["images"][0]["maps"]):
        assert page.blocks["p-" + sheet["key"]]


def test_a_path_that_was_not_saved_is_shown_by_its_pictures(page):
    entry = json.loads(page.blocks["data"])["traversals"][4]
    assert "sprite" not in entry
    assert [picture["words"] for picture in entry["pictures"]] == ["counterfactual", "path's end", "evidence"]


def test_names_that_mean_harm_are_text(tmp_path):
    harmful = Page(
        build_report(report_run(tmp_path, HOSTILE, name="</title><script>alert(1)</script>".replace("/", "∕"))).html
    )
    plain = Page(build_report(report_run(tmp_path, name="plain")).html)
    assert {tag: harmful.tags.count(tag) for tag in ("script", "img")} == {
        tag: plain.tags.count(tag) for tag in ("script", "img")
    }
    assert harmful.handlers == []
    assert json.loads(harmful.blocks["data"])["traversals"][0]["source"] == HOSTILE[0]


@pytest.mark.parametrize("megabytes", [2, 40])
def test_traversals_keep_to_their_room_and_those_left_out_are_counted(config, megabytes):
    one = result_sets_of(config)
    chosen = spread(one, None) * 10
    found = shown_traversals(chosen, None, megabytes * 10_000)
    assert sum(map(len, found.pictures.values())) + len(json.dumps(found.entries)) <= megabytes * 10_000
    assert len(found.entries) + found.left_out == len(chosen)
    assert found.left_out > 0 or megabytes == 40


def result_sets_of(config):
    return result_sets(Path(config.runs) / config.name / "explanations")


def test_what_is_left_out_is_said(config):
    few = load_config(overrides=["report.images=2"], base=config)
    made = build_report(few)
    assert made.left_out[0].startswith("4 of 6 paths are not shown")


def test_a_run_without_anything_says_what_to_run(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"holds nothing to report yet.*traverse\.save=all"):
        report(load_config(overrides=[f"runs={tmp_path}", "name=empty"]))
    with pytest.raises(UserError, match="there is no run"):
        report(load_config(overrides=[f"runs={tmp_path}", "name=absent"]))


def test_only_traversals_are_enough(tmp_path, capsys):
    config = report_run(tmp_path)
    folder = tmp_path / "made"
    for name in ("manifold.safetensors", "oracle.safetensors", "metrics.json"):
        (folder / name).unlink()
    report(config)
    assert (folder / "report.html").stat().st_size > 50_000
    assert "open '" in capsys.readouterr().out
    data = json.loads(Page((folder / "report.html").read_text(encoding="utf-8")).blocks["data"])
    assert data["map"] is None
    assert data["traversals"][0]["oracle_path"] is None


def test_only_maps_are_enough(tmp_path):
    config = report_run(tmp_path)
    folder = tmp_path / "made"
    for name in ("manifold.safetensors", "oracle.safetensors", "oracle.json", "metrics.json"):
        (folder / name).unlink()
    shutil.rmtree(folder / "explanations" / "traverse")
    data = json.loads(Page(build_report(config).html).blocks["data"])
    assert data["traversals"] == []
    assert data["folders"][0]["images"][0]["methods"][0]["target"] == "class 0"
    (folder / "explanations" / "compare" / "classes.json").write_text('["tabby"]')
    data = json.loads(Page(build_report(config).html).blocks["data"])
    assert data["folders"][0]["images"][0]["methods"][0]["target"] == "tabby"


def test_lines_between_codes_keep_to_their_room_and_to_their_manifold(config):
    run = Path(config.runs) / config.name
    manifold = ClassManifold.load(run / "manifold.safetensors")
    lines = read_lines(run, manifold)
    made, pictures = shown_lines(lines, manifold.ids, CLASSES, 10**6)
    assert [(one["from"], one["to"]) for one in made] == [(0, 1), (0, 2), (1, 0), (1, 2), (2, 0), (2, 1)]
    assert made[0]["classes"] == ["healthy", "mass", "cyst"]
    largest = max(map(len, pictures.values()))
    fewer, _ = shown_lines(lines, manifold.ids, CLASSES, 2 * largest)
    assert [(one["from"], one["to"]) for one in fewer] == [(0, 1), (1, 0)]
    assert shown_lines(lines, manifold.ids, CLASSES, 10) == ([], {})
    assert read_lines(run, dataclasses.replace(manifold, ids=tuple(f"x{id}" for id in manifold.ids))) is None


def test_distances_between_codes_are_those_of_the_manifold(config):
    manifold = ClassManifold.load(Path(config.runs) / config.name / "manifold.safetensors")
    placed = torch.tensor(principal_coordinates(manifold.codes, manifold), dtype=torch.double)
    assert torch.allclose(torch.cdist(placed, placed), torch.cdist(manifold.points, manifold.points), atol=0.03)


def test_codes_of_another_embedding_are_not_on_the_map(tmp_path):
    config = report_run(tmp_path)
    path = tmp_path / "made" / "manifold.safetensors"
    other = ClassManifold.load(path)
    dataclasses.replace(other, codes=other.codes.repeat(1, 2)).save(path)
    content = json.loads(Page(build_report(config).html).blocks["data"])["map"]
    assert len(content["points"]) == 40
    assert content["paths"] == {}


def test_the_counterfactual_stands_at_its_place_among_the_frames():
    made = counterfactual()
    path = path_frames(made, 6)
    assert path.boundary is not None
    assert path.images[path.boundary].equal(made.counterfactual)
    assert path.tau.tolist() == sorted(path.tau.tolist())
    assert len(path.tau) == 6
    assert float(path.tau[0]) == 0
    assert float(path.tau[-1]) == 1


def test_a_counterfactual_on_a_point_of_the_path_is_shown_once():
    made = dataclasses.replace(counterfactual(), boundary=0.5)
    path = path_frames(made, 21)
    assert len(path.tau) == 11
    assert path.boundary == 5


def test_bars_are_of_source_target_and_the_likeliest_others():
    probabilities = torch.zeros(2, 100)
    probabilities[0, 50], probabilities[1, 7] = 0.5, 0.9
    assert shown_classes(probabilities, 3, 4)[:4] == [3, 4, 7, 50]
    assert len(shown_classes(probabilities, 3, 4)) == 8


def test_tiles_come_back_as_they_went_in():
    import base64
    import io

    import numpy as np
    from PIL import Image

    tiles = torch.rand(14, 3, 5, 7)
    made = sprite(tiles, None)
    sheet = np.asarray(Image.open(io.BytesIO(base64.b64decode(made.data))).convert("RGB"))
    left, top = 13 % made.columns * 7, 13 // made.columns * 5
    assert (sheet[top : top + 5, left : left + 7] == (tiles[13] * 255).round().byte().permute(1, 2, 0).numpy()).all()


def test_a_coarser_detail_takes_less_room():
    tiles = torch.rand(21, 1, 64, 64)
    assert sprite(tiles, 55).bytes < sprite(tiles, 90).bytes < sprite(tiles, None).bytes
    assert "lossless" in Detail(21, None, 256).words


def test_an_oracle_that_was_doubted_is_told_and_not_asked(tmp_path):
    config = report_run(tmp_path)
    path = tmp_path / "made" / "metrics.json"
    known = json.loads(path.read_text()) | {
        "counterfactual/validity_oracle_end": None,
        "oracle/doubt": "the oracle guesses",
    }
    path.write_text(json.dumps(known))
    html = build_report(config).html
    assert "The oracle guesses" in html
    assert "has looked at the counterfactuals" not in html
    assert json.loads(Page(html).blocks["data"])["traversals"][0]["oracle_path"] is None


def test_generators_are_shown_as_far_as_they_fit(config):
    explanations = Path(config.runs) / config.name / "explanations"
    made = shown_generators(explanations, None, 10**6)
    first = made.folders[0]["images"][0]
    assert [arm["name"] for arm in first["arms"]] == ["ours", "gradient", "shuffled"]
    assert first["arms"][0]["end"] == {"classifier": ["mass", 0.95], "oracle": ["mass", 0.95]}
    assert first["sprite"]["count"] == 1 + 4 + 2 + 2
    assert shown_generators(explanations, 1, 10**6).left_out == 1
    assert shown_generators(explanations, None, 10).left_out == 2


def test_every_column_of_the_generators_table_is_explained_and_has_its_direction(config):
    folder = shown_generators(Path(config.runs) / config.name / "explanations", None, 10**6).folders[0]
    assert folder["table"]["columns"] == [
        {"name": "found", "words": MEANINGS["found"][0], "better": "high"},
        {"name": "seconds", "words": MEANINGS["seconds"][0], "better": "low"},
        {"name": "sfid", "words": MEANINGS["sfid"][0], "better": "low"},
        {"name": "mask_share", "words": MEANINGS["mask_share"][0], "better": None},
    ]
    section = build_report(config).html.split('<section id="generators"')[1].split("</section>")[0]
    assert "What the columns say" in section
    for name in ("found", "seconds", "sfid", "mask_share"):
        assert f"<dd>{escape(MEANINGS[name][0])}</dd>" in section


def test_why_no_localisation_is_shown_is_said(config):
    section = build_report(config).html.split('<section id="compare"')[1].split("</section>")[0]
    assert "No <code>pointing</code> and <code>auprc</code>: none of the images has a mask" in section


def test_a_list_of_generators_of_another_version_is_refused(tmp_path):
    config = report_run(tmp_path)
    (tmp_path / "made" / "explanations" / "generators" / "generators.json").write_text('{"format": "generators-9"}')
    with pytest.raises(UserError, match="generators-9"):
        build_report(config)


def test_scripts_and_styles_are_named_in_the_policy(config):
    html = build_report(config).html
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]*)"', html)
    assert policy is not None
    assert "default-src 'none'" in policy.group(1)
    assert "unsafe" not in policy.group(1)
