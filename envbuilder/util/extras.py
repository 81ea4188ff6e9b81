"""Dependencies that only some commands need, installed by an extra."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from envbuilder.errors import RecipeError


def installing(extra: str) -> str:
    """Return how to install *extra*. Not by the name alone: on PyPI, ``envbuilder`` is another project."""
    return f"in the checkout that envbuilder was installed from: pip install '.[{extra}]'"


@contextmanager
def needs_extra(extra: str, verb: str) -> Iterator[None]:
    """Import optional dependencies in this block: the extra *extra* installs them, the command *verb* needs them.

    Raises:
        RecipeError: it is not installed.
    """
    try:
        yield
    except ImportError as error:
        missing = error.name or str(error)
        raise RecipeError(
            f"{verb} requires {missing}, which is not installed", hint=installing(extra)
        ) from error
