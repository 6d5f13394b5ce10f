from pathlib import Path

import pytest

from cae.experiments.definition import read_experiment
from cae.experiments.jobs import expand
from explainers.commands.programs import EXPLAIN, TRAIN

FILES = sorted((Path(__file__).parents[2] / "benchmarks" / "experiments").glob("*.yaml"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_experiment_fits_the_program(path, tmp_path):
    jobs = expand(read_experiment([str(path), "seeds=[0]", f"runs={tmp_path}"], [*TRAIN, *EXPLAIN]))
    assert len(jobs) > 2
