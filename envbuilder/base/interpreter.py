"""Interpreters of this machine: found as virtualenv finds them, described by the files that make them up."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from python_discovery import iter_interpreters
from uv import find_uv_bin

from envbuilder.base.interpreter_files import Interpreter, interpreter_files, read_digest, read_libraries
from envbuilder.errors import AssembleError
from envbuilder.lockfile.model import LockedInterpreter
from envbuilder.progress import SILENT, Reporter
from envbuilder.store.local import Store
from envbuilder.util.process import CommandError, run

__all__ = [
    "Interpreter",
    "describe",
    "find_interpreter",
    "find_interpreters",
    "interpreter_digest",
    "interrogate",
    "linked_libraries",
    "recall",
    "remember",
]

_LOADER_CACHE = Path("/etc/ld.so.cache")
_STANDARD_PLACES = ("", "/usr", "/usr/local", "/install")
"""Prefixes that say nothing of a machine (``/install``: uv's builds)."""

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
    """Find every CPython *minor* on this machine that an environment can be made of.

    Looks where virtualenv looks (``PATH``, pyenv's shims, uv's folder), and beside the Python that runs this
    program and the installations of pyenv and uv.

    Returns: the usable ones, newest first, and for each other one a line that says why it is not.
    """
    found: dict[Path, Interpreter] = {}
    refused: dict[str, str] = {}
    for executable in _candidates(minor):
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

    Where there is none, one is installed by ``uv python install``. What *store* remembers of the locked one, whose
    files have not been touched since, is not found out again.

    Raises:
        AssembleError: there is none, and none could be installed; the message says what was looked at.
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
    """Return what a lock says of an interpreter."""
    return LockedInterpreter(
        version=interpreter.version, origin=interpreter.origin, digest=interpreter_digest(interpreter)
    )


def remember(interpreter: Interpreter, store: Store) -> None:
    """Note in *store* what was found out of an interpreter: asking it and its loader takes a second."""
    known = {
        "fingerprint": _fingerprint(interpreter, linked_libraries(interpreter)),
        "interpreter": {name: _plain(getattr(interpreter, name)) for name in _FIELDS},
        "digest": interpreter_digest(interpreter),
        "libraries": {name: [str(p) for p in found] for name, found in linked_libraries(interpreter).items()},
    }
    with contextlib.suppress(OSError):  # a full disk: the next build asks again
        store.write_entry("interpreters", interpreter_digest(interpreter), json.dumps(known).encode())


def recall(minor: str, locked: LockedInterpreter, store: Store) -> Interpreter | None:
    """Return the *locked* interpreter as *store* remembers it, if each of its files is as it was."""
    record = store.find("interpreters", locked.digest)
    if record is None:
        return None
    try:
        known = json.loads(record.read_bytes())
        interpreter = Interpreter(**{name: _typed(name, known["interpreter"][name]) for name in _FIELDS})
        libraries = {name: tuple(map(Path, found)) for name, found in known["libraries"].items()}
        same = known["fingerprint"] == _fingerprint(interpreter, libraries)
    except (OSError, ValueError, KeyError, TypeError, AssembleError):
        return None  # nothing that is sure: find it again
    if not same or interpreter.minor != minor:
        return None
    _recalled[interpreter] = (locked.digest, libraries)
    return interpreter


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


def _fingerprint(interpreter: Interpreter, libraries: Mapping[str, tuple[Path, ...]]) -> str:
    """Return a digest of when and how large each file is that an interpreter is made of, or found by."""
    paths = {file.source for file in interpreter_files(interpreter) if file.source is not None}
    paths.update(path for found in libraries.values() for path in found)
    digest = hashlib.sha256()
    for path in sorted(paths):
        status = path.stat()
        digest.update(f"{path} {status.st_size} {status.st_mtime_ns} {status.st_ctime_ns}\n".encode())
    if _LOADER_CACHE.exists():
        digest.update(str(_LOADER_CACHE.stat().st_mtime_ns).encode())
    return digest.hexdigest()


def interpreter_digest(interpreter: Interpreter) -> str:
    """Return the sha256 over the files that make an interpreter up, the host's libraries among them.

    Where the interpreter lies does not count: a copy in another folder has the same digest.
    """
    recalled = _recalled.get(interpreter)
    return recalled[0] if recalled is not None else read_digest(interpreter)


@functools.lru_cache(maxsize=64)
def interrogate(executable: Path) -> Interpreter:
    """Ask a Python what it is.

    Raises:
        AssembleError: it is no CPython for x86-64 Linux, or has no shared libpython; the message says which.
        CommandError: it does not run.
    """
    answer = run([str(executable), "-I", "-c", _QUESTIONS], env={"PATH": os.defpath}, timeout=60)
    facts = json.loads(answer.stdout)
    if facts["implementation"] != "cpython" or "x86_64" not in facts["machine"]:
        raise AssembleError(f"{facts['implementation']} for {facts['machine']}, not CPython for x86-64 Linux")
    prefix = Path(facts["prefix"])
    if prefix == Path("/usr"):
        # Debian and others move site-packages and split the standard library: no base for an environment.
        raise AssembleError("the distribution's own Python, whose library is spread over /usr")
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
    """Say for each program and extension module which shared libraries of the host it is linked to.

    Returns: path in the environment → the libraries, direct and indirect, as the loader finds them; glibc, the
        compiler's runtime and libpython itself left out.

    Raises:
        AssembleError: a library of the interpreter's own programs is missing on this machine.
    """
    recalled = _recalled.get(interpreter)
    return recalled[1] if recalled is not None else read_libraries(interpreter)


def _build_places(paths: list[str]) -> tuple[str, ...]:
    """Keep what names the build machine: not the standard places, nor what lies inside another place."""
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


def _candidates(minor: str) -> Iterator[Path]:
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
    """List the pythons beside our own, and in the folders of pyenv."""
    roots = [Path(sys.base_prefix).resolve().parent]
    if "PYENV_ROOT" in os.environ:
        roots.append(Path(os.environ["PYENV_ROOT"]) / "versions")
    if "HOME" in os.environ:
        roots.append(Path(os.environ["HOME"]) / ".pyenv" / "versions")
    return sorted({path for root in roots for path in root.glob(f"*/bin/python{minor}")})
