"""From the name of a source to its splits."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module

from cae.config import DataConfig
from cae.config.data_sources import SOURCES
from cae.data.notes import say_notes
from cae.data.splits import check_splits
from cae.data.types import Splits
from cae.errors import UserError, did_you_mean


def open_source(config: DataConfig) -> Splits:
    """Open ``data.source``: three image sets and the class names, the same in every process.

    What the user should know of the data is printed. Where the files need a scale that none of them brings, it is read
    from the training split and written into ``config.levels``, so that it is saved with the run; so is what
    ``config.fit`` comes to.

    Raises:
        UserError: one that lists everything wrong with the source, with paths.
    """
    if config.source not in SOURCES:
        hint = did_you_mean(config.source, SOURCES)
        raise UserError(f"`data.source` must be one of {', '.join(SOURCES)}, but is {config.source!r}{hint}.")
    module, _, function = SOURCES[config.source].place.partition(":")
    opener: Callable[[DataConfig], Splits] = getattr(import_module(module), function)
    with _no_collection():
        splits = opener(config)
    check_splits(splits, config)
    say_notes(splits.notes)
    return splits


@contextmanager
def _no_collection() -> Iterator[None]:
    """Without Python's garbage collector: records of many files are kept, and it would search all of them again."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
