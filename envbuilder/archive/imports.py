"""The import-time imports of a module. Python 3.8 and later: this also runs in a release's own Python.

As a script it reads a job as JSON from stdin and writes the result to stdout, so that a source is parsed by the Python
that will import it: the result does not depend on the Python that runs envbuilder.
"""

from __future__ import annotations

import ast
import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

_CATCHERS = ("ImportError", "ModuleNotFoundError", "Exception", "BaseException")


def imports_of(module: str, package: bool, source: bytes) -> list[tuple[str, bool]]:
    """Return what *module* imports at import time: not in functions, nor under TYPE_CHECKING.

    Returns: absolute dotted names, each with whether the module handles its absence.
    ``from a.b import c`` gives ``a.b`` and ``a.b.c``, which may or may not be a module. A source that does not compile
    imports nothing.
    """
    visitor = _Visitor(module if package else module.rpartition(".")[0], module)
    try:
        for statement in ast.parse(source).body:
            visitor.visit(statement)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return []
    return list(dict.fromkeys(visitor.found))


class _Visitor(ast.NodeVisitor):
    def __init__(self, package: str, module: str) -> None:
        self.package = package
        self.module = module
        self.guarded = False
        self.found: list[tuple[str, bool]] = []

    def visit_FunctionDef(self, node: ast.AST) -> None:
        """Skip code that runs later."""

    visit_AsyncFunctionDef = visit_Lambda = visit_FunctionDef

    def visit_Import(self, node: ast.Import) -> None:
        for alias in node.names:
            self._add(alias.name)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        origin = self._absolute(node.level, node.module or "")
        if origin is None:
            return
        if origin:
            self._add(origin)
        for alias in node.names:
            if alias.name != "*":
                self._add(f"{origin}.{alias.name}" if origin else alias.name)

    def visit_If(self, node: ast.If) -> None:
        if _is_never(node.test):
            self._visit_all(node.orelse)
        else:
            self._visit_all([node.test, *node.body, *node.orelse])

    def visit_Try(self, node: ast.Try) -> None:
        before = self.guarded
        self.guarded = before or any(_catches(handler) for handler in node.handlers)
        self._visit_all(node.body)
        self.guarded = before
        # A handler runs only if something was missing.
        self.guarded = True
        self._visit_all(node.handlers)
        self.guarded = before
        self._visit_all([*node.orelse, *node.finalbody])

    def visit_TryStar(self, node: Any) -> None:  # ``except*``, since Python 3.11
        self.visit_Try(node)

    def visit_Call(self, node: ast.Call) -> None:
        function = node.func
        name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
        first = node.args[0] if node.args else None
        if name in ("import_module", "__import__") and isinstance(first, ast.Constant):
            target = str(first.value)
            level = len(target) - len(target.lstrip("."))
            absolute = self._absolute(level, target.lstrip("."))
            if absolute:
                self._add(absolute)
        self.generic_visit(node)

    def _visit_all(self, nodes: Iterable[ast.AST]) -> None:
        for node in nodes:
            self.visit(node)

    def _absolute(self, level: int, name: str) -> str | None:
        if not level:
            return name
        parts = self.package.split(".") if self.package else []
        if level - 1 >= max(len(parts), 1):
            return None
        kept = parts[: len(parts) - (level - 1)]
        return ".".join([*kept, *([name] if name else [])])

    def _add(self, name: str) -> None:
        if all(part.isidentifier() for part in name.split(".")):
            self.found.append((name, self.guarded))


def _is_never(test: ast.expr) -> bool:
    """Return whether a condition is always false at run time."""
    if isinstance(test, ast.Compare) and isinstance(test.left, ast.Name) and test.left.id == "__name__":
        return any(isinstance(one, ast.Constant) and one.value == "__main__" for one in test.comparators)
    name = test.attr if isinstance(test, ast.Attribute) else getattr(test, "id", "")
    return name == "TYPE_CHECKING" or (isinstance(test, ast.Constant) and not test.value)


def _catches(handler: ast.ExceptHandler) -> bool:
    kinds = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
    names = [one.attr if isinstance(one, ast.Attribute) else getattr(one, "id", None) for one in kinds]
    return handler.type is None or any(name in _CATCHERS for name in names)


def parents(name: str) -> Iterator[str]:
    """Yield *name* and its parent packages, innermost first."""
    while name:
        yield name
        name = name.rpartition(".")[0]


def scan(
    sources: dict[str, tuple[bool, str]], roots: Sequence[str] | None
) -> dict[str, list[tuple[str, bool]]]:
    """Return what each of *sources* imports; with *roots*, only of those that these import unconditionally.

    A source is whether it is a package, and its bytes read as Latin-1.
    """
    if roots is None:
        return {name: _imports(name, source) for name, source in sources.items()}
    found: dict[str, list[tuple[str, bool]]] = {}
    waiting = [parent for root in roots for parent in parents(root)]
    while waiting:
        name = waiting.pop()
        if name in found or name not in sources:
            continue
        found[name] = _imports(name, sources[name])
        waiting += [parent for target, guarded in found[name] if not guarded for parent in parents(target)]
    return found


def _imports(name: str, source: tuple[bool, str]) -> list[tuple[str, bool]]:
    return imports_of(name, source[0], source[1].encode("latin-1"))


def main() -> None:
    """Do the job on stdin."""
    job: dict[str, Any] = json.load(sys.stdin)
    json.dump(scan(job["sources"], job["roots"]), sys.stdout)


if __name__ == "__main__":
    main()
