"""What only some verbs need, and is installed by an extra."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from envbuilder.errors import RecipeError


@contextmanager
def needs_extra(extra: str, verb: str) -> Iterator[None]:
    """Import in this block what the extra *extra* installs; *verb* is what needs it.

    Raises:
        RecipeError: it is not installed.
    """
    try:
        yield
    except ImportError as error:
        missing = error.name or str(error)
        raise RecipeError(
            f"{verb} needs {missing}, which is not installed", hint=f"pip install 'envbuilder[{extra}]'"
        ) from error
