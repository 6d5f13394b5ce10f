"""Options out of range are told in words."""

from types import SimpleNamespace

from explainers.option_checks import below, unknown


def test_every_option_that_is_too_small_is_named_with_its_value_and_the_limit():
    owner = SimpleNamespace(masks=0, cells=1, steps=-2, stride=None, noise=float("nan"))
    assert below(owner, 1, "masks", "cells", "steps", "stride") == [
        "`masks` must be at least 1, but is 0.",
        "`steps` must be at least 1, but is -2.",
    ]
    assert below(owner, 0, "noise") == ["`noise` must be at least 0, but is nan."]


def test_a_word_that_is_not_known_is_told_with_the_known_ones_and_the_nearest():
    owner = SimpleNamespace(ranking="tree", fill=3)
    assert unknown(owner, "ranking", ("scan", "tree")) == []
    assert unknown(owner, "ranking", ("scan", "trees")) == [
        "`ranking` must be one of scan, trees, but is 'tree' (did you mean 'trees'?)."
    ]
    assert unknown(owner, "fill", {"grey": 1}) == ["`fill` must be one of grey, but is 3."]
