"""Recipes and locks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from envbuilder.recipe.load import load_recipe as read_recipe
from envbuilder.recipe.load import load_recipes as read_recipes
from envbuilder.recipe.load import template
from envbuilder.recipe.model import Recipe
from envbuilder.store.session import Session
from envbuilder.util.files import StrPath

if TYPE_CHECKING:
    from envbuilder.recipe.importing.convert import Choices, Import
    from envbuilder.resolve.lock import LockResult


def load_recipe(path: StrPath) -> Recipe:
    """Load the recipe in a YAML file.

    Raises:
        RecipeError: it is not there or cannot be understood; the message says which line.
    """
    return read_recipe(Path(path))


def load_recipes(names: Sequence[str] = (), root: Path | None = None) -> list[Recipe]:
    """Load the recipes *names*, in ``recipes/`` of *root* (default: the current folder); none means all of them.

    Raises:
        RecipeError: one is not there or cannot be understood, or there is none at all.
    """
    return read_recipes(names, root or Path.cwd())


def init(
    name: str,
    *,
    triton: str | None = None,
    torch: str | None = None,
    cuda: str | None = None,
    root: Path | None = None,
) -> Path:
    """Write a recipe to start from, and return its path: ``recipes/NAME.yaml``, or NAME where it is a path.

    The schema for editors goes beside it.

    Raises:
        RecipeError: there is one already, or the values make no possible recipe.
    """
    from envbuilder.recipe.create import recipe_path, write_recipe

    path = recipe_path(name, root or Path.cwd())
    write_recipe(path, template(path.stem, triton=triton, torch=torch, cuda=cuda))
    return path


def import_recipe(
    file: Path,
    name: str | None = None,
    *,
    choices: Choices | None = None,
    groups: Sequence[str] = (),
    root: Path | None = None,
) -> Import:
    """Make a recipe of a file that another tool wrote: ``recipes/NAME.yaml``, or NAME where it is a path.

    The tool is told by the file's content, see :mod:`envbuilder.recipe.importing.detect`. What *choices* say counts
    instead of what the file says; *groups* are extras and dependency groups that count, too.

    Raises:
        RecipeError: the file is none, there is such a recipe already, or its values make no possible recipe.
        ResolveError: it has match specs, and py-rattler, which reads them, is not installed.
    """
    from envbuilder.recipe.create import recipe_path, write_recipe
    from envbuilder.recipe.importing.convert import Import, make_recipe, recipe_name
    from envbuilder.recipe.importing.detect import read_import

    found = read_import(file, groups)
    path = recipe_path(name or recipe_name(found), root or Path.cwd())
    made = make_recipe(found, path.absolute().parent, choices)
    write_recipe(path, made.text)
    return Import(recipe=path, kind=found.kind, remarks=made.remarks)


def lock(
    recipe: Recipe,
    *,
    check: bool = False,
    resolve: bool = False,
    upgrade: bool = False,
    upgrade_packages: Sequence[str] = (),
    fetch: bool = False,
    session: Session | None = None,
) -> LockResult:
    """Lock a recipe, see :func:`envbuilder.resolve.lock.lock_recipe`."""
    from envbuilder.resolve.lock import lock_recipe

    return lock_recipe(
        recipe,
        (session or Session.open()).at(recipe.path.parent),
        check=check,
        resolve=resolve,
        upgrade=upgrade,
        upgrade_packages=upgrade_packages,
        fetch=fetch,
    )
