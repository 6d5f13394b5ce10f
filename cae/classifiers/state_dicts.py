"""Finding the weights of a network inside what training programs save: wrappers, prefixes, averages, other heads."""

from __future__ import annotations

import re
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from itertools import filterfalse
from typing import Any

from torch import Tensor, nn

WRAPPERS = ("state_dict", "model", "model_state_dict")  # where most training programs keep the weights
PREFIXES = ("module.", "model.", "network.", "_orig_mod.")  # what most wrapping modules put before the names
AVERAGED = re.compile(r"(^|[._])(ema|swa|averaged?|n_averaged|shadow|teacher)($|[._])", re.IGNORECASE)
NO_WEIGHTS = re.compile(r"optim|sched|scaler|callback|hyper|history|metric|loops|rng", re.IGNORECASE)
AUXILIARY = re.compile(r"(^|\.)aux", re.IGNORECASE)  # heads that take part in training alone
ALIKE = 0.9  # sets of weights that hold so much of what the largest does are told of
DEPTH = 3  # dictionaries inside dictionaries


def weights_inside(content: Any, source: str) -> dict[str, Tensor]:
    """The tensors by name inside what a file holds; of several sets the one under a usual name, else the largest.

    Args:
        content: what was read.
        source: the file, for the warning that another set was there too.
    """
    found = dict(_sets(content, ""))
    if not found:
        return {}
    place = _usual_place(content)
    if place not in found:
        place = max(found, key=lambda name: (not AVERAGED.search(name), len(found[name])))
    others = [name for name in found if name != place and len(found[name]) * 2 > len(found[place])]
    if others:
        warnings.warn(
            f"'{source}' holds several sets of weights; those under '{place or 'the top'}' are used, not those under "
            f"{', '.join(repr(name or 'the top') for name in others)}: save the others alone to explain them.",
            stacklevel=4,
        )
    return found[place]


def _sets(content: Any, place: str, depth: int = DEPTH) -> Iterator[tuple[str, dict[str, Tensor]]]:
    """Every dictionary with tensors directly in it, by its place such as ``state.model``."""
    if not isinstance(content, Mapping):
        return
    tensors = {str(name): value for name, value in content.items() if isinstance(value, Tensor)}
    if tensors:
        yield place, tensors
    for name, value in content.items():
        if depth and not NO_WEIGHTS.search(str(name)):
            yield from _sets(value, f"{place}.{name}".removeprefix("."), depth - 1)


def _usual_place(content: Any) -> str:
    place = ""
    for wrapper in WRAPPERS:
        if isinstance(content, Mapping) and isinstance(content.get(wrapper), Mapping):
            content, place = content[wrapper], f"{place}.{wrapper}".removeprefix(".")
    return place


def without_prefixes(state: Mapping[str, Tensor], wanted: Iterable[str]) -> dict[str, Tensor]:
    """The state under the prefix (``module.``, ``model.backbone.``, …) that makes most names those of the network."""
    prefix = common_prefix(state, set(wanted))
    return {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}


def common_prefix(state: Mapping[str, Tensor], wanted: set[str]) -> str:
    """What stands before the names of the network in most names of the state."""
    return best_prefixes(state, wanted)[0]


def best_prefixes(state: Mapping[str, Tensor], wanted: set[str]) -> list[str]:
    """All that stand before most names of the network alike, usual ones first and those of averages last.

    Counters of batch norm do not count: averages are often kept without them.
    """
    counts: Counter[str] = Counter()
    for key in filterfalse(is_auxiliary, state):
        parts = key.split(".")
        counts.update(key.removesuffix(rest) for k in range(len(parts)) if (rest := ".".join(parts[k:])) in wanted)
    most = max(counts.values(), default=0)
    best = [prefix for prefix, count in counts.items() if count > ALIKE * most]

    def awkwardness(prefix: str) -> tuple[bool | int, ...]:
        averaged = bool(AVERAGED.search(prefix))
        return counts[prefix] < most, prefix != "", averaged, not prefix.startswith(PREFIXES), len(prefix)

    return sorted(best, key=awkwardness) or [""]


def is_auxiliary(name: str) -> bool:
    """Whether a name is of a head that takes part in training alone, or of a counter of batch norm."""
    # counters, absent from old checkpoints, mean nothing to a frozen network
    return bool(AUXILIARY.search(name)) or name.endswith("num_batches_tracked")


def with_own_head(network: nn.Module, state: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], str]:
    """The state with a replaced head, such as ``fc.1`` for ``fc``, under the network's own name.

    Only where a single layer of the same shape is missing on one side and left over on the other, inside the head: what
    else ``nn.Sequential(dropout, linear)`` holds does nothing to a frozen network.

    Returns:
        The state, and what was renamed in words (empty where nothing was).
    """
    own = network.state_dict()
    missing = [key for key in own if key not in state and not is_auxiliary(key)]
    surplus = [key for key in state if key not in own and not is_auxiliary(key)]
    heads = {key.rpartition(".")[0] for key in missing}
    others = {key.rpartition(".")[0] for key in surplus}
    if len(heads) != 1 or len(others) != 1:
        return dict(state), ""
    head, other = heads.pop(), others.pop()
    renamed = {head + key.removeprefix(other): state[key] for key in surplus}
    fits = renamed.keys() == set(missing) and all(
        own[key].shape[1:] == value.shape[1:] for key, value in renamed.items()
    )
    if not head or not fits or not other.startswith(f"{head}."):
        return dict(state), ""
    return {key: value for key, value in state.items() if key not in surplus} | renamed, f"'{other}' read as '{head}'"
