"""Do explanations follow the classifier? The sanity tests of ours and of the published recipe, with their pass rules.

    python benchmarks/sanity.py                       lesions, seed 0, 900 steps of training for each CAE
    python benchmarks/sanity.py --only published      one of the two recipes

Each recipe is one command, ``explain.py sanity``, on the same classifiers. Finished models are reused. Results go to
``benchmarks/results/sanity.json`` and from there to ``docs/results`` (``python benchmarks/_tables.py``).
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks._machine import machine  # noqa: E402
from cae.files import read_json, write_json  # noqa: E402 (the script also runs without an installation)

RECIPES = {
    "ours": (),
    "published": (
        "cae.preset=published",
        "cae.target=labels",
        "cae.model.width=16",
        "cae.model.residual_blocks=2",
        "data.batch_size=16",  # of eight pairs, as in counterfactual_quality.py
        "counterfactual.output=decoded",
    ),
}
LENT = ("classifier.safetensors", "classifier.json", "oracle.safetensors", "oracle.json")
NAME = "sanity"  # of the run
PARTS = ("figures", "intervals", "passed")


def main() -> None:
    """Train the classifier, test each recipe, and write one file of results after each."""
    arguments = _arguments()
    options = ["configs/lesions.yaml", f"name={NAME}", f"runs={arguments.runs}", f"seed={arguments.seed}"]
    options += [f"data.seed={arguments.seed}", f"trainer.precision={arguments.precision}"]
    _call(["train.py", "classifier", *options, "resume=last"])
    for recipe in arguments.only:
        _lend(arguments.runs / NAME, recipe)
        test = [f"sanity.folder={recipe}", f"sanity.steps={arguments.steps}", f"sanity.images={arguments.images}"]
        _call(["explain.py", "sanity", *options, *test, *RECIPES[recipe]])
        _write(arguments)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=list(RECIPES), default=list(RECIPES))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=900, help="training steps of each CAE")
    parser.add_argument("--images", type=int, default=120, help="test images explained in each test")
    parser.add_argument("--precision", default="32-true", help="trainer.precision; bf16-mixed where the CPU has it")
    parser.add_argument("--runs", type=Path, default=Path("runs/benchmarks"), help="folder of the run")
    return parser.parse_args()


def _lend(run: Path, recipe: str) -> None:
    """Give a recipe the classifiers that another one trained: they do not depend on it."""
    for other in RECIPES:
        for name in LENT:
            for path in (run / other).glob(f"*/*/{name}"):
                place = run / recipe / path.relative_to(run / other)
                if not place.exists():
                    place.parent.mkdir(parents=True, exist_ok=True)
                    shutil.copyfile(path, place)


def _call(command: list[str]) -> None:
    print("$ python", *command, flush=True)
    subprocess.run([sys.executable, *command], cwd=ROOT, check=True)


def _write(arguments: argparse.Namespace) -> None:
    """Numbers, intervals and what passed, each name led by its recipe; a recipe not run now keeps what it had."""
    path = ROOT / "benchmarks" / "results" / "sanity.json"
    before = read_json(path)
    result: dict = {"images": arguments.images, "origins": {}, **{part: {} for part in PARTS}}
    for recipe in RECIPES:
        found = read_json(ROOT / arguments.runs / NAME / recipe / "sanity.json")
        if found:
            command = _command(recipe, arguments)
            result["origins"][recipe] = {"seed": arguments.seed, "machine": machine(), "command": command}
            _add(recipe, found, result)
        elif recipe in before.get("origins", {}) and before["images"] == arguments.images:
            result["origins"][recipe] = before["origins"][recipe]
            for part in PARTS:
                result[part] |= {name: one for name, one in before[part].items() if name.startswith(f"{recipe}/")}
    write_json(path, result)


def _command(recipe: str, arguments: argparse.Namespace) -> str:
    words = ["python benchmarks/sanity.py", f"--only {recipe}", f"--seed {arguments.seed}"]
    words += [f"--steps {arguments.steps}", f"--images {arguments.images}"]
    if arguments.precision != "32-true":
        words.append(f"--precision {arguments.precision}")
    return " ".join(words)


def _add(recipe: str, found: dict, result: dict) -> None:
    for name, value in found.items():
        if isinstance(value, bool):
            result["passed"][f"{recipe}/{name.removesuffix('_passed')}"] = value
        elif not name.endswith(("_low", "_high")):
            result["figures"][f"{recipe}/{name}"] = value
            if f"{name}_low" in found:
                result["intervals"][f"{recipe}/{name}"] = [found[f"{name}_low"], found[f"{name}_high"]]


if __name__ == "__main__":
    main()
