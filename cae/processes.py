"""Which of the processes of a distributed training this is."""

from __future__ import annotations

import os


def is_first_process() -> bool:
    """Whether this is the first of all processes of a distributed training, before Lightning has set anything up."""
    names = ("RANK", "LOCAL_RANK", "SLURM_PROCID", "NODE_RANK", "GROUP_RANK", "JSM_NAMESPACE_RANK")
    return all(os.environ.get(name, "0") in ("", "0") for name in names)
