"""Whatever is written into an option, a configuration or an image file, the answer is a value or a sentence."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from cae.config import Config
from cae.config.command_line import load_config, parse, to_container
from cae.config.fields import all_options
from cae.config.parsing import read_file
from cae.data.headers import image_shape
from cae.data.images import ImageRef, read_image, read_mask
from cae.errors import UserError, printable

# the same examples in every run: what is found here is mended here, not by whoever comes next
FEW = settings(max_examples=40, deadline=None, derandomize=True, database=None,
               suppress_health_check=[HealthCheck.function_scoped_fixture])  # fmt: skip
TEXT = st.text(max_size=12)
YAML = st.text(alphabet="abc:-{}[]&*!|>%#'\",.0 \n\t$", max_size=40)
KINDS = {"PNG": "L", "JPEG": "RGB", "TIFF": "I;16", "BMP": "RGB", "GIF": "P", "WEBP": "RGB"}


@FEW
@given(st.sampled_from(sorted(all_options())), TEXT | YAML)
def test_any_text_as_a_value_gives_a_configuration_or_a_sentence(name, value):
    with contextlib.suppress(UserError):
        config = load_config(overrides=[f"{name}={value}"])
        assert isinstance(config, Config)
        assert load_config(base=config) == config
        assert to_container(config)


@FEW
@given(st.lists(TEXT, max_size=4))
def test_any_words_on_the_command_line_give_a_configuration_or_a_sentence(words):
    with contextlib.suppress(UserError, SystemExit):
        parse(["cae", *words], {"cae": "train"}, "train.py")


@FEW
@given(YAML | st.binary(max_size=40))
def test_any_configuration_file_gives_settings_or_a_sentence(tmp_path, content):
    path = tmp_path / "own.yaml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    problems: list[str] = []
    with contextlib.suppress(UserError):
        assert {setting.key for setting in read_file(path, problems)} <= set(all_options())


@FEW
@given(st.text())
def test_what_is_printed_holds_nothing_that_a_terminal_obeys(text):
    shown = printable(text)
    assert all(character.isprintable() or character in "\n\t" or ord(character) > 0x9F for character in shown)


def picture(kind: str) -> bytes:
    """A small picture with every level, in one of the formats that Pillow writes."""
    buffer = io.BytesIO()
    levels = np.arange(24 * 16).reshape(24, 16) % 256
    image = Image.fromarray(levels.astype(np.uint16 if KINDS[kind] == "I;16" else np.uint8))
    (image if KINDS[kind] == "I;16" else image.convert(KINDS[kind])).save(buffer, kind)
    return buffer.getvalue()


def read_or_told(path: Path) -> None:
    for read in (read_image, read_mask, image_shape):
        with contextlib.suppress(UserError):
            found = read(ImageRef(path))
            if isinstance(found, torch.Tensor):
                assert found.ndim == 3
                assert bool(found.isfinite().all())
                assert 0 <= float(found.float().min()) <= float(found.float().max()) <= 1


@pytest.mark.parametrize("kind", KINDS)
@settings(FEW, max_examples=25)
@given(data=st.data())
@pytest.mark.filterwarnings("ignore")
def test_a_damaged_image_is_an_image_or_a_sentence(kind, data, tmp_path):
    content = bytearray(picture(kind))
    for _ in range(data.draw(st.integers(0, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path / f"own.{kind.lower()}"
    path.write_bytes(content[: data.draw(st.integers(0, len(content)))] if data.draw(st.booleans()) else content)
    read_or_told(path)


@FEW
@given(
    content=st.binary(max_size=200), suffix=st.sampled_from([".png", ".jpg", ".tif", ".dcm", ".nii", ".nii.gz", ".gif"])
)
@pytest.mark.filterwarnings("ignore")
def test_any_bytes_in_place_of_an_image_are_told(content, suffix, tmp_path):
    path = tmp_path / f"own{suffix}"
    path.write_bytes(content)
    read_or_told(path)
