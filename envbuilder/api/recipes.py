"""Write, load, import and lock recipes."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from envbuilder.errors import DeployError, RecipeError
from envbuilder.recipe.model import Recipe
from envbuilder.store.session import Session
from envbuilder.util.files import StrPath, optional_path

if TYPE_CHECKING:
    from envbuilder.deployment.library_model import LibrarySource
    from envbuilder.recipe.importing.convert import Choices, Import
    from envbuilder.resolve.lock import LockResult


def load_recipe(path: StrPath) -> Recipe:
    """Load the recipe in a YAML file.

    Raises:
        RecipeError: it is missing or invalid; the message names the line.
    """
    from envbuilder.recipe.load import load_recipe as read

    return read(Path(path))


def load_recipes(names: Sequence[str] = (), root: StrPath | None = None) -> list[Recipe]:
    """Load the recipes *names*, in ``recipes/`` of *root* (default: the current folder); default: all of them.

    Raises:
        RecipeError: one is missing or invalid, or there are no recipes.
    """
    from envbuilder.recipe.load import load_recipes as read

    return read(names, optional_path(root) or Path.cwd())


def init(
    name: str,
    *,
    triton: str | None = None,
    torch: str | None = None,
    cuda: str | None = None,
    source: str | LibrarySource | None = None,
    root: StrPath | None = None,
) -> Path:
    """Write a starter recipe and return its path: ``recipes/NAME.yaml``, or NAME if it is a path.

    The JSON schema for editors is written next to it. *source* is a folder written by Hugging Face's
    ``save_pretrained`` or timm's ``save_for_hf``, or ``module:name`` of torchvision or timm: the recipe gets its
    dependencies, and ``models/NAME`` in *root* becomes a model directory with a complete configuration. A
    :class:`LibrarySource` gives the arguments of a library's function and the file with its weights.

    Raises:
        RecipeError: the recipe exists already, or the values do not make a valid recipe.
        DeployError: the model directory exists already, or the inputs and outputs of *source* cannot be determined.
    """
    from envbuilder.recipe.create import recipe_path, write_recipe
    from envbuilder.recipe.load import template

    folder = optional_path(root) or Path.cwd()
    path = recipe_path(name, folder)
    text = template(path.stem, triton=triton, torch=torch, cuda=cuda)
    if source is None:
        write_recipe(path, text)
        return path
    from envbuilder.deployment.from_library import describe_source, recipe_for, write_model

    model, target = describe_source(source), folder / "models" / path.stem
    if target.exists():
        raise DeployError(f"{target} already exists", hint="delete it, or choose another name")
    write_recipe(path, recipe_for(model, text, Path(os.path.relpath(target, path.parent))))
    try:
        write_model(model, target)
    except BaseException:
        path.unlink()
        raise
    return path


def import_recipe(
    file: StrPath,
    name: str | None = None,
    *,
    choices: Choices | None = None,
    groups: Sequence[str] = (),
    root: StrPath | None = None,
) -> Import:
    """Convert another tool's file to a recipe: ``recipes/NAME.yaml``, or NAME if it is a path.

    The file may also be an environment: a conda-pack archive, a tar of a prefix or a venv, or its folder.
    The format is detected from the content, see :mod:`envbuilder.recipe.importing.detect`. *choices* override the
    file; *groups* are extras, dependency groups and categories of a project or its lock to include.

    Raises:
        RecipeError: the file is invalid, the recipe exists already, or the values do not make a valid recipe.
        IntegrityError: an archive is truncated or damaged.
        ResolveError: it contains match specs, and py-rattler, which parses them, is not installed.
    """
    from envbuilder.foreign.importing import is_environment_file, read_environment_import
    from envbuilder.recipe.create import recipe_path, write_recipe
    from envbuilder.recipe.importing.convert import Import, make_recipe, recipe_name
    from envbuilder.recipe.importing.detect import read_import

    file = Path(file)
    if is_environment_file(file):
        if groups:
            raise RecipeError(
                f"{file} has no group or extra {groups[0]!r}: it is an environment, not a project"
            )
        found, choices = read_environment_import(file, choices)
    else:
        found = read_import(file, groups)
    path = recipe_path(name or recipe_name(found), optional_path(root) or Path.cwd())
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
