"""Locate values of a recipe for error messages."""

from __future__ import annotations

from envbuilder.recipe.model import Recipe
from envbuilder.util.yaml import read_document


def where(recipe: Recipe, key: str, name: str) -> str:
    """Return file and line of *name* under *key* in *recipe*, or those of the key, or the file."""
    try:
        document = read_document(recipe.path)
    except Exception:  # the file changed since: only its name is used
        return str(recipe.path)
    value = document.data.get(key) or document.data.get("provider")
    items = value.data if isinstance(value.data, list) else []
    for item in items:
        text = str(item.data).replace("_", "-").lower()
        if name in text:
            return f"{recipe.path}:{item.line}"
    return f"{recipe.path}:{value.line}"
