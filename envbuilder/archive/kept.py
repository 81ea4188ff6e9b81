"""Files that match the default exclusion rules but are kept, because other modules need them at import time.

Some packages import their own tests (astropy, PyTables). The decision is a pure function of the artifact's content,
the rules, and the names that other artifacts import from it, which are all part of the segment's key.
"""

from __future__ import annotations

import functools
import json
import re
import subprocess
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from envbuilder.archive import imports
from envbuilder.archive.exclude import PackRules
from envbuilder.errors import AssembleError

Read = Callable[[], bytes]
_EXTENSION: Final = re.compile(r"(?P<stem>\w+)(\.[\w-]+)?\.so")
_STATEMENT: Final = re.compile(
    rb"(?:^|[;:])[ \t]*(?:from|import)\b(?:\\\r?\n|\([^)]*\)|[^\n(;])*|(?:import_module|__import__)\([^)]*\)",
    re.MULTILINE,
)


@dataclass(frozen=True, slots=True)
class Module:
    """A file that can be imported."""

    name: str
    package: bool
    stdlib: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Kept:
    """The files one artifact keeps."""

    paths: Mapping[str, str] = field(default_factory=dict)
    """Each excluded file to keep, and a module that imports it."""
    wants: Mapping[str, str] = field(default_factory=dict)
    """Possibly excluded modules of *other* artifacts: a dotted name, and a module that imports it."""
    stdlib: Mapping[str, str] = field(default_factory=dict)
    """The same for the standard library, if importing a package fails without it."""


def module_of(path: str, minor: str) -> Module | None:
    """Return the module of the file *path* in an environment; None if it cannot be imported."""
    library = f"lib/python{minor}/"
    if not path.startswith(library):
        return None
    inner = path[len(library) :]
    stdlib = not inner.startswith("site-packages/")
    inner = inner.removeprefix("site-packages/").removeprefix("lib-dynload/")
    folder, _, name = inner.rpartition("/")
    if name.endswith(".py"):
        stem = name[:-3]
    else:
        match = _EXTENSION.fullmatch(name)
        if match is None:
            return None
        stem = match["stem"]
    package = stem == "__init__"
    parts = [*filter(None, folder.split("/")), *([] if package else [stem])]
    if not parts or not all(part.isidentifier() for part in parts):
        return None
    return Module(".".join(parts), package, stdlib)


def find_kept(
    there: Mapping[str, Read],
    left_out: Mapping[str, Read],
    *,
    rules: PackRules,
    minor: str,
    python: Callable[[], Path],
    wanted: Mapping[str, str] | None = None,
) -> Kept:
    """Return which of the files *left_out* by default rules are kept because modules among *there* import them.

    *wanted* are names that other artifacts import, each with one importer. Sources are parsed by *python*, the
    release's own.

    Raises:
        AssembleError: *python* does not run.
    """
    words = _words(rules.yielding)
    if words is None:
        return Kept()
    finder = _Finder(there, left_out, rules, minor, python)
    modules = {path: module for path in there if path.endswith(".py") and (module := module_of(path, minor))}
    sources = {
        module.name: (module.package, source)
        for path, module in modules.items()
        if _may_import(source := there[path](), words)
    }
    finder.follow(finder.scan(sources))
    if finder.doubtful:  # read everything again; rare
        every = {module.name: (module.package, there[path]()) for path, module in modules.items()}
        base = any(module.stdlib for module in modules.values())
        reached = every if base else finder.scan(every, roots=_roots(every))
        finder.settle(reached)
    for name, importer in (wanted or {}).items():
        finder.need(name, importer, guarded=False)
    finder.close()
    return Kept(paths=finder.paths, wants=finder.wants, stdlib=finder.stdlib)


