"""Options of the methods, read from their source, are those of the classes."""

from __future__ import annotations

import pytest

from explainers.constructor_options import NotInSourceError, constructor_options
from explainers.registry import EXPLAINERS, default_options, options_of


@pytest.mark.parametrize("name", EXPLAINERS)
def test_the_source_tells_the_options_and_defaults_of_the_class(name):
    read = constructor_options(EXPLAINERS[name].place) | EXPLAINERS[name].settings
    assert list(read.items()) == [(key, parameter.default) for key, parameter in options_of(name).items()]


def test_a_class_that_is_not_in_the_source_is_imported(monkeypatch):
    with pytest.raises(NotInSourceError):
        constructor_options("collections:OrderedDict")
    monkeypatch.setattr("explainers.registry.constructor_options", lambda place: constructor_options("elsewhere:Class"))
    assert default_options("rise") == {key: parameter.default for key, parameter in options_of("rise").items()}
