"""Matrix recipes: one recipe for each combination of lists in ``triton``, ``torch``, ``cuda`` and ``python``.

``resnet.yaml`` with ``triton: ["24.10", "25.06"]`` and ``cuda: [cpu, cu126]`` gives four recipes, the first of them
``resnet-24_10-cpu``, each with its own lock.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from envbuilder.errors import EnvbuilderError, RecipeError
from envbuilder.recipe.load import find_recipe_file, parse_recipe
from envbuilder.recipe.model import Recipe
from envbuilder.recipe.schema import KEYS
from envbuilder.util.yaml import Value, read_document

_MAX_CELLS: Final = 1000
"""Most combinations of one file: more than twice the number of supported pairs of release and torch."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Cell:
    """One combination of a matrix."""

    name: str
    """The recipe's name: the file's, and the values that are lists there."""
    recipe: Recipe | None
    error: EnvbuilderError | None = None
    """Why it is impossible: no such torch for that CUDA, no such Python in that release."""

    def get(self) -> Recipe:
        """Return the recipe.

        Raises:
            RecipeError: it is invalid.
        """
        if self.recipe is None:
            assert self.error is not None
            raise self.error
        return self.recipe


def load_matrix(names: Sequence[str], root: Path) -> list[Cell]:
    """Return the combinations of the recipes *names* (in ``root/recipes``, or paths); none means all.

    A recipe without lists is one combination.

    Raises:
        RecipeError: a file is missing or not YAML, or there are none.
    """
    files = [find_recipe_file(name, root) for name in names] or sorted((root / "recipes").glob("*.yaml"))
    if not files:
        raise RecipeError(
            f"no recipes in {root / 'recipes'}", hint="`envbuilder init NAME` writes one to start from"
        )
    cells = [cell for file in files for cell in _cells(file)]
    seen: set[str] = set()
    for cell in cells:
        if cell.name in seen:
            raise RecipeError(
                f"two recipes are called {cell.name}", hint="does a list contain a value twice?"
            )
        seen.add(cell.name)
    return cells


def _cells(path: Path) -> Iterator[Cell]:
    document = read_document(path)
    found = document.data if isinstance(document.data, dict) else {}
    lists = {name: value.data for name, value in found.items() if _is_list(name, value)}
    for name, values in lists.items():
        if not values:
            raise found[name].error(f"`{name}` is an empty list")
    count = math.prod(len(values) for values in lists.values())
    if count > _MAX_CELLS:
        raise document.error(f"its lists make {count} recipes, more than {_MAX_CELLS}")
    for combination in itertools.product(*lists.values()):
        chosen = dict(zip(lists, combination, strict=True))
        words = [str(value.data if isinstance(value.data, str) else value.raw) for value in combination]
        name = "-".join([path.stem, *(word.replace(".", "_") for word in words)])
        try:
            recipe = parse_recipe(
                replace(document, data={**found, **chosen}) if chosen else document, path, name
            )
        except RecipeError as error:
            yield Cell(name=name, recipe=None, error=error)
        else:
            yield Cell(name=name, recipe=recipe)


def _is_list(name: str, value: Value) -> bool:
    return name in KEYS and KEYS[name].matrix and isinstance(value.data, list)
