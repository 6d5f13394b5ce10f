"""The order of the tests: what takes longest comes first, so that all workers end at about the same time."""

from __future__ import annotations

import pytest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put modules first that hold slow tests or run whole programs; ``--no-loadscope-reorder`` keeps this order."""
    long = {
        item.path
        for item in items
        if item.get_closest_marker("slow") or hasattr(getattr(item, "module", None), "forked")
    }
    items.sort(key=lambda item: item.path not in long)
