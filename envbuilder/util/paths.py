"""Paths as users write them: with ``~``."""

from __future__ import annotations

from pathlib import Path

from envbuilder.errors import RecipeError


class UnknownHomeError(RecipeError):
    """A path begins with ``~`` or ``~NAME``, and that home directory is unknown."""


def expand_user(text: str) -> Path:
    """Return the path *text* with ``~`` and ``~NAME`` replaced.

    Raises:
        UnknownHomeError: there is no such user, or HOME is not set and the user has no passwd entry.
    """
    try:
        return Path(text).expanduser()
    except RuntimeError:
        raise UnknownHomeError(
            f"{text}: the home directory is unknown", hint="write the full path instead of ~"
        ) from None
