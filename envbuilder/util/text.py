"""Numbers as a person says them."""

from __future__ import annotations


def counted(number: int, one: str, many: str | None = None) -> str:
    """Return ``1 wheel``, ``2 wheels``; *many* where an s does not make it."""
    return f"{number} {one if number == 1 else many or f'{one}s'}"


def human(size: float) -> str:
    """Return a number of bytes for people: ``214.3 MB``."""
    for unit in ("B", "kB", "MB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.2f} GB"
