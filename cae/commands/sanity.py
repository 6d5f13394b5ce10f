"""The command `sanity`: do explanations depend on what the classifier has learnt, and on that alone?"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable

import torch

from cae.config import Config
from cae.errors import UserError
from cae.files import write_json
from cae.runs.run_folder import OUTPUTS
from cae.sanity.context import SanityContext, SanityRecord
from cae.sanity.control_models import sanity_folder
from cae.sanity.criteria import Rule
from cae.sanity.label_disagreement import labels
from cae.sanity.null_cases import guards
from cae.sanity.planted_shortcut import shortcut
from cae.sanity.randomisation import randomised

TESTS: dict[str, Callable[[SanityContext], SanityRecord]] = {
    "randomised": randomised,
    "shortcut": shortcut,
    "labels": labels,
    "guards": guards,
}
MARKED = "shortcut", "labels"  # tests for which markers are planted
TAKEN = {"explanations", *(name for names in OUTPUTS.values() for name in names)}


def sanity(config: Config) -> None:
    """Run the sanity tests: trains what they need below the run folder, writes verdicts, numbers and figures.

    Raises:
        UserError: if the data is not what a test needs, or the folder holds models of other options.
    """
    _check(config)
    folder, bench = sanity_folder(config), SanityContext(config)
    if config.overwrite:
        shutil.rmtree(folder, ignore_errors=True)
    if config.trainer.threads:
        torch.set_num_threads(config.trainer.threads)
    found: dict[str, float | bool] = {}
    rules: list[Rule] = []
    for name in dict.fromkeys(config.sanity.tests):
        print(f"sanity test {name}", flush=True)
        record = TESTS[name](bench)
        rules += record.rules
        found |= {f"{name}/{key}": value for key, value in record.numbers.items()}
        found |= {f"{rule.name}_passed": rule.passed for rule in record.rules}
        found[f"{name}/passed"] = all(rule.passed for rule in record.rules)
        write_json(folder / "sanity.json", found)
    print(table(rules))
    print(f"look at the figures in '{folder}', all numbers in '{folder / 'sanity.json'}'")


def table(rules: list[Rule]) -> str:
    """The verdict on each rule in three lines: which, what was demanded, what came."""
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
    if not re.fullmatch(r"\w([\w. -]*[\w-])?", options.folder) or options.folder in TAKEN:
        problems.append(
            "sanity.folder must be a plain folder name, without / or \\, and not that of a training, but got "
            f"{options.folder!r}."
        )
    if problems:
        raise UserError(problems)
