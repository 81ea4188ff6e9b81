"""Archives that would take memory, disk, time or the stack of whoever reads them, through every verb that reads one."""

from __future__ import annotations

import dataclasses
import gzip
import json
import os
import re
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from envbuilder.archive.manifest import manifest_beside
from tests.helpers import tars
from tests.helpers.environments import environment, manifest
from tests.helpers.hostile import Room, accepted, refused
from tests.helpers.hostile_archives import LAST, archive_of, model

GB = 10**9
DECEIVES = "it is truncated, or deceives: 'x' says that it has {} GB, more than the archive can contain"
NO_END = "a header takes more than 1.0 MB"
NO_TIME = "'x': its time, {} s since 1970, is out of range"
SPARSE = "'x' is a sparse file, which is not supported: pack it without --sparse (-S)"
NO_SENSE = "the next header is invalid"
LONG = "longer than PATH_MAX"


def packed(*parts: bytes) -> Callable[[], Iterable[bytes]]:
    """Parts of a tar, each a gzip member of its own."""
    return lambda: (gzip.compress(part, 1, mtime=0) for part in parts)


def bomb(head: bytes, size: int, byte: bytes, tail: bytes = b"") -> Callable[[], Iterable[bytes]]:
    """Something that goes on for *size* times *byte*, and takes a thousandth of that."""

    def parts() -> Iterable[bytes]:
        yield gzip.compress(head, 1, mtime=0)
        yield from tars.zeros(size, byte)
        yield gzip.compress(tail, 1, mtime=0)

    return parts


def old_sparse(real: int, *, more: bool = False) -> bytes:
    """The header of a sparse file as GNU tar had it; *more* of it follows."""
    fields = {386: tars.number(0, 12) + tars.number(1, 12), 482: bytes([more]), 483: tars.number(real, 12)}
    return tars.header("x", kind=b"S", fields=fields)


