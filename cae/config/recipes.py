"""Recipes: the YAML files of ``configs/``, which travel with the package and are found by their name."""

from __future__ import annotations

from pathlib import Path

from cae.config.fields import all_options
from cae.errors import UserError, did_you_mean

_PACKAGE = Path(__file__).parents[1]
_INSTALLED = _PACKAGE / "recipes"  # where the wheel holds what the checkout has in `configs`
RECIPES = _INSTALLED if _INSTALLED.is_dir() else _PACKAGE.parent / "configs"


def list_recipes() -> list[str]:
    """Names of all recipes."""
    return sorted(path.stem for path in RECIPES.glob("*.yaml"))


def recipe_path(word: str | Path) -> Path:
    """The file that is meant: a path, or the name of a recipe where there is no such file.

    >>> recipe_path("lesions").name, recipe_path("mine/lesions.yaml").as_posix()
    ('lesions.yaml', 'mine/lesions.yaml')

    Raises:
        UserError: for a plain word that is neither a file nor a recipe.
    """
    path, name = Path(word), str(word)
    if len(path.parts) != 1 or path.suffix in (".yaml", ".yml") or path.is_file():
        return path
    known = list_recipes()
    if name not in known:
        if path.exists() or name in all_options():  # a folder, or an option without its value: the reader says so
            return path
        raise UserError(
            f"'{name}' is neither a file nor a recipe{did_you_mean(name, known)}; recipes are {', '.join(known)}, a "
            f"file of your own is named with its ending, {name}.yaml"
        )
    return RECIPES / f"{name}.yaml"
