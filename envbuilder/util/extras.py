"""Dependencies that only some commands need, installed by an extra."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from envbuilder.errors import RecipeError


@contextmanager
def needs_extra(extra: str, verb: str) -> Iterator[None]:
    """Import optional dependencies in this block: the extra *extra* installs them, *verb* needs them.

    Raises:
        RecipeError: it is not installed.
    """
    try:
        yield
    except ImportError as error:
        missing = error.name or str(error)
        raise RecipeError(
            f"{verb} requires {missing}, which is not installed", hint=f"pip install 'envbuilder[{extra}]'"
        ) from error
