"""Format numbers, sizes and lists for messages."""

from __future__ import annotations

from collections.abc import Sequence


def counted(number: int, one: str, many: str | None = None) -> str:
    """Return ``1 wheel``, ``2 wheels``; *many* is an irregular plural."""
    return f"{number} {one if number == 1 else many or f'{one}s'}"


def listed(items: Sequence[str], word: str) -> str:
    """Return ``a``, ``a or b``, ``a, b or c``, where *word* is ``or``."""
    *first, last = items
    return f"{', '.join(first)} {word} {last}" if first else last


def human(size: float) -> str:
    """Return a number of bytes for people: ``214.3 MB``."""
    for unit in ("B", "kB", "MB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.2f} GB"
