"""Two folders of a few hundred photographs for ``pipeline.py --only folder``, from clones of public data sets.

    git clone https://github.com/alexeygrigorev/clothing-dataset-small    # CC0
    git clone https://github.com/marcusklasson/GroceryStoreDataset        # MIT; Klasson et al. 2019, arXiv:1901.00711
    python benchmarks/photographs.py clothing-dataset-small GroceryStoreDataset data/photographs

writes ``data/photographs/clothes`` and ``data/photographs/fruit``: so many photographs of a class and split at most,
drawn at random, no side longer than ``SIDE`` pixels. Nothing of the data sets is part of the project.
"""

from __future__ import annotations

import argparse
import random
from pathlib import Path

from PIL import Image

SIDE = 256
# class of ours: folders of the data set
FRUIT = {
    "red_apple": ["Fruit/Apple/Red-Delicious", "Fruit/Apple/Royal-Gala"],
    "green_apple": ["Fruit/Apple/Granny-Smith"],
    "citrus": ["Fruit/Orange", "Fruit/Satsumas"],
    "tomato": ["Vegetables/Tomato/Regular-Tomato", "Vegetables/Tomato/Vine-Tomato"],
}
CLOTHES = {name: [name] for name in ("pants", "dress", "shoes", "hat")}
# name: classes, folder of the splits, photographs of a class in each split at most
SETS: dict[str, tuple[dict[str, list[str]], str, dict[str, int]]] = {
    "clothes": (CLOTHES, "", {"train": 110, "test": 40}),
    "fruit": (FRUIT, "dataset", {"train": 100, "test": 100}),
}


def main() -> None:
    """Write ``<target>/<set>/<split>/<class>/<number>.jpg``."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in SETS:
        parser.add_argument(name, type=Path, help=f"clone of the data set that `{name}` is drawn from")
    parser.add_argument("target", type=Path, help="folder to write, which must not be there yet")
    arguments = parser.parse_args()
    if arguments.target.exists():
        parser.error(f"'{arguments.target}' is there already")
    draw = random.Random(0)
    for name, (classes, root, most) in SETS.items():
        for cls, folders in classes.items():
            for split, count in most.items():
                inside = [getattr(arguments, name) / root / split / folder for folder in folders]
                found = [path for folder in inside for path in sorted(folder.glob("*.jpg"))]
                if not found:
                    parser.error(f"no photographs in {', '.join(map(str, inside))}: is that the data set?")
                draw.shuffle(found)
                for number, path in enumerate(found[:count]):
                    _shrink(path, arguments.target / name / split / cls / f"{number:04d}.jpg")


def _shrink(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    with Image.open(source) as image:
        small = image.convert("RGB")
        small.thumbnail((SIDE, SIDE))
        small.save(target, quality=92)


if __name__ == "__main__":
    main()
