"""Options of former versions: saved runs open under the present names, and recipes are told what changed."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import yaml

import cae
from cae.config.command_line import load_config
from cae.config.fields import all_options
from cae.config.former_options import DROPPED, RENAMED, RENAMED_VALUES, present_values
from cae.errors import UserError

SHIPPED = Path(cae.__file__).parent / "weights" / "lesions" / "config.yaml"


def test_every_former_name_leads_to_an_option_that_is_there():
    options = all_options()
    assert set(RENAMED.values()) | set(RENAMED_VALUES) <= set(options)
    assert not (set(RENAMED) | set(DROPPED)) & set(options)
    for name, values in RENAMED_VALUES.items():
        assert set(values.values()) <= set(options[name].choices)


def test_a_former_name_sets_the_present_option():
    config = load_config(overrides=["cae.model.gate=false", "cae.loss.gate_area=0.25", "oracle.labels=verdicts"])
    assert config.cae.model.mask is False
    assert config.cae.loss.mask_area == 0.25
    assert config.oracle.labels == "predictions"


def test_a_dropped_option_is_answered_in_words_and_passed_over_in_a_saved_run(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text("cae: {loss: {gate_variation: 0.5}}")
    with pytest.raises(UserError, match="'cae.loss.gate_variation' no longer exists: .*mask_area"):
        load_config([path])
    assert load_config([path], former=True) == load_config([], former=True)


def test_the_options_of_a_saved_section_are_those_that_its_configuration_opens_with():
    """A CAE's file keeps the section ``cae`` in its header, the run folder keeps all of them as YAML."""
    saved = yaml.safe_load(SHIPPED.read_text(encoding="utf-8"))["cae"]
    assert {"gate_variation", "graft"} <= saved["loss"].keys()
    section = dataclasses.asdict(load_config([SHIPPED], former=True).cae)
    found = present_values("cae", saved)
    assert found["loss"] == section["loss"]
    # what is new since then has its default
    assert found["model"] == {name: section["model"][name] for name in found["model"]}
    assert all(section[name] == value for name, value in found.items() if name != "model")


def test_present_values_leaves_what_never_changed_as_it_is():
    values = {"columns": {"path": "file", "label": "class"}, "lesions": {}, "path": None, "image_size": 64}
    assert present_values("data", values) == values
    assert present_values("cae", {"preset": "reference", "grafts": 4}) == {"preset": "published", "patch_swaps": 4}
