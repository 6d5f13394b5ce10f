"""The command `experiment`: arms and seeds of a recipe as jobs on the devices that are there, and one table of all."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from cae.errors import UserError
from cae.experiments.definition import Experiment, read_experiment
from cae.experiments.gathering import FINISHED, lines, outcome
from cae.experiments.jobs import Job, expand
from cae.experiments.tables import write_results


def experiment(arguments: Sequence[str], words: Collection[str]) -> None:
    """Run what is not finished of an experiment, then gather what is.

    Args:
        arguments: the file, and ``key=value``.
        words: words of the command line that may be done with an arm.

    Raises:
        UserError: for a wrong file, before anything is run; at the end, with what failed and why.
    """
    found = read_experiment(arguments, words)
    jobs = expand(found)
    left = sum(bool(job.remaining()) for job in jobs)
    print(f"experiment '{found.folder}': {len(jobs)} jobs, {len(jobs) - left} of them finished already", flush=True)
    try:
        if left:
            from explainers.commands.experiment_launch import launch

            launch(found, jobs)
    finally:  # whatever stops it, what is finished is shown
        unfinished = gather(found, jobs)
    if unfinished:
        raise UserError(
            f"{unfinished} of {len(jobs)} jobs have no figures, see above; the same command runs them again."
        )


def gather(found: Experiment, jobs: Sequence[Job]) -> int:
    """Write tables and picture of what is finished, print the table, and count the jobs that are not."""
    from cae.experiments.figures import draw_arms

    outcomes = [outcome(job) for job in jobs]
    table = lines(outcomes, found.baseline)
    print(write_results(found.folder, outcomes, table, found.metrics, found.baseline))
    draw_arms(found.folder / "figures.png", outcomes, table, found.metrics, found.baseline)
    print(f"\nlook at '{found.folder / 'figures.png'}', all numbers in '{found.folder / 'table.csv'}' and 'jobs.csv'")
    return sum(one.status != FINISHED for one in outcomes)
