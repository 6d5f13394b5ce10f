"""From the name of a source to its splits."""

from __future__ import annotations

from importlib import import_module

from cae.config import DataConfig
from cae.data.splits import check_splits
from cae.data.types import Splits
from cae.errors import UserError, did_you_mean

# imported when asked for, so that one source does not pay for the packages of another
SOURCES = {
    "lesions": ("cae.data.lesions", "open_lesions"),
    "folder": ("cae.data.folder", "open_folder"),
    "paired": ("cae.data.paired", "open_paired"),
    "table": ("cae.data.table", "open_table"),
    "medmnist": ("cae.data.medmnist", "open_medmnist"),
    "digits": ("cae.data.digits", "open_digits"),
}


def open_source(config: DataConfig) -> Splits:
    """Open ``data.source``: three image sets and the class names, the same in every process.

    Raises:
        UserError: one that lists everything wrong with the source, with paths.
    """
    if config.source not in SOURCES:
        hint = did_you_mean(config.source, SOURCES)
        raise UserError(f"`data.source` must be one of {', '.join(SOURCES)}, but is {config.source!r}{hint}.")
    module, function = SOURCES[config.source]
    splits: Splits = getattr(import_module(module), function)(config)
    check_splits(splits, config)
    return splits
