"""What the module of one release lacks: names that a later one brought, and what a model may do with it."""

# ruff: noqa: UP006 - Python 3.8
from __future__ import annotations

import functools
import inspect
import sys
from typing import Any, Callable, Dict, Iterable, NoReturn, Set

_lacking: Set[str] = set()
CLASSES: Dict[str, type] = {}
"""Those of which a release may have less, by name; the package fills it."""
_met: Dict[str, str] = {}
"""What a model was told, and what it had asked for."""


def lacks(name: str) -> bool:
    """Say whether the release is without *name*, as the host has it."""
    return name in _lacking


def refuse(name: str, error: Exception) -> NoReturn:
    """Raise *error*, which a model meets that uses *name*."""
    _met[str(error)] = name
    raise error


def lacking_in(text: str) -> str:
    """Return what of a later release a model has used that failed with *text*; empty where that is not the cause."""
    return next((name for told, name in _met.items() if told in text), "")


def lack(names: Iterable[str]) -> None:
    """Be the module of a release that is without *names*, for the rest of this process.

    A name is that of a constant, or ``Class.attribute``, or ``Class.method(argument)``; any other is a text for
    :func:`lacks`.
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
    """Raise what Python raises of a module without *name*."""
    error = AttributeError(f"module {package!r} has no attribute {name!r}")
    if not lacks(name):
        raise error
    _met[f"cannot import name {name!r}"] = name
    refuse(name, error)


class _Absent:
    """In the place of an attribute of a class."""

    def __init__(self, name: str, kind: type, attribute: str) -> None:
        self._name, self._kind, self._attribute = name, kind, attribute

    def __get__(self, instance: object, owner: type) -> NoReturn:
        kind = _shown(self._kind)
        whose = f"type object {kind!r}" if instance is None else f"{kind!r} object"
        refuse(self._name, AttributeError(f"{whose} has no attribute {self._attribute!r}"))


def _without_argument(name: str, kind: type, method: Callable[..., Any], argument: str) -> Callable[..., Any]:
    """Return *method* of *kind* without its *argument*, which is its last."""
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
