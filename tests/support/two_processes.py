"""Two processes that train together, forked from the test, so that nothing is imported a second time."""

from __future__ import annotations

import io
import multiprocessing
import os
import socket
import traceback
from collections.abc import Callable
from typing import Any

import torch

LONGEST = 240  # seconds on a busy machine


def in_two_processes(work: Callable[..., Any], *arguments: Any) -> list[Any]:
    """What ``work(*arguments)`` returns in each of two processes, as Lightning finds them under torchrun."""
    context = multiprocessing.get_context("fork")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    pipes = [context.Pipe(duplex=False) for _ in range(2)]
    workers = [context.Process(target=_run, args=(rank, port, pipes[rank][1], work, arguments)) for rank in range(2)]
    for worker in workers:
        worker.start()
    try:
        results = [pipe.recv() if pipe.poll(LONGEST) else "no answer" for pipe, _ in pipes]
    finally:
        for worker in workers:
            worker.join(5)
            worker.kill()
    failures = [result for result in results if isinstance(result, str)]
    if failures:  # the end of one is an error in the other
        raise AssertionError("\n".join(failures))
    return [torch.load(io.BytesIO(result), weights_only=False) for result in results]


def _run(rank: int, port: int, pipe: Any, work: Callable[..., Any], arguments: tuple) -> None:
    torch.set_num_threads(1)  # threads of the parent are not there
    names = {"LOCAL_RANK": rank, "RANK": rank, "WORLD_SIZE": 2, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    os.environ.update({name: str(value) for name, value in names.items()})
    try:
        found = io.BytesIO()
        torch.save(work(*arguments), found)  # its bytes: tensors sent as such would lie in memory of this process
        pipe.send(found.getvalue())
    except BaseException:
        pipe.send(traceback.format_exc())
    os._exit(0)
