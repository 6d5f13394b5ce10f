"""Tensors in one safetensors file with a JSON header: written atomically, read without running anything."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from cae.files import atomic_path


def write_tensors(path: str | Path, tensors: Mapping[str, Tensor], kind: str, header: Any) -> None:
    """Write tensors, with ``header`` as JSON under the name ``kind``."""
    # copies: safetensors refuses tensors that share memory or are not contiguous
    copies = {
        name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format) for name, tensor in tensors.items()
    }
    with atomic_path(path) as temporary:
        save_file(copies, temporary, metadata={kind: json.dumps(header)})


def read_tensors(path: str | Path, kind: str) -> tuple[Any, dict[str, Tensor]]:
    """The header under the name ``kind`` (empty where there is none) and all tensors, on the CPU.

    Raises:
        OSError: if the file is missing or cannot be read.
        safetensors.SafetensorError: if it is no safetensors file.
        ValueError: if the header is not JSON.
    """
    with safe_open(str(path), framework="pt") as file:
        header = json.loads((file.metadata() or {}).get(kind, "{}"))
        return header, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
