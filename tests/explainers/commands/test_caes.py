from __future__ import annotations

import csv

import pytest
import torch
from halves import untrained_ncc

from cae.classifiers import SmallResNet, save_classifier
from cae.config.command_line import load_config
from cae.errors import UserError
from cae.files import read_json
from explainers.caes import CausalScores
from explainers.commands.caes import caes


@pytest.fixture
def options(tmp_path) -> list[str]:
    """A run with an untrained classifier of lesions, and networks that know nothing."""
    options = [
        "name=tiny", f"runs={tmp_path}", "data.image_size=32", "data.lesions.train=4", "data.lesions.val=4",
        "data.lesions.test=104", "data.lesions.classes=[healthy,mass]", "classifier.width=4", "caes.rolls=2",
        "caes.blobs=1", "caes.bootstrap=20", "caes.permutations=19", "caes.link_permutations=2", "caes.limit=52",
        "caes.masks=[data,shifted,random]", f"caes.ncc={tmp_path / 'ncc.safetensors'}", "trainer.accelerator=cpu",
    ]  # fmt: skip
    config = load_config(overrides=options)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = SmallResNet(2, width=4)
    save_classifier(tmp_path / "tiny", network, config.classifier, ["healthy", "mass"], (1, 32, 32))
    untrained_ncc().save(tmp_path / "ncc.safetensors")
    return options


def test_every_class_with_masks_is_scored_and_compared_and_the_others_are_named(options, tmp_path, capsys):
    caes(load_config(overrides=options))
    place = tmp_path / "tiny" / "explanations" / "caes"
    assert (place / "mass.png").stat().st_size > 10_000
    assert not (place / "healthy.png").exists()
    said = capsys.readouterr().out
    assert "healthy: left out, 0 images that can be scored (52 without a mask)" in said
    assert "CaES formula not public" in said
    rows = list(csv.DictReader((place / "scores.csv").open()))
    assert {row["source"] for row in rows} == {"data", "shifted", "random"}
    areas = {row["source"]: row["area"] for row in rows}
    assert areas["data"] == areas["shifted"] == areas["random"]
    compared = list(csv.DictReader((place / "comparison.csv").open()))
    assert {row["source"] for row in compared} == {"shifted", "random"}
    assert read_json(place / "facts.json")["facts"]["mass"]["random"]["threshold"].startswith("as many pixels")
    assert CausalScores.load(place / "scores" / "mass-random.safetensors")["necessity"].value is not None


def test_maps_are_made_once_for_the_same_images_and_settings(options, tmp_path):
    options = [*options, "caes.limit=20", "caes.masks=[random]", "caes.rolls=0", "caes.blobs=0"]
    caes(load_config(overrides=options))
    place = tmp_path / "tiny" / "explanations" / "caes" / "maps"
    (first,) = place.iterdir()
    made = first.stat().st_mtime_ns
    caes(load_config(overrides=options))
    assert first.stat().st_mtime_ns == made
    caes(load_config(overrides=[*options, "seed=1"]))
    assert len(list(place.iterdir())) == 2


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("caes.classes=[mas]", "did you mean 'mass'"),
        ("caes.masks=[randm]", "did you mean 'random'"),
        ("caes.classes=[healthy]", "no class has 20 images that can be scored"),
    ],
)
def test_what_does_not_fit_is_said_in_words(options, change, words):
    with pytest.raises(UserError, match=words):
        caes(load_config(overrides=[*options, change]))
