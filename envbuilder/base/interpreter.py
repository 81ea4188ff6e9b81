"""Interpreters of this machine: discovered as virtualenv does, identified by their files."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from uv import find_uv_bin

from envbuilder.base.interpreter_files import Interpreter, interpreter_files, read_digest, read_libraries
from envbuilder.base.library_origins import LibraryOrigin, find_origins
from envbuilder.errors import AssembleError
from envbuilder.lockfile.model import LockedInterpreter
from envbuilder.progress import SILENT, Reporter
from envbuilder.store.local import Store
from envbuilder.util.documents import LISTING, DocumentError, parse_json
from envbuilder.util.process import CommandError, run

__all__ = [
    "Interpreter",
    "candidates",
    "describe",
    "find_interpreter",
    "find_interpreters",
    "interpreter_digest",
    "interrogate",
    "linked_libraries",
    "look_once",
    "recall",
    "recall_origins",
    "remember",
]

_LOADER_CACHE = Path("/etc/ld.so.cache")
_STANDARD_PLACES = ("", "/usr", "/usr/local", "/install")
"""Prefixes that are the same on every machine (``/install``: uv's builds)."""

_QUESTIONS = """
import json, sys, sysconfig
v = sysconfig.get_config_vars()
b = __import__(sysconfig._get_sysconfigdata_name()).build_time_vars  # as compiled, wherever it lies now
print(json.dumps({
    "version": "%d.%d.%d" % sys.version_info[:3],
    "implementation": sys.implementation.name,
    "machine": sysconfig.get_platform(),
    "prefix": sys.base_prefix,
    "executable": getattr(sys, "_base_executable", sys.executable),
    "stdlib": sysconfig.get_path("stdlib"),
    "include": sysconfig.get_path("include"),
    "libdir": v.get("LIBDIR") or "",
    "libpython": v.get("INSTSONAME") or "",
    "built_at": [str(b.get(k) or "") for k in ("prefix", "exec_prefix", "abs_srcdir", "abs_builddir", "srcdir")],
}))
"""


def find_interpreters(minor: str) -> tuple[list[Interpreter], list[str]]:
    """Find every CPython *minor* on this machine that can be the base of an environment.

    Looks where virtualenv looks (``PATH``, pyenv's shims, uv's folder), and beside the Python that runs this
    program and the installations of pyenv and uv.

    Returns: the usable ones, newest first, and one line per unusable one that says why.
    """
    found: dict[Path, Interpreter] = {}
    refused: dict[str, str] = {}
    for executable in candidates(minor):
        real = executable.resolve()
        try:
            interpreter = interrogate(real)
        except (AssembleError, CommandError) as error:
            refused[str(real)] = f"{real}: {error.message.splitlines()[0]}"
            continue
        if interpreter.minor == minor:
            found.setdefault(interpreter.prefix.resolve(), interpreter)
    ordered = sorted(
        found.values(), key=lambda i: tuple(int(part) for part in i.version.split(".")), reverse=True
    )
    return ordered, sorted(refused.values())


def find_interpreter(
    minor: str,
    *,
    locked: LockedInterpreter | None = None,
    store: Store | None = None,
    reporter: Reporter = SILENT,
) -> Interpreter:
    """Return the interpreter for *minor*: the *locked* one if it is here, else the newest.

    If there is none, ``uv python install`` installs one. What *store* remembers of the locked one, whose
    files have not been touched since, is not found out again.

    Raises:
        AssembleError: none was found or could be installed; the message lists what was found.
    """
    known = recall(minor, locked, store) if locked is not None and store is not None else None
    if known is not None:
        return known
    found, refused = find_interpreters(minor)
    if not found:
        reporter.step(f"Installing CPython {minor} (uv python install)")
        try:
            run([find_uv_bin(), "python", "install", minor, "--no-bin"], env=os.environ, timeout=600)
        except CommandError as error:
            looked = "".join(f"\n  {line}" for line in refused)
            raise AssembleError(
                f"no CPython {minor} with a shared libpython on this machine{looked}\n"
                f"and uv could not install one: {error.message.splitlines()[-1].strip()}",
                hint=f"for instance: PYTHON_CONFIGURE_OPTS=--enable-shared pyenv install {minor}",
            ) from error
        interrogate.cache_clear()
        found, refused = find_interpreters(minor)
    if not found:
        raise AssembleError(
            f"no CPython {minor} with a shared libpython on this machine:\n  " + "\n  ".join(refused),
            hint="Triton's stub links libpython: build CPython with --enable-shared",
        )
    if locked is not None:
        same_version = [one for one in found if one.version == locked.version]
        for one in same_version:
            if describe(one).digest == locked.digest:
                if store is not None:
                    remember(one, store)
                return one
        if same_version:
            return same_version[0]
    return found[0]


def describe(interpreter: Interpreter) -> LockedInterpreter:
    """Return the lock's entry for an interpreter."""
    return LockedInterpreter(
        version=interpreter.version, origin=interpreter.origin, digest=interpreter_digest(interpreter)
    )


def remember(interpreter: Interpreter, store: Store) -> None:
    """Cache the facts about an interpreter in *store*: querying it and the loader takes a second."""
    known = {
        "fingerprint": _fingerprint(interpreter, linked_libraries(interpreter)),
        "interpreter": {name: _plain(getattr(interpreter, name)) for name in _FIELDS},
        "digest": interpreter_digest(interpreter),
        "libraries": {name: [str(p) for p in found] for name, found in linked_libraries(interpreter).items()},
        "origins": {
            name: asdict(one) for name, one in find_origins(_all_of(linked_libraries(interpreter))).items()
        },
    }
    with contextlib.suppress(OSError):  # a full disk: the next build asks again
        store.write_entry("interpreters", interpreter_digest(interpreter), json.dumps(known).encode())


def recall(minor: str, locked: LockedInterpreter, store: Store) -> Interpreter | None:
    """Return the *locked* interpreter from the cache in *store*, if its files are unchanged."""
    record = store.find("interpreters", locked.digest)
    if record is None:
        return None
    try:
        known = parse_json(record.read_bytes(), where=str(record), cap=LISTING).value
        interpreter = Interpreter(**{name: _typed(name, known["interpreter"][name]) for name in _FIELDS})
        libraries = {name: tuple(map(Path, found)) for name, found in known["libraries"].items()}
        same = "origins" in known and known["fingerprint"] == _fingerprint(interpreter, libraries)
    except (OSError, DocumentError, ValueError, KeyError, TypeError, AttributeError, AssembleError):
        return None  # nothing that is sure: find it again
    if not same or interpreter.minor != minor:
        return None
    _recalled[interpreter] = (locked.digest, libraries)
    return interpreter


def recall_origins(digest: str, store: Store) -> dict[str, LibraryOrigin]:
    """Return where the libraries of the interpreter with this *digest* came from, as far as *store* remembers."""
    record = store.find("interpreters", digest)
    try:
        if record is None:
            return {}
        known = parse_json(record.read_bytes(), where=str(record), cap=LISTING).value["origins"]
        return {name: LibraryOrigin(**one) for name, one in known.items()}
    except (OSError, DocumentError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def _all_of(libraries: Mapping[str, tuple[Path, ...]]) -> set[Path]:
    return {path for found in libraries.values() for path in found}


_FIELDS: Final = (
    "version",
    "prefix",
    "executable",
    "stdlib",
    "include",
    "libpython",
    "built_at",
    "prefixes",
    "origin",
)
_recalled: dict[Interpreter, tuple[str, Mapping[str, tuple[Path, ...]]]] = {}


def _plain(value: Path | str | tuple[str, ...]) -> str | list[str]:
    return list(value) if isinstance(value, tuple) else str(value)


def _typed(name: str, value: str | list[str]) -> Any:
    if isinstance(value, list):
        return tuple(value)
    return value if name in ("version", "origin") else Path(value)


def look_once() -> None:
    """Look at the files of an interpreter once: for a process that does tasks of one run, and ends with it."""
    _looks[""] = ""


_looks: Final[dict[str, str]] = {}
"""What was found of each interpreter; empty where each look counts."""


def _fingerprint(interpreter: Interpreter, libraries: Mapping[str, tuple[Path, ...]]) -> str:
    """Return a digest of the times and sizes of an interpreter's files."""
    key = repr((interpreter, sorted(libraries.items())))
    found = _looks.get(key) or _times_and_sizes(interpreter, libraries)
    if _looks:
        _looks[key] = found
    return found


def _times_and_sizes(interpreter: Interpreter, libraries: Mapping[str, tuple[Path, ...]]) -> str:
    paths = {file.source for file in interpreter_files(interpreter) if file.source is not None}
    paths |= _all_of(libraries)
    digest = hashlib.sha256()
    for path in sorted(map(str, paths)):
        status = os.stat(path)
        facts = f" {status.st_size} {status.st_mtime_ns} {status.st_ctime_ns}\n"
        digest.update(os.fsencode(path) + facts.encode())
    if _LOADER_CACHE.exists():
        digest.update(str(_LOADER_CACHE.stat().st_mtime_ns).encode())
    return digest.hexdigest()


def interpreter_digest(interpreter: Interpreter) -> str:
    """Return the sha256 over an interpreter's files, including the host's libraries.

    It does not depend on the location: a copy in another folder has the same digest.
    """
    recalled = _recalled.get(interpreter)
    return recalled[0] if recalled is not None else read_digest(interpreter)


@functools.lru_cache(maxsize=64)
def interrogate(executable: Path) -> Interpreter:
    """Query a Python executable.

    Raises:
        AssembleError: it is not a CPython for x86-64 Linux, or has no shared libpython; the message says which.
        CommandError: it does not run.
    """
    answer = run([str(executable), "-I", "-c", _QUESTIONS], env={"PATH": os.defpath}, timeout=60)
    facts = json.loads(answer.stdout)
    if facts["implementation"] != "cpython" or "x86_64" not in facts["machine"]:
        raise AssembleError(f"{facts['implementation']} for {facts['machine']}, not CPython for x86-64 Linux")
    prefix = Path(facts["prefix"])
    if prefix == Path("/usr"):
        # Debian and others move site-packages and split the standard library: no base for an environment.
        raise AssembleError("the distribution's own Python, whose library is spread across /usr")
    minor = ".".join(facts["version"].split(".")[:2])
    soname = f"libpython{minor}.so.1.0"
    places = [prefix / "lib" / soname, Path(facts["libdir"]) / soname]
    libpython = next((place for place in places if place.is_file()), None)
    if libpython is None:
        raise AssembleError(f"CPython {facts['version']} without a shared libpython ({soname})")
    return Interpreter(
        version=facts["version"],
        prefix=prefix,
        executable=Path(facts["executable"]).resolve(),
        stdlib=Path(facts["stdlib"]),
        include=Path(facts["include"]),
        libpython=libpython,
        prefixes=tuple(sorted({path for path in facts["built_at"][:2] if path.startswith("/")})),
        built_at=_build_places(facts["built_at"]),
        origin=_origin(prefix),
    )


def linked_libraries(interpreter: Interpreter) -> Mapping[str, tuple[Path, ...]]:
    """Return the host's shared libraries that each program and extension module is linked to.

    Returns: path in the environment → the libraries, direct and indirect, as the loader finds them; glibc, the
        compiler's runtime and libpython itself left out.

    Raises:
        AssembleError: a library of the interpreter's own programs is missing on this machine.
    """
    recalled = _recalled.get(interpreter)
    return recalled[1] if recalled is not None else read_libraries(interpreter)


def _build_places(paths: list[str]) -> tuple[str, ...]:
    """Keep the paths of the build machine: no standard paths, no path inside another."""
    places: list[str] = []
    for path in sorted({path.rstrip("/") for path in paths if path.startswith("/")}):
        if path not in _STANDARD_PLACES and not any(path.startswith(f"{outer}/") for outer in places):
            places.append(path)
    return tuple(places)


def _origin(prefix: Path) -> str:
    build = prefix.resolve()
    if build.name.startswith("cpython-") and (build.parent / ".gitignore").exists():
        return f"uv:{build.name}"  # uv keeps its interpreters in folders named by their build
    return "host"


def candidates(minor: str) -> Iterator[Path]:
    """Yield the programs on this machine that may be a CPython *minor*."""
    from python_discovery import iter_interpreters  # not where the locked one is recalled

    seen: set[Path] = set()
    for info in iter_interpreters(minor, try_first_with=[str(path) for path in _installations(minor)]):
        path = Path(info.system_executable or info.executable or "")
        if path not in seen and path.is_file():
            seen.add(path)
            yield path
    for path in _installations(minor):
        if path not in seen:
            seen.add(path)
            yield path


def _installations(minor: str) -> list[Path]:
    """List the Python installations beside our own, and those of pyenv and uv."""
    roots = [Path(sys.base_prefix).resolve().parent]
    if "PYENV_ROOT" in os.environ:
        roots.append(Path(os.environ["PYENV_ROOT"]) / "versions")
    if "HOME" in os.environ:
        roots.append(Path(os.environ["HOME"]) / ".pyenv" / "versions")
    return sorted({path for root in roots for path in root.glob(f"*/bin/python{minor}")})