CASES: dict[str, tuple[Callable[[], Iterable[bytes]], str]] = {
    # -- memory: what describes a member
    "pax records of 3 GB": (bomb(tars.header("p", size=3 * GB, kind=b"x"), 3 * GB, b" ", tars.file("x")), NO_END),
    "pax records for all of 3 GB": (bomb(tars.header("p", size=3 * GB, kind=b"g"), 3 * GB, b" "), NO_END),
    "a long name of 3 GB": (bomb(tars.header("p", size=3 * GB, kind=b"L"), 3 * GB, b"a"), NO_END),
    "a long link of 3 GB": (bomb(tars.header("p", size=3 * GB, kind=b"K"), 3 * GB, b"a"), NO_END),
    "pax records of just too much": (packed(tars.pax((b"comment", b"a" * 2**20)), tars.file("x")), NO_END),
    "a chain of pax headers": (
        packed(tars.pax((b"comment", b"a")) * 3000, tars.file("x")),
        "a header has more than 64 blocks",
    ),
    "a chain of long names": (
        packed(tars.long_name(b"a") * 3000, tars.file("x")),
        "a header has more than 64 blocks",
    ),
    "500 records for all": (
        packed(tars.pax(*((b"k%d" % n, b"v") for n in range(500)), kind=b"g"), tars.file("x")),
        "it has more than 100 records for all members",
    ),
    "sparse blocks without an end": (
        bomb(old_sparse(10**13, more=True), 2 * GB, b"1"),
        "a header has more than 64 blocks",
    ),
    # -- disk: what is said, and what comes
    "a sparse file of 10 TB": (packed(old_sparse(10**13)), SPARSE),
    "a sparse file of 10 TB, pax 0.0": (
        packed(
            tars.pax((b"GNU.sparse.size", b"%d" % 10**13), (b"GNU.sparse.numblocks", b"1"),
                     (b"GNU.sparse.offset", b"0"), (b"GNU.sparse.numbytes", b"1")),
            tars.file("x", b"a"),
        ),
        SPARSE,
    ),
    "a sparse file of 10 TB, pax 0.1": (
        packed(tars.pax((b"GNU.sparse.size", b"%d" % 10**13), (b"GNU.sparse.map", b"0,1")), tars.file("x", b"a")),
        SPARSE,
    ),
    "a sparse file of 10 TB, pax 1.0": (
        packed(
            tars.pax((b"GNU.sparse.major", b"1"), (b"GNU.sparse.minor", b"0"),
                     (b"GNU.sparse.realsize", b"%d" % 10**13)),
            tars.file("x", tars.padded(b"1\n0\n1\n") + b"a"),
        ),
        SPARSE,
    ),
    "a map of sparse blocks that are not there": (
        packed(
            tars.pax((b"GNU.sparse.major", b"1"), (b"GNU.sparse.minor", b"0")),
            tars.file("x", b"999999999\n" + b"1" * 100_000),
        ),
        NO_SENSE,
    ),
    "a file that says 10 TB": (packed(tars.header("x", size=10**13)), DECEIVES.format("10000.00")),
    "a file that says 10 TB in pax": (
        packed(tars.pax((b"size", b"%d" % 10**13)), tars.header("x")),
        DECEIVES.format("10000.00"),
    ),
    "a file that says 2^80 bytes": (
        packed(tars.header("x", size=2**80)),
        DECEIVES.format("1208925819614629.00"),
    ),
    "a bomb of 100 GB": (bomb(tars.header("x", size=100 * GB), 100 * GB, b"\0"), DECEIVES.format("100.00")),
    "many files of 900 MB": (packed(*[tars.header("x", size=9 * 10**8)] * 2), "it is truncated"),
    # -- numbers
    "a negative size": (packed(tars.header("x", size=-512)), "'x': its size is negative"),
    "a size that leads back to the first member": (
        packed(tars.header("x", size=-(10**6))),
        "'x': its size is negative",
    ),
    "a negative size in pax": (packed(tars.pax((b"size", b"-5120")), tars.header("x")), "'x': its size is negative"),
    "a size in letters": (
        packed(tars.header("x", fields={124: b"zzzzzzzzzzz\0"})),
        f"there is no readable header after {LAST}",
    ),
    "a time of 1e30": (packed(tars.pax((b"mtime", b"1e30")), tars.file("x")), NO_TIME.format("1e+30")),
    "a time that is no number": (packed(tars.pax((b"mtime", b"nan")), tars.file("x")), NO_TIME.format("nan")),
    "a time without an end": (packed(tars.pax((b"mtime", b"-inf")), tars.file("x")), NO_TIME.format("-inf")),
    "a time of 2^80": (packed(tars.file("x", mtime=2**80)), NO_TIME.format("1.20893e+24")),
    "a time long ago": (packed(tars.file("x", mtime=-(2**80))), NO_TIME.format("-1.20893e+24")),
    "a record of 5000 digits": (
        packed(
            tars.header("p", size=6000, kind=b"x") + tars.padded(b"9" * 5000 + b" a=b\n".ljust(1000)),
            tars.file("x"),
        ),
        NO_SENSE,
    ),
    # -- names
    "a NUL in a name": (packed(tars.pax((b"path", b"a\0b")), tars.file("x")), "'a\\u0000b': its name has a NUL in it"),
    "a NUL in a link": (
        packed(tars.pax((b"linkpath", b"a\0b")), tars.header("x", kind=b"2")),
        "'x': its link target has a NUL in it",
    ),
    "a name of 10 kB": (
        packed(tars.pax((b"path", b"a/" * 5000 + b"a")), tars.file("x")),
        f"'{'a/' * 100}'…: its name is {LONG}",
    ),
    "a part of a name of 300 bytes": (
        packed(tars.pax((b"path", b"a" * 300)), tars.file("x")),
        f"'{'a' * 200}'…: its name is {LONG}",
    ),
    "a link of 10 kB": (
        packed(tars.pax((b"linkpath", b"a/" * 5000)), tars.header("x", kind=b"2")),
        f"'x': its link target is {LONG}",
    ),
    "a file without a name": (
        packed(tars.pax((b"path", b"")), tars.file("", b"1")),
        "a member that is not a folder has no name",
    ),
    "a name in no character set": (
        packed(tars.pax((b"hdrcharset", b"\xff"), (b"path", b"\xff\xfe")), tars.file("x")),
        NO_SENSE,
    ),
    # -- what is no tar
    "a header with another checksum": (
        packed(tars.file("x", b"1").replace(b"ustar", b"uztar")),
        f"there is no readable header after {LAST}",
    ),
    "pax records of no length": (
        packed(tars.header("p", size=10, kind=b"x") + tars.padded(b"0 a=b\n    "), tars.file("x")),
        f"there is no readable header after {LAST}",
    ),
    "pax records and nothing after them": (packed(tars.pax((b"path", b"a"))), "end of file header"),
}  # fmt: skip
AT = f" (at {LAST})"
QUICK = os.pathsep.join([str(Path(sys.executable).parent), "/usr/bin", "/bin"])
"""PATH without the interpreters of this machine, each of which would be asked what it is."""


def at(text: str) -> str:
    return text if text.startswith("there is no readable header") else text + AT


@pytest.mark.parametrize("case", CASES)
def test_an_archive_that_would_take_too_much(room: Room, case: str) -> None:
    parts, text = CASES[case]
    archive = archive_of(room.folder, parts(), raw=True)
    if case == "many files of 900 MB":
        return _truncated(room, archive)
    text = at(text)
    refused(room.run("size", archive), 5, f"error: {archive} cannot be read to its end: {text}")
    refused(room.run("sbom", archive), 5, f"error: {archive}: {text}")
    deployed = room.run("deploy", archive, model(room), "--repository", "../repository", "--unpacked")
    refused(deployed, 5, f"error: {archive} cannot be extracted: {text}")


