from __future__ import annotations

from tests.helpers.environments import Tree, environment


def with_python(minor: str, tree: Tree | None = None) -> Tree:
    """The environment with another Python."""
    return {path.replace("3.11", minor): data for path, data in (tree or environment()).items()}
