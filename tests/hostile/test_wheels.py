"""Wheels that nobody honest publishes, at ``build``: refused with a word for why, or packed as what they are."""

from __future__ import annotations

import functools
import tarfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from zlib_ng import zlib_ng

from envbuilder.base.interpreter import Interpreter
from tests.helpers.hostile import Room, Zygote, accepted, refused
from tests.helpers.wheels import Zipped, wheel_members, write_artifact, write_wheel, zip_bytes
from tests.hostile.projects import build, fill_store, write_project

INFO = "alpha-1.0.dist-info"
SITE = "lib/python3.11/site-packages"
WHEEL = "alpha-1.0-py3-none-any.whl"
ZIP = f"{WHEEL} is not a valid zip: "
STAYS = ZIP + "the name {} is not a relative path that stays inside"
Make = Callable[[], bytes]


def files(named: Mapping[str, bytes]) -> Make:
    return lambda: zip_bytes(wheel_members("alpha", "1.0", named))


def scripts(text: str) -> Make:
    points = f"[console_scripts]\n{text}\n"
    return lambda: zip_bytes(wheel_members("alpha", "1.0", {"alpha.py": b""}, entry_points=points))


def added(name: str | bytes, data: bytes = b"x", **member: Any) -> Make:
    """A wheel with one more member, which RECORD does not know."""
    base = wheel_members("alpha", "1.0", {"alpha.py": b""})
    return lambda: zip_bytes([*base, Zipped(name=name, data=data, **member)])


def both(**fields: Any) -> dict[str, Any]:
    """The same fields in both headers of a member."""
    return {"central": fields, "local": fields}


def replaced(name: str, data: bytes) -> Make:
    kept = [one for one in wheel_members("alpha", "1.0", {"alpha.py": b""}) if one.name != f"{INFO}/{name}"]
    return lambda: zip_bytes([*kept, Zipped(name=f"{INFO}/{name}", data=data)])


def changed(change: Callable[[bytes], bytes]) -> Make:
    return lambda: change(zip_bytes(wheel_members("alpha", "1.0", {"alpha.py": b"pass\n" * 100})))


def zeros(name: str, size: int, *, said: int | None = None, head: bytes = b"") -> Make:
    """A wheel with a member of *size* zeros, packed a thousand times smaller, that says it has *said*."""

    def make() -> bytes:
        stream = zlib_ng.compressobj(9, zlib_ng.DEFLATED, -15)
        begin = stream.compress(head) + stream.flush(zlib_ng.Z_FULL_FLUSH)
        piece = stream.compress(bytes(2**20)) + stream.flush(
            zlib_ng.Z_FULL_FLUSH
        )  # it can stand after itself
        packed = begin + piece * (size >> 20) + b"\3\0"
        fields = both(size=len(head) + size if said is None else said)
        kept = [one for one in wheel_members("alpha", "1.0", {"alpha.py": b""}) if one.name != name]
        return zip_bytes([*kept, Zipped(name=name, stream=packed, **fields)])

    return make


