"""``[models]`` of envbuilder.toml: which recipe a model of a repository gets, and how it is deployed."""

from __future__ import annotations

import fnmatch
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from envbuilder.config.settings import MODELS as TABLE
from envbuilder.config.settings import find_settings_file
from envbuilder.errors import RecipeError
from envbuilder.util.documents import DocumentError, parse_toml, record_of
from envbuilder.util.files import read_text


@dataclass(frozen=True, kw_only=True, slots=True)
class Rule:
    """One line: the settings of models whose names its glob matches."""

    pattern: str
    recipe: str | None = None
    """A name in ``recipes/``, or a path; None: an earlier line or the model's own ``recipe.yaml`` sets it."""
    layout: str | None = None
    precompile: bool | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Choice:
    """The settings of one model: for each key, those of the first line that has it."""

    recipe: str | None
    layout: str
    precompile: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Rules:
    """The table, in its order."""

    root: Path
    """The folder of envbuilder.toml, whose ``recipes/`` contains the named recipes."""
    rules: tuple[Rule, ...] = ()

    def of(self, model: str) -> Choice:
        """Return the settings of *model*."""
        fitting = [rule for rule in self.rules if fnmatch.fnmatchcase(model, rule.pattern)]
        return Choice(
            recipe=next((rule.recipe for rule in fitting if rule.recipe is not None), None),
            layout=next((rule.layout for rule in fitting if rule.layout is not None), "model"),
            precompile=next((rule.precompile for rule in fitting if rule.precompile is not None), False),
        )

    def unmatched(self, models: Collection[str]) -> list[str]:
        """Return the globs that match none of *models*, perhaps because of a typo."""
        return [rule.pattern for rule in self.rules if not fnmatch.filter(models, rule.pattern)]


def read_rules(*folders: Path) -> Rules:
    """Return the table of the envbuilder.toml that applies to the first of *folders* with one.

    Raises:
        RecipeError: it cannot be read, or is invalid.
    """
    for folder in folders:
        path = find_settings_file(folder)
        if path is None:
            continue
        try:
            document = parse_toml(read_text(path).encode(), where=str(path))
            if TABLE not in document:
                continue
            table = document.record(TABLE)
            rules = tuple(
                _rule(pattern, said, f"{path}: {TABLE}.{pattern}") for pattern, said in table.value.items()
            )
            return Rules(root=path.parent, rules=rules)
        except DocumentError as error:
            raise RecipeError(
                error.message, hint='"resnet-*" = {recipe = "resnet", layout = "shared", precompile = true}'
            ) from error
        except (OSError, UnicodeDecodeError) as error:
            raise RecipeError(f"{path}: {getattr(error, 'strerror', None) or error}") from error
    return Rules(root=folders[0])


def _rule(pattern: str, said: Any, where: str) -> Rule:
    if isinstance(said, str):
        said = {"recipe": said}
    record = record_of(said, where=where)
    record.only("recipe", "layout", "precompile")
    return Rule(
        pattern=pattern,
        recipe=record.text("recipe") if "recipe" in record else None,
        layout=record.text("layout") if "layout" in record else None,
        precompile=record.boolean("precompile") if "precompile" in record else None,
    )
