"""Every threshold of the diagnostics has its sentence."""

from __future__ import annotations

import pytest
from toy_embedding import CLASSES

from cae.diagnostics.diagnostic_warnings import diagnostic_warnings


def test_a_sound_embedding_raises_no_warning():
    sound = {
        "cae/participation_ratio": 1.6, "cae/class_dim": 8, "cae/smallest_std_share": 0.05,
        "cae/individual_probe": 0.43, "cae/reconstruction_consistency": 0.95,
        "cae/reassignment": 0.9, "cae/reassignment_oracle": 0.75,
    }  # fmt: skip
    assert diagnostic_warnings(sound, CLASSES) == []
    assert diagnostic_warnings({}, CLASSES) == []
    assert diagnostic_warnings({"cae/participation_ratio": 1.0, "cae/class_dim": 2}, CLASSES) == []


@pytest.mark.parametrize(
    ("metrics", "words"),
    [
        ({"cae/participation_ratio": 1.49, "cae/class_dim": 8}, "collapsed"),
        ({"cae/smallest_std_share": 0.049}, "dead"),
        ({"cae/reconstruction_consistency": 0.94}, "reconstructions keep"),
        ({"cae/individual_probe": 0.44}, "leaks"),
        ({"cae/reassignment": 0.3}, "a guess"),
        ({"cae/reassignment": 0.9, "cae/reassignment_oracle": 0.5}, "oracle"),
    ],
)
def test_each_threshold_has_its_warning_with_a_way_out(metrics: dict[str, float], words: str):
    (sentence,) = diagnostic_warnings(metrics, CLASSES)
    assert words in sentence
    assert "cae." in sentence
