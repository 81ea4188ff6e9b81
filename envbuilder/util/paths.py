"""Paths as a person writes them."""

from __future__ import annotations

from pathlib import Path

from envbuilder.errors import RecipeError


class UnknownHomeError(RecipeError):
    """A path begins with ``~`` or ``~NAME``, and nothing says where that is."""


def expand_user(text: str) -> Path:
    """Return the path *text* with ``~`` and ``~NAME`` replaced.

    Raises:
        UnknownHomeError: there is no such user, or HOME is not set and no database knows this one.
    """
    try:
        return Path(text).expanduser()
    except RuntimeError:
        raise UnknownHomeError(
            f"{text}: the home folder is not known", hint="write the whole path instead of ~"
        ) from None
