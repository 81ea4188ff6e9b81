"""Determine which files the code of a version folder reads by itself, from its text.

It needs the standard library only. ``envbuilder/deployment/code_reads.py`` is a link to this file, so deploying and
loading share one rule.
"""

from __future__ import annotations

import ast
import os
import re
from collections.abc import Iterable, Iterator
from typing import Any

_MOST_CODE = 16 * 2**20
"""Largest source file that is searched, in bytes."""
_READERS = re.compile(r"(^|.*_)(load\w*|open|read\w*|from_pretrained|fromfile)($|_.*)")


def mentioned(folder: str, names: Iterable[str]) -> list[str]:
    """Return those of *names* that the Python files in *folder* mention anywhere."""
    texts = list(_sources(folder))
    return [name for name in names if any(name in text for text in texts)]


def read_by_code(folder: str, names: Iterable[str]) -> list[str]:
    """Return those of *names* that the Python files in *folder* pass to a function that reads files.

    Other mentions do not count: the file may be written, for instance (``torch.save``). Code under ``if __name__ ==
    "__main__"`` does not run while a model is served.
    """
    given: set[str] = set()
    for text in _sources(folder):
        try:
            given.update(_Reads(ast.parse(text)).strings())
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            continue  # it cannot be imported, either
    return [name for name in names if any(one == name or one.endswith("/" + name) for one in given)]


class _Reads:
    """A file's calls that read files, and its assignments."""

    def __init__(self, tree: ast.Module) -> None:
        self._assigned: dict[str, list[str]] = {}
        self._calls: list[ast.Call] = []
        left: list[ast.AST] = [tree]
        while left:
            node = left.pop()
            if isinstance(node, ast.If) and "__name__" in _names(node.test):
                left += node.orelse
                continue
            if isinstance(node, ast.Call):
                self._calls.append(node)
            self._note(node)
            left += ast.iter_child_nodes(node)

    def _note(self, node: ast.AST) -> None:
        if isinstance(node, ast.Assign):
            pairs: list[tuple[str, Any]] = [
                (name, node.value) for target in node.targets for name in _names(target)
            ]
        elif isinstance(node, ast.AnnAssign) and node.value is not None:
            pairs = [(name, node.value) for name in _names(node.target)]
        elif isinstance(node, ast.arguments):
            positional = reversed([*node.posonlyargs, *node.args])
            pairs = list(map(_default, positional, reversed(node.defaults)))
            pairs += [pair for pair in map(_default, node.kwonlyargs, node.kw_defaults) if pair[1]]
        else:
            pairs = []
        for name, value in pairs:
            self._assigned.setdefault(name, []).extend(_strings(value))

    def strings(self) -> Iterator[str]:
        """Yield the strings in calls that read files, directly or by a name assigned to."""
        for call in self._calls:
            called = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
            if not _READERS.fullmatch(called) or _writes(call):
                continue
            for part in [call.func, *call.args, *(one.value for one in call.keywords)]:
                yield from _strings(part)
                for name in _names(part):
                    yield from self._assigned.get(name, ())


def _default(argument: ast.arg, value: ast.expr | None) -> tuple[str, Any]:
    return argument.arg, value


def _writes(call: ast.Call) -> bool:
    """Return whether a call opens a file for writing."""
    modes = [*call.args[:2], *(one.value for one in call.keywords if one.arg == "mode")]
    said = [one.value for one in modes if isinstance(one, ast.Constant) and isinstance(one.value, str)]
    return any(re.fullmatch(r"[wxa][bt+]*", one) for one in said)


def _strings(node: ast.AST) -> list[str]:
    return [
        one.value for one in ast.walk(node) if isinstance(one, ast.Constant) and isinstance(one.value, str)
    ]


def _names(node: ast.AST) -> list[str]:
    return [
        one.attr if isinstance(one, ast.Attribute) else one.id
        for one in ast.walk(node)
        if isinstance(one, (ast.Attribute, ast.Name))
    ]


def _sources(folder: str) -> Iterator[str]:
    with os.scandir(folder) as entries:
        paths = [one.path for one in entries if one.name.endswith(".py") and os.path.isfile(one.path)]
    for path in paths:
        if os.path.getsize(path) < _MOST_CODE:
            with open(path, encoding="utf-8", errors="replace") as file:
                yield file.read()