class _Finder:
    def __init__(
        self,
        there: Iterable[str],
        left_out: Mapping[str, Read],
        rules: PackRules,
        minor: str,
        python: Callable[[], Path],
    ) -> None:
        modules = filter(None, (module_of(path, minor) for path in there))
        self._there = {part for module in modules for part in imports.parents(module.name)}
        self._left_out = left_out
        self._rules = rules
        self._minor = minor
        self._python = python
        self._index: dict[str, list[tuple[str, Module]]] = {}
        for path in sorted(left_out):
            module = module_of(path, minor)
            if module is not None:
                self._index.setdefault(module.name, []).append((path, module))
        self.paths: dict[str, str] = {}
        self.wants: dict[str, str] = {}
        self.stdlib: dict[str, str] = {}
        self.doubtful: list[tuple[str, str]] = []
        """Excluded modules of the standard library, each with a module that fails without it."""
        self._waiting: dict[str, tuple[str, Module]] = {}

    def scan(
        self, sources: Mapping[str, tuple[bool, bytes]], roots: Iterable[str] | None = None
    ) -> dict[str, list[tuple[str, bool]]]:
        if not sources:
            return {}
        return _scanned(self._python(), sources, None if roots is None else sorted(roots))

    def follow(self, found: Mapping[str, Iterable[tuple[str, bool]]]) -> None:
        for importer in sorted(found):
            for name, guarded in found[importer]:
                self.need(name, importer, guarded=guarded)

    def need(self, name: str, importer: str, *, guarded: bool) -> None:
        """Keep the module *name* and its parent packages, if a rule excludes them."""
        for part in imports.parents(name):
            for path, module in self._index.get(part, ()):
                if not module.stdlib:
                    self._keep(path, module, importer)
                elif not guarded:
                    self.doubtful.append((part, importer))
            if part not in self._index and part not in self._there:
                place = self._elsewhere(part)
                if place == "site":
                    self.wants.setdefault(part, importer)
                elif place == "stdlib" and not guarded:
                    self.doubtful.append((part, importer))

    def settle(self, reached: Iterable[str]) -> None:
        """Record the standard-library modules imported by what is *reached* when packages are imported."""
        doubtful, self.doubtful, known = self.doubtful, [], set(reached)
        for name, importer in doubtful:
            if importer in known:
                self._need_stdlib(name, importer)

    def close(self) -> None:
        """Follow the imports of kept modules until nothing is new."""
        while self._waiting or self.doubtful:
            for name, importer in self.doubtful:
                self._need_stdlib(name, importer)
            self.doubtful = []
            waiting, self._waiting = self._waiting, {}
            self.follow(
                self.scan(
                    {
                        module.name: (module.package, self._left_out[path]())
                        for path, (_, module) in waiting.items()
                        if path.endswith(".py")
                    }
                )
            )

    def _need_stdlib(self, name: str, importer: str) -> None:
        if name not in self._index:
            self.stdlib.setdefault(name, importer)
        for path, module in self._index.get(name, ()):
            self._keep(path, module, importer)

    def _keep(self, path: str, module: Module, importer: str) -> None:
        if path not in self.paths:
            self.paths[path] = importer
            self._waiting[path] = (importer, module)

    def _elsewhere(self, name: str) -> str | None:
        """Return the path at which the module *name* would be excluded from an environment, if it would."""
        library, path = f"lib/python{self._minor}", name.replace(".", "/")
        for place, folder in (("site", f"{library}/site-packages"), ("stdlib", library)):
            if self._rules.yields(f"{folder}/{path}.py") or self._rules.yields(
                f"{folder}/{path}/__init__.py"
            ):
                return place
        return "stdlib" if self._rules.yields(f"{library}/lib-dynload/{path}.so") else None


def _roots(modules: Iterable[str]) -> set[str]:
    """Return the top-level ones of *modules*, which users import."""
    names = set(modules)
    return {name for name in names if not any(part in names for part in list(imports.parents(name))[1:])}


def _may_import(source: bytes, words: re.Pattern[bytes]) -> bool:
    """Return whether *source* may import an excluded module. Parsing every file of an artifact would take seconds."""
    return any(words.search(statement) for statement in _STATEMENT.findall(source))


@functools.lru_cache(maxsize=16)
def _words(patterns: tuple[str, ...]) -> re.Pattern[bytes] | None:
    """Return a regular expression for a name that every import of a module excluded by *patterns* contains.

    An importer lies outside the excluded folder, so it names the last folder or file of the pattern.
    """
    words = {word for pattern in patterns if (word := _word(pattern)) is not None}
    return re.compile(rb"\b(?:%s)\b" % b"|".join(sorted(words))) if words else None


def _word(pattern: str) -> bytes | None:
    last = [part for part in pattern.split("/") if part != "**"][-1:]
    stem, _, suffix = "".join(last).partition(".")
    if pattern.endswith("/**"):
        stem, suffix = "".join(last), ""
    if suffix not in ("", "py", "so", "*") or stem == "__pycache__":
        return None
    if not re.fullmatch(r"[\w*?]+", stem):
        return None
    wild = stem.replace("*", r"\w*").replace("?", r"\w")
    return (r"\w+" if stem == "__init__" else wild).encode()


def _scanned(
    python: Path, sources: Mapping[str, tuple[bool, bytes]], roots: list[str] | None
) -> dict[str, list[tuple[str, bool]]]:
    job = {
        "sources": {name: (package, text.decode("latin-1")) for name, (package, text) in sources.items()},
        "roots": roots,
    }
    command = [str(python), "-I", "-S", "-B", "-W", "ignore", imports.__file__]
    done = subprocess.run(command, input=json.dumps(job).encode(), capture_output=True, check=False, env={})
    if done.returncode < 0:  # the parser crashed: parse each alone; the one that crashes it imports nothing
        parts = [] if len(sources) == 1 else [{name: source} for name, source in sources.items()]
        return {name: found for part in parts for name, found in _scanned(python, part, None).items()}
    if done.returncode != 0:
        last = done.stderr.decode(errors="replace").strip().splitlines()[-1:]
        raise AssembleError(f"{python} cannot read the imports of a package: {''.join(last)}")
    answer: dict[str, list[tuple[str, bool]]] = json.loads(done.stdout)
    return answer
