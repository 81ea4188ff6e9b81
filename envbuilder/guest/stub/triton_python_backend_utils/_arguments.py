"""Arguments are refused as pybind11 refuses them in the stub: a TypeError where another type is declared."""

# ruff: noqa: UP006 - Python 3.8
from __future__ import annotations

import operator
from typing import Any, Tuple

UINT32, UINT64, INT64 = (0, 2**32 - 1), (0, 2**64 - 1), (-(2**63), 2**63 - 1)
"""What whole numbers of C++ hold."""


def refuse_type(function: str, value: Any) -> TypeError:
    """Return what is raised where *function* is given *value*."""
    return TypeError(f"{function}(): incompatible function arguments: {type(value).__name__}")


def check_text(function: str, *values: Any) -> None:
    """Refuse what is no text."""
    for value in values:
        if not isinstance(value, (str, bytes)):
            raise refuse_type(function, value)


def check_kind(function: str, value: Any, kind: type) -> None:
    """Refuse what is no *kind*."""
    if not isinstance(value, kind):
        raise refuse_type(function, value)


def whole(function: str, value: Any, limits: Tuple[int, int]) -> int:
    """Return *value*, a whole number of any type, within *limits*."""
    try:
        number = operator.index(value)
    except TypeError:
        raise refuse_type(function, value) from None
    if not limits[0] <= number <= limits[1]:
        raise refuse_type(function, value)
    return number


def real(function: str, value: Any) -> float:
    """Return *value*, a number of any type."""
    if isinstance(value, (str, bytes)):
        raise refuse_type(function, value)
    try:
        return float(value)
    except (TypeError, ValueError):
        raise refuse_type(function, value) from None
