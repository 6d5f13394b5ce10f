"""What the README shows in Python runs as it is written, with files of the user's own."""

from __future__ import annotations

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
import torchvision
from code_blocks import blocks_of
from PIL import Image

from cae.classifiers import load_classifier
from cae.errors import UserError

ROOT = Path(__file__).resolve().parents[2]
NAMES = ("cat", "dog", "eel", "great dane")


@pytest.fixture
def files(tmp_path: Path, monkeypatch) -> Path:
    """Weights, class names and a photograph, as the README names them."""
    torch.manual_seed(0)
    network = torchvision.models.resnet18(num_classes=len(NAMES))
    torch.save({"model_state_dict": network.state_dict(), "epoch": 3}, tmp_path / "weights.pth")
    (tmp_path / "classes.txt").write_text("\n".join(NAMES) + "\n")
    pixels = np.random.default_rng(0).integers(0, 255, (300, 400, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / "photo.jpg")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_five_lines_explain_one_photograph_by_a_network_of_the_users_own(files, monkeypatch):
    (block,) = [block for block in blocks_of(ROOT / "README.md") if "photo.jpg" in block.code]
    drawn = []
    monkeypatch.setattr(plt, "show", lambda: drawn.append(plt.gcf()))
    session: dict = {}
    exec(compile(block.code, "README.md", "exec"), session)
    found, classifier = session["found"], session["classifier"]
    assert found.attribution.shape == (1, 1, 224, 224)
    assert float(found.attribution.abs().max()) > 0
    assert classifier.classes == NAMES
    picture = drawn[0].axes[0].images[0].get_array()
    plt.close(drawn[0])
    assert picture.shape[1] > 2 * 224  # the photograph stands beside its map
    with pytest.raises(UserError, match="`images` must be the 1 explained"):
        found.show(classifier.classes, ["photo.jpg", "photo.jpg"])


def test_an_unknown_setting_of_a_classifier_is_told_with_the_nearest(files):
    with pytest.raises(UserError, match=r"no option 'weigths' \(did you mean 'weights'\?\)"):
        load_classifier("torchvision:resnet18", "classes.txt", weigths="weights.pth")