REFUSED: dict[str, tuple[Make, str]] = {
    # -- names
    "a name that goes up": (added("../evil.py"), STAYS.format("'../evil.py'")),
    "a name that goes down and up": (added("a/../../evil.py"), STAYS.format("'a/../../evil.py'")),
    "an absolute name": (added("/etc/evil"), STAYS.format("'/etc/evil'")),
    "a name of another system": (added("..\\evil.py"), STAYS.format(r"'..\\evil.py'")),
    "a drive": (added("C:\\evil.py"), STAYS.format(r"'C:\\evil.py'")),
    "a NUL in a name": (added("a\0b.py"), STAYS.format(r"'a\x00b.py'")),
    "a dot for a folder": (added("./x.py"), STAYS.format("'./x.py'")),
    "a folder without a name": (added("a//x.py"), STAYS.format("'a//x.py'")),
    "a name that is not UTF-8": (
        added(b"\xff\xfe.py", **both(flags=0x800)),
        ZIP + r"the name of entry 4 says it is UTF-8 and is not: b'\xff\xfe.py'",
    ),
    "a newline in a name": (
        added("a\nb.py"),
        rf"{WHEEL}: '{SITE}/a\nb.py' contains a control character",
    ),
    "an escape code in a name": (
        added("a\x1b[2J.py"),
        rf"{WHEEL}: '{SITE}/a\u001b[2J.py' contains a control character",
    ),
    "a part of a name of 303 bytes": (
        added("a" * 300 + ".py"),
        f"{WHEEL}: '{SITE}/{'a' * 31}'… is longer than PATH_MAX",
    ),
    "a name of 6 kB": (
        added("a/" * 3000 + "x.py"),
        f"{WHEEL}: '{SITE}/{('a/' * 16)[:31]}'… is longer than PATH_MAX",
    ),
    "a name of two members": (
        lambda: zip_bytes([*wheel_members("alpha", "1.0", {"x.py": b"1"}), Zipped(name="x.py", data=b"2")]),
        ZIP + "two members are called 'x.py'",
    ),
    "a file that is a folder": (
        files({"a": b"1", "a/b": b"2"}),
        f"{WHEEL}: {SITE}/a is both a file and the folder of {SITE}/a/b",
    ),
    "a file for the manifest": (
        files({"alpha-1.0.data/data/share/envbuilder/manifest.json": b"{}"}),
        f"{WHEEL}: one of its files has the path share/envbuilder/manifest.json, which is reserved for envbuilder",
    ),
    "another interpreter": (
        files({"alpha-1.0.data/scripts/python3.11": b"x"}),
        f"bin/python3.11 is in base and, with different content, in {WHEEL}",
    ),
    "another activation": (
        files({"alpha-1.0.data/data/bin/activate": b"x"}),
        f"bin/activate is in activation and, with different content, in {WHEEL}",
    ),
    "data that goes up": (
        added("alpha-1.0.data/data/../../x"),
        STAYS.format("'alpha-1.0.data/data/../../x'"),
    ),
    "data for an absolute place": (
        added("alpha-1.0.data/data//etc/x"),
        STAYS.format("'alpha-1.0.data/data//etc/x'"),
    ),
    "data of an unknown scheme": (
        added("alpha-1.0.data/x/y"),
        f"{WHEEL}: alpha-1.0.data/x/y has an unknown scheme",
    ),
    # -- kinds of members
    "a symbolic link": (added("x", b"/etc/passwd", mode=0o120777), ZIP + "x: neither a file nor a folder"),
    "a fifo": (added("x", mode=0o010644), ZIP + "x: neither a file nor a folder"),
    "a device": (added("x", mode=0o060644), ZIP + "x: neither a file nor a folder"),
    "a socket": (added("x", mode=0o140644), ZIP + "x: neither a file nor a folder"),
    "an encrypted member": (added("x", **both(flags=1)), ZIP + "x: encrypted"),
    "a strongly encrypted member": (added("x", **both(flags=0x41)), ZIP + "x: encrypted"),
    "a masked header": (added("x", **both(flags=0x2000)), ZIP + "x: encrypted"),
    "a patch": (added("x", **both(flags=0x20)), ZIP + "x: a patch of another file"),
    "bzip2": (added("x", method=12), ZIP + "x: compression method 12 (bzip2)"),
    "lzma": (added("x", method=14), ZIP + "x: compression method 14 (lzma)"),
    "zstd": (added("x", method=93), ZIP + "x: compression method 93 (zstd)"),
    "a method that nobody knows": (added("x", method=99), ZIP + "x: compression method 99 (unknown)"),
    # -- headers that lie
    "a member inside another": (added("x", central={"offset": 0}), ZIP + "x begins at 0, inside alpha.py"),
    "a name in one header only": (
        added("x", local={"name": b"../../y.py"}), STAYS.format("'../../y.py'"),
    ),
    "another name in its own header": (
        added("x", local={"name": b"y"}), ZIP + "x: its own header calls it b'y'",
    ),
    "a size in one header only": (
        added("x", local={"size": 10}), ZIP + "x: its own header and the central directory differ",
    ),
    "another checksum": (
        added("x", **both(crc=1)), ZIP + "x: 1 bytes with CRC 8cdc1683, where the directory says 1 with 00000001",
    ),
    "a data descriptor that lies": (
        added("x", local={"flags": 8, "crc": 0, "size": 0, "compressed": 0}, central={"flags": 8, "crc": 5}),
        ZIP + "x: 1 bytes with CRC 8cdc1683, where the directory says 1 with 00000005",
    ),
    "zip64 without its field": (
        added("x", central={"size": 2**32 - 1}), ZIP + "x: its 64-bit lengths are missing",
    ),
    "zip64 of 16 EB": (
        added("x", central={"size": 2**32 - 1, "extra": b"\1\0\x08\0" + b"\xff" * 8}),
        ZIP + "it unpacks to 18446744073.71 GB, more than 100 times its size",
    ),
    "an entry too many": (
        lambda: zip_bytes(wheel_members("alpha", "1.0", {}), end={"count": 9}),
        ZIP + "entry 3 of its central directory is cut off",
    ),
    "something before it": (
        changed(lambda data: b"#!/bin/sh\n" + data),
        ZIP + "its central directory ends at {}, the record that names it begins at {}",
    ),
    "something after it": (
        changed(lambda data: data + b"x"), ZIP + "no end of central directory: it is truncated or not a zip",
    ),
    "half of it": (
        changed(lambda data: data[: len(data) // 2]), ZIP + "no end of central directory: it is truncated or not a zip",
    ),
    "nothing": (lambda: b"", ZIP + "no end of central directory: it is truncated or not a zip"),
    "a page of an index": (lambda: b"<html></html>", ZIP + "no end of central directory: it is truncated or not a zip"),
    "another end in its comment": (
        lambda: zip_bytes(wheel_members("alpha", "1.0", {}), comment=b"PK\x05\x06" + bytes(18)),
        ZIP + "its central directory ends at 0, the record that names it begins at {}",
    ),
    # -- bombs
    "a bomb": (
        zeros("x.bin", 3 * 2**30), ZIP + "it unpacks to 3.22 GB, more than 100 times its size",
    ),
    "a bomb that says it has ten bytes": (
        zeros("x.bin", 2**30, said=10), ZIP + "x.bin: longer than the 10 bytes it claims",
    ),
    "a RECORD of 900 MB": (
        zeros(f"{INFO}/RECORD", 900 << 20),
        f"{WHEEL}: {INFO}/RECORD has 943.7 MB, more than 67.1 MB, the limit",
    ),
    "a WHEEL of 900 MB": (
        zeros(f"{INFO}/WHEEL", 900 << 20),
        f"{WHEEL}: {INFO}/WHEEL has 943.7 MB, more than 67.1 MB, the limit",
    ),
    "entry points of 900 MB": (
        zeros(f"{INFO}/entry_points.txt", 900 << 20),
        f"{WHEEL}: {INFO}/entry_points.txt has 943.7 MB, more than 67.1 MB, the limit",
    ),
    "a source of 900 MB": (
        zeros("x.py", 900 << 20),
        f"{WHEEL}: {SITE}/x.py is a Python source of 943.7 MB; more than 33.6 MB are not compiled",
    ),
    "a script of 900 MB": (
        zeros("alpha-1.0.data/scripts/x", 900 << 20, head=b"#!python"),
        f"{WHEEL}: alpha-1.0.data/scripts/x has 943.7 MB, more than 67.1 MB, the limit",
    ),
    # -- what it says of itself
    "a RECORD in no rows": (
        replaced("RECORD", b"a,b\n"), f"{WHEEL}: {INFO}/RECORD: Row Index 0: expected 3 elements, got 2",
    ),
    "a RECORD that is not UTF-8": (
        replaced("RECORD", b"\xff,,\n"),
        f"{WHEEL}: {INFO}/RECORD is not UTF-8: 'utf-8' codec can't decode byte 0xff in position 0: invalid start byte",
    ),
    "a RECORD of one long field": (
        replaced("RECORD", b'"a' * 100_000), f"{WHEEL}: {INFO}/RECORD: field larger than field limit (131072)",
    ),
    "a format of tomorrow": (
        replaced("WHEEL", b"Wheel-Version: 2.0\n"), f"{WHEEL}: wheel format '2.0', expected 1.x",
    ),
    "a script that goes up": (scripts("../x = a:b"), f"{WHEEL}: entry_points.txt: '../x' is not a valid script name"),
    "a script in a folder": (scripts("a/b = a:b"), f"{WHEEL}: entry_points.txt: 'a/b' is not a valid script name"),
    "a script with code in it": (
        scripts("x = a:b; import os"), f"{WHEEL}: entry_points.txt: invalid entry point",
    ),
    "a script called python": (
        scripts("python3.11 = a:b"), f"bin/python3.11 is in base and, with different content, in {WHEEL}",
    ),
    "a script with an escape code": (
        scripts("a\x1b[2J = a:b"),
        rf"{WHEEL}: 'bin/a\u001b[2J' contains a control character",
    ),
}  # fmt: skip


@pytest.fixture(scope="session")
def base_store(tmp_path_factory: pytest.TempPathFactory, warm: Zygote, python311: Interpreter) -> Path:
    """A store in which the base of these environments is made already."""
    room = Room(folder=tmp_path_factory.mktemp("base"), zygote=warm)
    write_project(room.work, [write_wheel(room.work / "wheels", "alpha")], python311)
    accepted(build(room), may_write=["work/envs"])
    return room.store


@contextmanager
def project(room: Room, data: bytes, base_store: Path, python311: Interpreter) -> Iterator[None]:
    fill_store(room, base_store)
    artifact = write_artifact(room.work / "wheels", "alpha", "1.0", data)
    write_project(room.work, [artifact], python311)
    yield


@pytest.mark.parametrize("case", REFUSED)
def test_a_wheel_that_is_refused(room: Room, base_store: Path, python311: Interpreter, case: str) -> None:
    make, message = REFUSED[case]
    with project(room, make(), base_store, python311):
        outcome = build(room)
    told = outcome.error
    if "{}" in message:  # where in the file
        before, _, after = message.partition("{}")
        assert told.startswith(f"error: {before}")
        told = message if all(part in told for part in after.split("{}")) else told
        refused(outcome, 6, outcome.error, may_write=["work/envs"])
        assert told == message
    else:
        refused(outcome, 6, f"error: {message}", may_write=["work/envs"])
    assert not (room.work / "envs").exists()


PACKED: dict[str, tuple[Make, str]] = {
    "a name in another encoding": (added(b"\x81\x82.py", **both(flags=0)), f"{SITE}/\u00fc\u00e9.py"),
    "names that differ in case": (files({"Alpha.py": b"", "alpha.py": b""}), f"{SITE}/Alpha.py"),
    "a setuid bit": (added("x", mode=0o104755), f"{SITE}/x"),
    "a data descriptor": (
        added("x", local={"flags": 8, "crc": 0, "size": 0, "compressed": 0}, central={"flags": 8}), f"{SITE}/x",
    ),
    "another project's metadata": (
        files({"beta-1.0.dist-info/METADATA": b"Metadata-Version: 2.1\nName: beta\nVersion: 1.0\n"}),
        f"{SITE}/beta-1.0.dist-info/METADATA",
    ),
    "a RECORD that lies": (
        replaced("RECORD", b"alpha.py,sha256=AAAA,5\n../../../../etc/passwd,,\n/etc/x,,\n"), f"{SITE}/alpha.py",
    ),
    "a RECORD of nothing": (replaced("RECORD", b""), f"{SITE}/alpha.py"),
    "a WHEEL that is an email of 2000 levels": (
        replaced("WHEEL", b"Wheel-Version: 1.0\nContent-Type: message/rfc822\n\n" * 2000), f"{SITE}/alpha.py",
    ),
    "400 folders in each other": (added("a/" * 400 + "x.py"), f"{SITE}/{'a/' * 400}x.py"),
    "a library that is no ELF file": (added("x.so", b"\x7fELF\2\1\1" + b"\xff" * 500), f"{SITE}/x.so"),
    "a source of 100,000 parentheses": (added("x.py", b"(" * 100_000 + b")" * 100_000), f"{SITE}/x.py"),
    "a source of 200,000 sums": (
        files({"x/__init__.py": b"import x.tests\ny = " + b"1+" * 200_000 + b"1\n", "x/tests/a.py": b""}),
        f"{SITE}/x/__init__.py",
    ),
    "a source of 200,000 calls": (
        files({"x/__init__.py": b"import x.tests\ny = a" + b"()" * 200_000 + b"\n"}), f"{SITE}/x/__init__.py",
    ),
    "a source with a NUL": (added("x.py", b"a\0b"), f"{SITE}/x.py"),
    "a source that computes for ever": (added("x.py", b"x = 9**9**9**9\n"), f"{SITE}/x.py"),
    "a source of a million digits": (added("x.py", b"x = " + b"9" * 10**6), f"{SITE}/x.py"),
}  # fmt: skip


@pytest.mark.parametrize("case", PACKED)
def test_a_wheel_that_is_packed_as_what_it_is(
    room: Room, base_store: Path, python311: Interpreter, case: str
) -> None:
    make, path = PACKED[case]
    with project(room, make(), base_store, python311):
        accepted(build(room), may_write=["work/envs"])
    (archive,) = (room.work / "envs").glob("*.tar.gz")
    with tarfile.open(archive) as tar:
        members = {member.name: member for member in tar.getmembers()}
        record = tar.extractfile(members[f"{SITE}/{INFO}/RECORD"])
        assert record is not None
        assert b"etc" not in record.read()
    assert members[path].mode in (0o644, 0o755)
    assert all(not name.startswith("/") and ".." not in name.split("/") for name in members)
    accepted(room.run("sbom", archive))


@functools.cache
def _many() -> bytes:
    return zip_bytes(wheel_members("alpha", "1.0", {f"x{n}.py": b"#" * 30_000_000 for n in range(9)}))


def test_sources_that_are_too_much_together(room: Room, base_store: Path, python311: Interpreter) -> None:
    with project(room, _many(), base_store, python311):
        outcome = build(room)
    text = "its Python sources have 270.0 MB; more than 268.4 MB are not compiled"
    refused(outcome, 6, f"error: {WHEEL}: {text}", may_write=["work/envs"])
