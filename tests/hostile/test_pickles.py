"""Weights that would run code, fill memory or lie when they are read, through the verb that only looks at them."""

from __future__ import annotations

import functools
import io
import json
import os
import pickle
import re
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.deployment.conftest import CONFIG, MODEL, write_archive
from tests.helpers.hostile import MEMORY, Room, accepted, refused

Write = Callable[[Path, Path], object]
"""Writes the file; the second path is the one that is there if anything of it is run."""


class Calls:
    """Calls a function with arguments while it is unpickled."""

    def __init__(self, function: Callable[..., Any], *arguments: object) -> None:
        self._reduced = function, arguments

    def __reduce__(self) -> Any:
        return self._reduced


def _system(marker: Path) -> bytes:
    return pickle.dumps({"w": Calls(os.system, f"touch '{marker}'")}, 2)


def _file(marker: Path) -> bytes:
    return pickle.dumps({"w": Calls(open, str(marker), "w")}, 2)


def _module(marker: Path) -> bytes:
    """Import a module that lies beside the weights, and so may be found, and that leaves the mark."""
    code = f"from pathlib import Path\nPath({str(marker)!r}).touch()\n"
    return pickle.dumps({"w": Calls(exec, code)}, 2) + b"cmark\nmark\n."


PICKLES: dict[str, Callable[[Path], bytes]] = {
    "os.system": _system,
    "a file written": _file,
    "a module imported": _module,
}


def zipped(data: bytes, more: dict[str, bytes] | None = None) -> bytes:
    """Return a file as torch.save writes it since 1.6."""
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w") as archive:
        for name, content in {"data.pkl": data, "version": b"3\n", **(more or {})}.items():
            archive.writestr(f"model/{name}", content)
    return written.getvalue()


def _bomb(path: Path, _: Path) -> None:
    path.write_bytes(_three_gigabytes())


@functools.cache
def _three_gigabytes() -> bytes:
    """Return three GB of zeros in three MB: one block of them, compressed once and written many times."""
    compress = zlib.compressobj(1, zlib.DEFLATED, -15)
    block = compress.compress(bytes(2**24)) + compress.flush(zlib.Z_FULL_FLUSH)
    data = bytearray(zipped(block * 192 + compress.flush()))
    for header, method, size in ((b"PK\3\4", 8, 22), (b"PK\1\2", 10, 24)):
        at = data.index(header)
        data[at + method : at + method + 2] = struct.pack("<H", zipfile.ZIP_DEFLATED)
        data[at + size : at + size + 4] = struct.pack("<I", 192 * 2**24)
    return bytes(data)


def _overlapping(path: Path, _: Path) -> None:
    """Twenty thousand members that are one and the same 1 MB."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("model/data.pkl", bytes(10**6))
        for number in range(20_000):
            again = zipfile.ZipInfo(f"model/data/{number}")
            first = archive.infolist()[0]
            again.file_size = again.compress_size = first.file_size
            again.CRC, again.header_offset = first.CRC, first.header_offset
            archive.filelist.append(again)


def _directory(path: Path, _: Path) -> None:
    """A zip whose directory is said to have 40 MB, and has them: zeros that take no disk."""
    size = 4 * 10**7
    end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 1, 1, size, 4, 0)
    with path.open("wb") as file:
        file.write(b"PK\3\4")
        file.seek(4 + size)
        file.write(end)


def _tensors(header: object, length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + bytes(8)


def _entry(begin: int, end: int, shape: list[int]) -> dict[str, object]:
    return {"dtype": "F32", "shape": shape, "data_offsets": [begin, end]}


LIES = {
    "a header of 2^63 bytes": _tensors({}, 2**63),
    "a header of 10 TB": _tensors({}, 10**13),
    "tensors over each other": _tensors({"a": _entry(0, 8, [2]), "b": _entry(4, 8, [1])}),
    "a tensor before the data": _tensors({"a": _entry(-8, 0, [2])}),
    "memory that nobody wrote": _tensors({"a": _entry(0, 0, [10**9])}),
    "brackets": _tensors(b"[" * 10**6),
}


def _bytes(data: bytes) -> Write:
    return lambda path, _: path.write_bytes(data)


def _hostile(make: Callable[[Path], bytes], wrap: Callable[[bytes], bytes]) -> Write:
    return lambda path, marker: path.write_bytes(wrap(make(marker)))


FILES: dict[str, tuple[str, Write]] = {
    **{
        f"{name}: {what}{how}": (name, _hostile(make, wrap))
        for name in ("model.pt", "weights.pth", "pytorch_model.bin")
        for what, make in PICKLES.items()
        for how, wrap in (("", bytes), (", zipped", zipped))
    },
    **{f"safetensors: {lie}": ("model.safetensors", _bytes(data)) for lie, data in LIES.items()},
    "a zip bomb": ("model.pt", _bomb),
    "a zip bomb without a suffix": ("weights", _bomb),
    "a zip bomb of one member": ("weights", _overlapping),
    "a zip with a directory of 40 MB": ("weights", _directory),
    "a zip with a directory of 40 MB without code": ("model.pt", _directory),
    "a zip without an end": ("model.pt", _bytes(b"PK\x03\x04" + bytes(100))),
    "brackets in an index": ("model.safetensors.index.json", _bytes(b"[" * 10**6)),
    "an index of 10 million lists": (
        "model.safetensors.index.json",
        _bytes(b'{"weight_map": [' + b"[]," * 10**7 + b"[]]}"),
    ),
    "an index that leads out": (
        "model.safetensors.index.json",
        _bytes(b'{"weight_map": {"w": "../../../secret.bin"}}'),
    ),
}
UNREADABLE = {
    "a zip with a directory of 40 MB without code": "version 1: model.pt contains only weights, .*",
    "brackets in an index": r" cannot be read: it is not an index of weights: RecursionError: .*",
    "an index of 10 million lists": r" cannot be read: it is not an index of weights: .*",
    "an index that leads out": r" cannot be read: it names '\.\./\.\./\.\./secret\.bin', which is not a file beside it",
}
"""What is said after the name of a file that even its look refuses."""


def _site(room: Room, name: str, write: Write) -> tuple[Path, Path]:
    """Return an archive, and a model with what *write* writes as *name*."""
    model = room.work / "models" / "net"
    (model / "1").mkdir(parents=True)
    (model / "config.pbtxt").write_text(f"{CONFIG}\nversion_policy {{ all {{}} }}\n")
    (model / "1" / "model.py").write_text(MODEL)
    (model / "1" / "mark.py").write_text(f"open({str(_marker(room))!r}, 'w').close()\n")
    write(model / "1" / name, _marker(room))
    return write_archive(room.work / "built"), model


def _marker(room: Room) -> Path:
    return room.folder / "marker"


@pytest.mark.parametrize("case", FILES)
def test_weights_are_not_read_to_be_deployed(room: Room, case: str) -> None:
    name, write = FILES[case]
    archive, model = _site(room, name, write)
    (model / "2").mkdir()  # each version is looked at
    (model / "2" / "model.py").write_text(MODEL)
    if "without code" in case:
        (model / "1" / "model.py").unlink()
    memory = 900 * 10**6 if "million" in case else MEMORY
    outcome = room.run("deploy", archive, model, "--repository", "repository", memory=memory)
    if case in UNREADABLE:
        refused(outcome, 8, re.compile("error: .*" + UNREADABLE[case]))
    else:
        accepted(outcome, may_write=["work/repository"])
    assert not _marker(room).exists()
