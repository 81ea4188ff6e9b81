"""The files of an interpreter, and the host's libraries that it is linked to."""

from __future__ import annotations

import functools
import hashlib
import os
import re
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from envbuilder.base.relocate import relocated_sysconfigdata
from envbuilder.errors import AssembleError
from envbuilder.util.files import file_sha256
from envbuilder.util.process import run

_GLIBC = re.compile(
    r"(ld-linux.*|linux-vdso|lib(c|m|pthread|dl|rt|util|resolv|anl|mvec|thread_db|BrokenLocale|nss_\w+))\.so(\.\d+)*"
)
"""Never included: glibc must match the loader."""
_COMPILER_RUNTIME = re.compile(r"lib(stdc\+\+|gcc_s)\.so\.\d+")
"""Never included: one older than the image's would break the stub, which searches ENV/lib first."""


@dataclass(frozen=True, kw_only=True, slots=True)
class InterpreterFile:
    """One file of an interpreter, with its path in an environment."""

    target: str
    """Path in the environment, ``lib/python3.11/os.py``."""
    source: Path | None
    """The file to copy; None for a symlink."""
    link: str | None = None
    """Target of a symbolic link, relative."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Interpreter:
    """A CPython with a shared libpython."""

    version: str
    prefix: Path
    executable: Path
    stdlib: Path
    include: Path
    libpython: Path
    built_at: tuple[str, ...]
    """Paths of its build machine: prefixes and source folders, none inside another."""
    prefixes: tuple[str, ...]
    """Prefixes that it was compiled for, from its ``_sysconfigdata``."""
    origin: str

    @property
    def minor(self) -> str:
        """``3.11``."""
        return ".".join(self.version.split(".")[:2])


def interpreter_files(interpreter: Interpreter) -> Iterator[InterpreterFile]:
    """Yield the files of an interpreter itself: no site-packages, no bytecode, no libraries of the host.

    Raises:
        AssembleError: something in it cannot be archived (a FIFO, a socket, a device, a link to a folder outside).
    """
    minor = interpreter.minor
    yield InterpreterFile(target=f"bin/python{minor}", source=interpreter.executable)
    yield InterpreterFile(target="bin/python3", source=None, link=f"python{minor}")
    yield InterpreterFile(target="bin/python", source=None, link=f"python{minor}")
    yield InterpreterFile(target=f"lib/libpython{minor}.so.1.0", source=interpreter.libpython)
    yield InterpreterFile(target=f"lib/libpython{minor}.so", source=None, link=f"libpython{minor}.so.1.0")
    stable = interpreter.libpython.parent / "libpython3.so"
    if stable.is_file():
        yield InterpreterFile(target="lib/libpython3.so", source=stable)
    yield from _walk(interpreter.stdlib, f"lib/python{minor}", interpreter.stdlib.resolve())
    if interpreter.include.is_dir():
        yield from _walk(interpreter.include, f"include/python{minor}", interpreter.include.resolve())


@functools.lru_cache(maxsize=16)
def read_libraries(interpreter: Interpreter) -> Mapping[str, tuple[Path, ...]]:
    """Ask the loader which of the host's libraries each program and extension module is linked to, by its path.

    glibc, the compiler's runtime and libpython itself are left out.
    """
    elf = {
        file.target: file.source
        for file in interpreter_files(interpreter)
        if file.source is not None and may_be_elf(file.target) and _is_elf(file.source)
    }
    by_source = {str(source): target for target, source in elf.items()}
    said = run(["ldd", *by_source], env={"PATH": os.defpath, "LC_ALL": "C"}, timeout=300, check=False).stdout
    found: dict[str, list[Path]] = {target: [] for target in elf}
    current = next(iter(by_source), "")
    for line in said.splitlines():
        if line.rstrip(":") in by_source:
            current = line.rstrip(":")
            continue
        match = re.match(r"\s+(\S+) => (\S+)", line)
        if match is None or not current:
            continue
        name, place = Path(match[1]).name, match[2]
        if _GLIBC.fullmatch(name) or _COMPILER_RUNTIME.fullmatch(name) or name.startswith("libpython3"):
            continue
        if place == "not":
            continue  # an extension that cannot load on this machine cannot load in the environment either
        found[by_source[current]].append(Path(place))
    return {target: tuple(libraries) for target, libraries in found.items()}


def _walk(folder: Path, target: str, inside: Path) -> Iterator[InterpreterFile]:
    for entry in sorted(os.scandir(folder), key=lambda entry: os.fsencode(entry.name)):
        if entry.name in ("__pycache__", "site-packages", "dist-packages") or entry.name.endswith(".pyc"):
            continue
        path, place = Path(entry.path), f"{target}/{entry.name}"
        if entry.is_symlink():
            yield _link(path, place, inside)
        elif entry.is_dir():
            yield from _walk(path, place, inside)
        elif entry.is_file():
            yield InterpreterFile(target=place, source=path)
        else:
            kind = stat.S_IFMT(entry.stat(follow_symlinks=False).st_mode)
            name = {stat.S_IFIFO: "a FIFO", stat.S_IFSOCK: "a socket"}.get(kind, "a device")
            raise AssembleError(
                f"{path} is {name}: it cannot be archived", hint="remove it from the interpreter's folder"
            )


def _link(path: Path, place: str, inside: Path) -> InterpreterFile:
    link = os.readlink(path)
    try:
        end = path.resolve(strict=True)
    except (OSError, RuntimeError):  # dangling, or a loop: harmless unless it names a place outside
        if os.path.isabs(link) or not Path(os.path.realpath(path.parent / link)).is_relative_to(inside):
            raise AssembleError(
                f"{path} is a symlink to {link}, which does not exist",
                hint="remove it from the interpreter's folder",
            ) from None
        return InterpreterFile(target=place, source=None, link=link)
    if not os.path.isabs(link) and end.is_relative_to(inside):
        return InterpreterFile(target=place, source=None, link=link)
    if end.is_file():
        return InterpreterFile(target=place, source=end)
    raise AssembleError(
        f"{path} is a symlink to the folder {end}, outside the interpreter",
        hint="remove it, or replace it by a copy of the folder",
    )


@functools.lru_cache(maxsize=16)
def read_digest(interpreter: Interpreter) -> str:
    """Return the sha256 over an interpreter's files, including the host's libraries."""
    digest = hashlib.sha256()
    libraries = {path.name: path for paths in read_libraries(interpreter).values() for path in paths}
    files = [*interpreter_files(interpreter)]
    files += [InterpreterFile(target=f"lib/{name}", source=path) for name, path in libraries.items()]
    for file in sorted(files, key=lambda file: os.fsencode(file.target)):
        if file.source is None:
            content = b"-> " + os.fsencode(file.link or "")
        else:
            content = content_digest(file.source, interpreter.prefixes)
        digest.update(os.fsencode(file.target) + b"\0" + content + b"\n")
    return digest.hexdigest()


def content_digest(source: Path, prefixes: tuple[str, ...]) -> bytes:
    """Return the digest of a file of an interpreter, but for the folders *prefixes* in it."""
    try:
        if not source.name.startswith("_sysconfigdata"):
            return file_sha256(source).encode()
        # uv writes the folder it installs into there: what counts is what an environment gets.
        text = relocated_sysconfigdata(source.read_text(), prefixes)
    except OSError as error:
        raise AssembleError(f"{source} cannot be read: {error.strerror}") from error
    return hashlib.sha256(text.encode()).hexdigest().encode()


def may_be_elf(target: str) -> bool:
    """Return whether a file of an interpreter may be a program or a library, by its path and name.

    Opening each of its thousands of other files takes longer than everything else.
    """
    return target.startswith("bin/") or ".so" in target.rpartition("/")[2]


def _is_elf(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(4) == b"\x7fELF"
