"""Make the module that of an older release: remove names and capabilities that later releases added."""

# ruff: noqa: UP006 - Python 3.8
from __future__ import annotations

import functools
import inspect
import sys
from typing import Any, Callable, Dict, Iterable, NoReturn, Set

_lacking: Set[str] = set()
CLASSES: Dict[str, type] = {}
"""Classes of the package by name, whose attributes a release may lack; filled by ``__init__.py``."""
_met: Dict[str, str] = {}
"""Texts of errors that were raised, each with the lacking name that the model used."""


def lacks(name: str) -> bool:
    """Return whether the host has declared that the release lacks *name*."""
    return name in _lacking


def refuse(name: str, error: Exception) -> NoReturn:
    """Raise *error* for a model that uses *name*, and record it for :func:`lacking_in`."""
    _met[str(error)] = name
    raise error


def lacking_in(text: str) -> str:
    """Return the lacking name that made a model fail with *text*; empty if another cause did."""
    return next((name for told, name in _met.items() if told in text), "")


def lack(names: Iterable[str]) -> None:
    """Remove *names* from the module for the rest of this process.

    A name is that of a constant, ``Class.attribute`` or ``Class.method(argument)``; any other is the description of a
    capability, which code of this package checks with :func:`lacks`.
    """
    package: Any = sys.modules[__package__]
    for name in set(names) - _lacking:
        _lacking.add(name)
        owner, _, attribute = name.partition(".")
        method, _, argument = attribute.rstrip(")").partition("(")
        if name in package.__all__:
            package.__all__.remove(name)
            delattr(package, name)
        elif owner in CLASSES:
            kind = CLASSES[owner]
            absent: Any = (
                _without_argument(name, kind, getattr(kind, method), argument)
                if argument
                else _Absent(name, kind, attribute)
            )
            setattr(kind, method, absent)


def refuse_name(package: str, name: str) -> NoReturn:
    """Raise the AttributeError of a module without *name*."""
    error = AttributeError(f"module {package!r} has no attribute {name!r}")
    if not lacks(name):
        raise error
    _met[f"cannot import name {name!r}"] = name
    refuse(name, error)


class _Absent:
    """A descriptor in place of a removed attribute: access raises AttributeError."""

    def __init__(self, name: str, kind: type, attribute: str) -> None:
        self._name, self._kind, self._attribute = name, kind, attribute

    def __get__(self, instance: object, owner: type) -> NoReturn:
        kind = _shown(self._kind)
        whose = f"type object {kind!r}" if instance is None else f"{kind!r} object"
        refuse(self._name, AttributeError(f"{whose} has no attribute {self._attribute!r}"))


def _without_argument(name: str, kind: type, method: Callable[..., Any], argument: str) -> Callable[..., Any]:
    """Return *method* of *kind* without its last *argument*: passing it raises TypeError."""
    most = list(inspect.signature(method).parameters).index(argument)

    @functools.wraps(method)
    def without(*args: Any, **named: Any) -> Any:
        if argument in named or len(args) > most:
            called = f"{method.__name__}(): incompatible arguments"
            refuse(name, TypeError(f"{called}: {_shown(kind)} takes no {argument!r}"))
        return method(*args, **named)

    return without


def _shown(kind: type) -> str:
    return kind.__name__ if kind.__name__ == "ModelConfig" else f"c_python_backend_utils.{kind.__name__}"
