"""Work is dealt to processes so that every part is done once, however many there are."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
from two_processes import in_two_processes

from cae.config.command_line import load_config
from cae.training.sharing import deal


def done(folder: Path, part: int) -> list[str]:
    with (folder / str(part)).open("x") as file:  # fails the second time
        file.write("done")
    return [f"part {part}"]


@pytest.mark.parametrize("parts", [[0, 1, 2], [5], []])
def test_two_processes_do_every_part_once_also_where_there_are_fewer_parts(parts, tmp_path):
    config = load_config(overrides=["trainer.devices=2", "trainer.accelerator=cpu"])
    told = in_two_processes(deal, config, parts, partial(done, tmp_path))
    assert told == [[f"part {part}" for part in parts], None]
    assert sorted(path.name for path in tmp_path.iterdir()) == [str(part) for part in parts]
