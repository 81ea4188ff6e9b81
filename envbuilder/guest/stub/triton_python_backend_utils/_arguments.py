"""Check argument types as pybind11 does in the stub: a TypeError for a value that the declared type does not take."""

# ruff: noqa: UP006 - Python 3.8
from __future__ import annotations

import operator
from typing import Any, Tuple

UINT32, UINT64, INT64 = (0, 2**32 - 1), (0, 2**64 - 1), (-(2**63), 2**63 - 1)
"""Ranges of C++ integer types: smallest and largest value."""


def refuse_type(function: str, value: Any) -> TypeError:
    """Return the error for calling *function* with *value*."""
    return TypeError(f"{function}(): incompatible function arguments: {type(value).__name__}")


def text(function: str, value: Any) -> str:
    """Return *value*, str or bytes, as a str: a name may come from the array of an input, whose items are bytes.

    Raises:
        TypeError: it is neither.
    """
    if isinstance(value, bytes):
        return value.decode("utf-8", "surrogateescape")
    if not isinstance(value, str):
        raise refuse_type(function, value)
    return str(value)


def check_kind(function: str, value: Any, kind: type) -> None:
    """Check that *value* is an instance of *kind*.

    Raises:
        TypeError: it is not.
    """
    if not isinstance(value, kind):
        raise refuse_type(function, value)


def whole(function: str, value: Any, limits: Tuple[int, int]) -> int:
    """Return *value*, any type with ``__index__``, as an int.

    Raises:
        TypeError: it is not an integer, or not within *limits*, both inclusive.
    """
    try:
        number = operator.index(value)
    except TypeError:
        raise refuse_type(function, value) from None
    if not limits[0] <= number <= limits[1]:
        raise refuse_type(function, value)
    return number


def real(function: str, value: Any) -> float:
    """Return *value*, a number of any type, as a float.

    Raises:
        TypeError: it is not a number.
    """
    if isinstance(value, (str, bytes)):
        raise refuse_type(function, value)
    try:
        return float(value)
    except (TypeError, ValueError):
        raise refuse_type(function, value) from None