def _truncated(room: Room, archive: Path) -> None:
    refused(
        room.run("size", archive),
        5,
        f"error: {archive} cannot be read to its end: unexpected end of data (at x)",
    )
    refused(room.run("sbom", archive), 5, f"error: {archive}: unexpected end of data (at x)")


OF_EACH_KIND = [
    "pax records of 3 GB",
    "a sparse file of 10 TB",
    "a bomb of 100 GB",
    "a size that leads back to the first member",
    "a time of 1e30",
    "a name of 10 kB",
    "a header with another checksum",
]


@pytest.mark.parametrize("case", OF_EACH_KIND)
def test_verify_reports_it_all_the_same(room: Room, case: str) -> None:
    parts, text = CASES[case]
    archive = archive_of(room.folder, parts(), raw=True)
    report, junit = room.folder / "out" / "report.json", room.folder / "out" / "report.xml"
    options = ("--no-server", "--report", report, "--junit", junit)
    outcome = room.run("verify", archive, *options, env={"PATH": QUICK})
    refused(outcome, 7, "error: 1 check failed: archive.readable", may_write=["out"], report=report)
    refused(outcome, 7, "error: 1 check failed: archive.readable", may_write=["out"], report=junit)
    (check,) = (one for one in json.loads(report.read_text())["checks"] if one["id"] == "archive.readable")
    assert check["found"] == f"{archive.name}: {at(text)}"


@pytest.mark.parametrize("case", ["pax records of 3 GB", "a negative size"])
@pytest.mark.parametrize("verb", ["licences", "audit", "attest", "diff"])
def test_each_verb_that_reads_an_archive_refuses_it(room: Room, case: str, verb: str) -> None:
    parts, text = CASES[case]
    archive = archive_of(room.folder, parts(), raw=True)
    more: list[str | Path] = {"audit": ["--advisories", "."], "diff": [archive]}.get(verb, [])  # type: ignore[assignment]  # of either
    refused(room.run(verb, archive, *more), 5, f"error: {archive}: {at(text)}")


BOMB = "it unpacks to more than 100 times its size, the limit"


@pytest.mark.parametrize("where", ["after its end", "in one stream"])
def test_a_bomb_ends_early_in_each_verb(room: Room, where: str) -> None:
    """What comes after the end of a tar is read, too: a release's libarchive may find more members there."""
    parts = (
        [gzip.compress(tars.END), *tars.zeros(20 * GB)] if where == "after its end" else [tars.bomb(20 * GB)]
    )
    archive = archive_of(room.folder, parts, raw=True)
    sized, listed = room.run("size", archive), room.run("sbom", archive)
    refused(sized, 5, f"error: {archive} cannot be read to its end: {BOMB}")
    refused(listed, 5, f"error: {archive}: {BOMB}")
    assert max(sized.memory, listed.memory) < 400 * 10**6


def test_modes_that_no_file_has_are_cut(room: Room) -> None:
    parts = packed(
        tars.file("x", mode=-1), tars.file("y", mode=2**50), tars.header("z/", kind=b"5", mode=2**50)
    )
    archive = archive_of(room.folder, parts(), raw=True)
    accepted(room.run("size", archive))
    deployed = room.run("deploy", archive, model(room), "--repository", "../repository", "--unpacked")
    accepted(deployed, may_write=["repository", "environments"])


def beside(archive: Path, unpacked_size: int) -> None:
    """Write a manifest beside *archive* that says it unpacks to so much."""
    said = dataclasses.replace(manifest(environment()), unpacked_size=unpacked_size)
    manifest_beside(archive).write_text(said.text())


def test_a_manifest_that_says_less_than_comes(room: Room) -> None:
    archive = archive_of(room.folder, [tars.file("x", bytes(100 * 2**20))])
    beside(archive, 10)
    outcome = room.run("verify", archive, "--no-server", env={"PATH": QUICK})
    refused(outcome, 7, "error: 2 checks failed: archive.readable, manifest.present")
    size = 10 + manifest_beside(archive).stat().st_size
    text = f"{archive.name}: it exceeds the unpacked size in its manifest, {size / 1000:.1f} kB"
    assert text in outcome.stdout


def test_a_manifest_that_says_more_than_the_disk_has(room: Room) -> None:
    archive = archive_of(room.folder, [b""])
    beside(archive, 2**40)
    outcome = room.run("deploy", archive, model(room), "--repository", "../repository", "--unpacked")
    takes = f"error: {archive.name} takes {2**40 / 1e9:.2f} GB unpacked, and "
    refused(outcome, 8, re.compile(re.escape(takes) + r"[0-9.]+ GB can be written to .*"))
