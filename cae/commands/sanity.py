"""The command `sanity`: whether explanations depend on what the classifier has learnt, and on that alone."""

from __future__ import annotations

from collections.abc import Callable

import torch

from cae.config import Config
from cae.continuing import NOTE
from cae.errors import UserError
from cae.files import write_json
from cae.runs.run_folder import RunFolder
from cae.sanity.context import SanityContext, SanityRecord
from cae.sanity.control_models import sanity_folder
from cae.sanity.criteria import Rule
from cae.sanity.label_disagreement import label_disagreement_test
from cae.sanity.null_cases import null_case_test
from cae.sanity.planted_shortcut import shortcut_test
from cae.sanity.randomisation import randomisation_test

TESTS: dict[str, Callable[[SanityContext], SanityRecord]] = {
    "randomised": randomisation_test,
    "shortcut": shortcut_test,
    "labels": label_disagreement_test,
    "guards": null_case_test,
}
MARKED = "shortcut", "labels"  # tests for which markers are planted


def sanity(config: Config) -> None:
    """Run the sanity tests: trains what they need below the run folder, writes what passed, numbers and figures.

    Raises:
        UserError: if the data is not what a test needs, or the folder holds models of other options.
    """
    _check(config)
    folder, context = RunFolder(config).own(sanity_folder(config), "sanity.folder"), SanityContext(config)
    if config.trainer.threads:
        torch.set_num_threads(config.trainer.threads)
    of_run = {} if set(config.sanity.tests) <= set(MARKED) else context.fingerprints  # those have models of their own
    found: dict[str, float | bool] = {}
    rules: list[Rule] = []
    for name in dict.fromkeys(config.sanity.tests):
        print(f"sanity test {name}", flush=True)
        record = TESTS[name](context)
        rules += record.rules
        found |= {f"{name}/{key}": value for key, value in record.numbers.items()}
        found |= {f"{rule.name}_passed": rule.passed for rule in record.rules}
        found[f"{name}/passed"] = all(rule.passed for rule in record.rules)
        write_json(folder / "sanity.json", found)
        write_json(folder / NOTE, of_run)
    print(table(rules))
    print(f"look at the figures in '{folder}', all numbers in '{folder / 'sanity.json'}'")


def table(rules: list[Rule]) -> str:
    """Each rule in two lines: whether it passed, which, what was demanded, and what came."""
    lines = []
    for rule in rules:
        lines += [f"{'PASS' if rule.passed else 'FAIL'}  {rule.name}: {rule.demand}", f"      {rule.found}"]
    passed = sum(rule.passed for rule in rules)
    return "\n".join([*lines, f"{passed} of {len(rules)} rules hold"])


def _check(config: Config) -> None:
    problems, options = [], config.sanity
    planted = [name for name in MARKED if name in options.tests]
    if planted and config.data.source != "lesions":
        problems.append(
            f"sanity.tests={','.join(planted)} plants markers into the embedded data, data.source=lesions, but "
            f"data.source is {config.data.source}: set sanity.tests=[randomised,guards]."
        )
    if not options.tests:
        problems.append("sanity.tests names no test.")
    try:
        sanity_folder(config)
    except UserError as error:
        problems += error.problems
    if problems:
        raise UserError(problems)
