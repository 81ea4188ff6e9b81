"""Find paths of the build machine in an environment: on other machines they are broken, or leak information."""

from __future__ import annotations

import itertools
import os
import posixpath
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from envbuilder.archive.extract import Contents
from envbuilder.archive.links import Tree
from envbuilder.util.documents import DocumentError, parse_json

_LARGEST: Final = 32 * 2**20
"""Largest file that is read, in bytes: larger ones are libraries copied unchanged from a wheel."""
_MOST: Final = 1000
"""BuildPaths of one kind in one file; one is enough, and a hostile file has millions."""
_LONGEST: Final = 1000
"""Longest path in a message, in characters."""
_SYSTEM_PROGRAMS: Final = ("/bin/", "/usr/bin/")
_SYSCONFIG: Final = re.compile(
    r"'(prefix|exec_prefix|LIBDIR|BINDIR|LIBDEST|INCLUDEPY|INCLUDEDIR)':\s*'(/[^']*)'"
)
_PYC: Final = re.compile(
    r"lib/python3\.\d+/(site-packages/)?(?P<folder>.*/)?__pycache__/(?P<name>[^/]+)\.cpython-\d+(\.opt-[12])?\.pyc"
)


@dataclass(kw_only=True, slots=True)
class BuildPaths:
    """Paths of the build machine that were found: each entry names a file of the environment and what it contains."""

    shebangs: list[str] = field(default_factory=list)
    records: list[str] = field(default_factory=list)
    sysconfig: list[str] = field(default_factory=list)
    bytecode: list[str] = field(default_factory=list)
    files: list[str] = field(default_factory=list)
    """Files that contain a folder of this machine."""


def find_build_paths(environment: Path, contents: Contents, places: Sequence[Path]) -> BuildPaths:
    """Read every file of *environment* up to 32 MiB; *places* are folders of this machine to look for."""
    build_paths = BuildPaths()
    needles = [(str(place), os.fsencode(place)) for place in places if len(place.parts) > 2]
    for path, member in contents.members.items():
        if member.link is not None or not 0 < member.size <= _LARGEST:
            continue
        data = (environment / path).read_bytes()
        build_paths.files += [f"{path} ({place})" for place, needle in needles if needle in data]
        _look(path, data, contents.tree, build_paths)
    return build_paths


def _look(path: str, data: bytes, tree: Tree, build_paths: BuildPaths) -> None:
    name = posixpath.basename(path)
    if path.startswith("bin/") and data.startswith(b"#!"):
        program = data[2:].split(b"\n", 1)[0].decode(errors="replace").strip()
        if not program.startswith(_SYSTEM_PROGRAMS):
            build_paths.shebangs.append(f"{path} (#!{program[:_LONGEST]})")
    elif name.endswith(".pyc"):
        build_paths.bytecode += [f"{path} ({found})" for found in compiled_from(path, data)]
    elif name == "RECORD" and ".dist-info/" in path:
        entries = itertools.islice(_outside_entries(path, data.decode(errors="replace"), tree), _MOST)
        build_paths.records += [f"{path} ({entry[:_LONGEST]})" for entry in entries]
    elif name == "direct_url.json" and ".dist-info/" in path:
        url = _url(data)
        if url is not None and url.startswith("file:"):
            build_paths.records.append(f"{path} ({url})")
    elif name.startswith("_sysconfigdata") and name.endswith(".py"):
        for found in itertools.islice(_SYSCONFIG.finditer(data.decode(errors="replace")), _MOST):
            build_paths.sysconfig.append(f"{path} ({found[1]} = {found[2][:_LONGEST]})")


def compiled_from(path: str, data: bytes) -> Iterable[str]:
    """Return the absolute path of its source in the bytecode file *path*, if any.

    It reads any Python's bytecode without that Python: a marshal string is a type, a length, and its bytes.
    """
    match = _PYC.fullmatch(path)
    if match is None:
        return []
    tail = f"/{match['folder'] or ''}{match['name']}.py".encode()
    position = data.find(tail)
    for _ in range(_MOST):
        if position < 0:
            break
        end = position + len(tail)
        for start in range(position, max(position - 255, 1), -1):
            if data[start - 1] == end - start and data[start - 2] & 0x7F in b"zZ":
                if data[start : start + 1] == b"/":
                    return [data[start:end].decode(errors="replace")]
                break
        position = data.find(tail, end)
    return []


def _outside_entries(path: str, text: str, tree: Tree) -> Iterator[str]:
    site_packages = posixpath.dirname(posixpath.dirname(path))
    for line in text.splitlines():
        entry = line.rpartition(",")[0].rpartition(",")[0].strip('"')
        if entry.startswith("/") or tree.resolve(entry, start=site_packages).escapes:
            yield entry


def _url(data: bytes) -> str | None:
    try:
        return parse_json(data, where="direct_url.json").text("url")
    except DocumentError:
        return None
