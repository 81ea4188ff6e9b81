"""Numbers as a person says them."""

from __future__ import annotations


def counted(number: int, one: str, many: str | None = None) -> str:
    """Return ``1 wheel``, ``2 wheels``; *many* where an s does not make it."""
    return f"{number} {one if number == 1 else many or f'{one}s'}"
