"""Uploads that are no picture, lie, are damaged, or are too large: refused in a sentence, without a path."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from malformed_pictures import MALFORMED, picture

from cae.config import DataConfig
from cae.errors import UserError
from explainers.app.uploads import Limits, read_upload

CONFIG = DataConfig(image_size=16, channels=1)
LIMITS = Limits(bytes=200_000, pixels=100_000)


@pytest.mark.parametrize("kind", MALFORMED)
def test_a_malformed_upload_is_refused_without_a_path(tmp_path, kind):
    path = tmp_path / "cat.png"
    path.write_bytes(MALFORMED[kind])
    with pytest.raises(UserError) as caught:
        read_upload(path, CONFIG, LIMITS)
    assert str(tmp_path) not in str(caught.value)
    assert "/" not in str(caught.value)


def test_what_is_no_ordinary_file_is_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("/etc/passwd")
    for path in (tmp_path, tmp_path / "pipe", tmp_path / "link", tmp_path / "absent", Path("/dev/zero")):
        with pytest.raises(UserError, match="no ordinary file"):
            read_upload(path, CONFIG, LIMITS)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "BMP", "WEBP", "TIFF", "GIF"])
@pytest.mark.parametrize("name", ["a.png", "a.dcm", "a#3", "…👩‍⚕️.nii.gz"])
def test_a_picture_is_read_by_its_content_whatever_it_is_called(tmp_path, kind, name):
    path = tmp_path / name
    path.write_bytes(picture(kind))
    image = read_upload(path, CONFIG, LIMITS)
    assert image.shape == (1, 16, 16)
    assert 0 <= float(image.min()) <= float(image.max()) <= 1
