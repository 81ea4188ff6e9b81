"""Determine whether a Python file defines a ``TritonPythonModel``, from its text."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from envbuilder.util.files import read_regular

_NAME: Final = "TritonPythonModel"
_DEFINES: Final = re.compile(r"(?:class|from\s.*\simport)\s.*\bTritonPythonModel\b")
_STAR: Final = re.compile(r"\bimport\s+\*")
MOST_CODE: Final = 16 * 2**20
"""How much of a model's code is searched, in bytes."""
_LONGEST_LINE: Final = 1000
"""Longest line that is searched, in characters: the pattern above takes quadratic time."""
_MOST_FILES: Final = 16
"""How many files are read that import all of one another."""


def defines_model(path: Path) -> bool:
    """Whether the file *path* defines, imports or assigns a ``TritonPythonModel``; it may be in a file beside it."""
    return _defines(path, set())


def _defines(path: Path, seen: set[Path]) -> bool:
    if path in seen or len(seen) >= _MOST_FILES:
        return False
    seen.add(path)
    try:
        text = read_regular(path, most=MOST_CODE).decode("utf-8", "replace")
    except OSError:
        return False
    if any(_DEFINES.match(line[:_LONGEST_LINE]) for line in text.splitlines() if _NAME in line):
        return True
    if _NAME not in text and not _STAR.search(text):
        return False
    try:
        statements = list(_statements(ast.parse(text).body))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return any(_binds(one) or _takes_all(one, path.parent, seen) for one in statements)


def _statements(body: Iterable[ast.stmt]) -> Iterator[ast.stmt]:
    """Yield the statements that run when a module is imported, except those of functions and classes."""
    for one in body:
        yield one
        for field in ("body", "orelse", "finalbody"):
            if isinstance(one, (ast.If, ast.Try, ast.With)):
                yield from _statements(getattr(one, field, ()))
        for handler in one.handlers if isinstance(one, ast.Try) else ():
            yield from _statements(handler.body)


def _binds(statement: ast.stmt) -> bool:
    if isinstance(statement, ast.ClassDef):
        return statement.name == _NAME
    if isinstance(statement, (ast.Import, ast.ImportFrom)):
        return any((one.asname or one.name) == _NAME for one in statement.names)
    targets = statement.targets if isinstance(statement, ast.Assign) else [getattr(statement, "target", None)]
    return any(isinstance(one, ast.Name) and one.id == _NAME for one in targets)


def _takes_all(statement: ast.stmt, folder: Path, seen: set[Path]) -> bool:
    """Return whether ``from module import *`` takes it from a file in *folder*, or in the model's, as a stub would."""
    if not isinstance(statement, ast.ImportFrom) or statement.names[0].name != "*" or not statement.module:
        return False
    module = statement.module.replace(".", "/")
    folders = [folder] if statement.level else [folder, folder.parent]
    files = [place / f"{module}{end}" for place in folders for end in (".py", "/__init__.py")]
    return any(_defines(file, seen) for file in files if file.is_file())
