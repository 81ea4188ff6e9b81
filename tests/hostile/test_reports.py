"""Reports that are there whatever happens: odd members, odd documents, crashes, signals, full disks."""

from __future__ import annotations

import errno
import hashlib
import io
import json
import os
import re
import signal
import struct
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

import envbuilder.verification.live.model_deployment
import envbuilder.verification.live.stage
import envbuilder.verification.run
import envbuilder.verification.static.archive
import envbuilder.verification.static.release
import envbuilder.verification.static.stage
from envbuilder.archive.manifest import ENVIRONMENT_PATH, MANIFEST_PATH
from envbuilder.base.prefixes import PREFIXES_PATH
from envbuilder.config.settings import Settings
from envbuilder.errors import IntegrityError, VerifyError
from envbuilder.recipe.model import VerifyOptions
from envbuilder.store.local import Store
from envbuilder.store.session import Session
from envbuilder.verification.report import Report
from envbuilder.verification.server.servers import ServerChoice
from envbuilder.verification.verify import VerifyRequest, verify
from tests.helpers.environments import SITE, Tree, add, environment, manifest, pack
from tests.helpers.hostile import Room, harmless
from tests.helpers.origins import Origin

WRITTEN = ["work/report.json", "work/junit.xml"]
NO_SERVER = ServerChoice(ask=False)
BUG = "this is a bug of envbuilder: please report it, with the archive if possible"


# -- odd members -----------------------------------------------------------------------------------


def header(name: bytes, kind: bytes = b"0", **fields: bytes) -> bytes:
    """Write a header block; *fields* replace its others: ``mode``, ``size``, ``mtime``, ``link``, ``magic``."""
    places = {"mode": (100, 8), "uid": (108, 8), "size": (124, 12), "mtime": (136, 12), "link": (157, 100)}
    block = bytearray(512)
    block[: len(name)] = name
    usual = {"mode": b"0000644\0", "uid": b"0000000\0", "size": b"00000000000\0", "mtime": b"00000000000\0"}
    for field, value in {**usual, **fields}.items():
        start, length = places.get(field, (257, 8))
        block[start : start + length] = value.ljust(length, b"\0")[:length]
    block[116:124] = b"0000000\0"
    block[156:157] = kind
    if "magic" not in fields:
        block[257:265] = b"ustar\0" + b"00"
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


def extended(kind: bytes, body: bytes) -> bytes:
    """Write a PAX or GNU header that says something of the next member."""
    padded = body + bytes(-len(body) % 512)
    return header(b"extension", kind, size=b"%011o" % len(body)) + padded


def record(key: bytes, value: bytes) -> bytes:
    rest = b" " + key + b"=" + value + b"\n"
    length = len(rest) + 1
    while len(str(length)) + len(rest) != length:
        length = len(str(length)) + len(rest)
    return str(length).encode() + rest


def pax(key: bytes, value: bytes) -> bytes:
    return extended(b"x", record(key, value))


def damaged(block: bytes) -> bytes:
    return block[:148] + b"7777777\0" + block[156:]


ODD: dict[str, bytes] = {
    "character-device": header(b"odd", b"3"),
    "block-device": header(b"odd", b"4"),
    "fifo": header(b"odd", b"6"),
    "socket": header(b"odd", b"s"),
    "of-no-kind": header(b"odd", b"\xff"),
    "contiguous-file": header(b"odd", b"7"),
    "volume-label": header(b"odd", b"V"),
    "part-of-another-volume": header(b"odd", b"M"),
    "directory-dump": header(b"odd", b"D"),
    "sparse-file": header(b"odd", b"S"),
    "sparse-file-of-pax": pax(b"GNU.sparse.realsize", b"10000000000000") + header(b"odd"),
    "sparse-file-of-pax-1": extended(
        b"x", record(b"GNU.sparse.major", b"1") + record(b"GNU.sparse.minor", b"0")
    )
    + header(b"odd"),
    "hard-link": header(b"odd", b"1", link=b"bin/activate"),
    "hard-link-to-itself": header(b"odd", b"1", link=b"odd"),
    "no-name": header(b""),
    "no-name-of-a-link": header(b"", b"2", link=b"/etc"),
    "a-dot": header(b"."),
    "a-link-that-is-a-dot": header(b".", b"2", link=b"/etc"),
    "a-slash": header(b"/"),
    "two-dots": header(b".."),
    "of-slashes": header(b"a////b"),
    "no-utf-8": header(b"caf\xe9"),
    "no-utf-8-link": header(b"odd", b"2", link=b"caf\xe9"),
    "utf-16": header("ä".encode("utf-16")),
    "escape-code": header(b"\x1b[2Jodd"),
    "newline": header(b"a\nb"),
    "right-to-left": header("a\u202eb".encode()),
    "binary-names": extended(b"x", record(b"hdrcharset", b"BINARY") + record(b"path", b"caf\xe9"))
    + header(b"odd"),
    "nul-in-a-name": pax(b"path", b"a\0b") + header(b"odd"),
    "nul-in-a-target": pax(b"linkpath", b"a\0b") + header(b"odd", b"2"),
    "long-name": pax(b"path", b"n" * 300) + header(b"odd"),
    "long-path": pax(b"path", b"n/" * 2100 + b"n") + header(b"odd"),
    "deep-folders": pax(b"path", b"n/" * 250) + header(b"odd/", b"5"),
    "longest-path": pax(b"path", b"n/" * 2047 + b"n") + header(b"odd"),
    "long-target": pax(b"linkpath", b"n/" * 2100 + b"n") + header(b"odd", b"2"),
    "longest-target": pax(b"linkpath", b"n/" * 2047 + b"nn") + header(b"odd", b"2"),
    "gnu-long-name": extended(b"L", b"n" * 300 + b"\0") + header(b"odd"),
    "gnu-long-name-of-nothing": extended(b"L", b"n" * 300 + b"\0"),
    "mode-of-letters": header(b"odd", mode=b"xyz"),
    "no-mode": header(b"odd", mode=b"0000000\0"),
    "folder-without-a-mode": header(b"odd/", b"5", mode=b"0000000\0") + header(b"odd/x"),
    "setuid": header(b"odd", mode=b"0006755\0"),
    "size-of-letters": header(b"odd", size=b"xyz"),
    "size-below-nothing": header(b"odd", size=b"\xff" * 12),
    "size-without-end": header(b"odd", size=b"\x80" + b"\x7f" * 11),
    "size-of-pax": pax(b"size", b"99999999999999999999") + header(b"odd"),
    "size-of-pax-below-nothing": pax(b"size", b"-1") + header(b"odd"),
    "time-of-letters": header(b"odd", mtime=b"xyz"),
    "time-of-pax": pax(b"mtime", b"1e30") + header(b"odd"),
    "time-that-is-no-number": pax(b"mtime", b"nan") + header(b"odd"),
    "time-before-all": header(b"odd", mtime=b"\xff" * 12),
    "owner-of-letters": header(b"odd", uid=b"xyz"),
    "pax-of-no-length": extended(b"x", b"0 path=x\n") + header(b"odd"),
    "pax-of-a-long-length": extended(b"x", b"999999999 path=x\n") + header(b"odd"),
    "pax-without-a-record": extended(b"x", b"") + header(b"odd"),
    "pax-of-pax": pax(b"path", b"a") * 100 + header(b"odd"),
    "pax-for-all": extended(b"g", record(b"path", b"all")) + header(b"odd"),
    "no-checksum": damaged(header(b"odd")),
    "twice": header(b"odd") + header(b"odd"),
    "file-then-folder": header(b"odd") + header(b"odd/", b"5"),
    "folder-then-file": header(b"odd/x") + header(b"odd"),
    "half-a-header": header(b"odd")[:300],
}
FINE = (
    "character-device",
    "block-device",
    "fifo",
    "volume-label",
    "twice",
    "file-then-folder",
    "contiguous-file",
    "no-mode",
    "folder-without-a-mode",
    "setuid",
    "of-slashes",
    "no-utf-8",
    "no-utf-8-link",
    "utf-16",
    "escape-code",
    "newline",
    "right-to-left",
    "binary-names",
    "time-before-all",
    "pax-without-a-record",
)
"""What every release extracts (measured); that no manifest lists it is another matter."""


def odd_archive(odd: bytes, folder: Path) -> Path:
    """Write a small archive with the bytes *odd* among its members."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for path, content in environment().items():
            add(tar, path, content)
        end = tar.offset
    data = buffer.getvalue()
    data = odd + data[:end] + bytes(1024) if len(odd) % 512 == 0 else data[:end] + odd
    archive = folder / f"tiny-{hashlib.sha256(data).hexdigest()[:12]}.tar"
    archive.write_bytes(data)
    return archive


def verified(room: Room, archive: Path, *options: str, **env: str) -> dict[str, dict[str, Any]]:
    """Verify *archive*, see that both reports are there and agree, and return the checks by id."""
    report, junit = room.work / "report.json", room.work / "junit.xml"
    outcome = room.run(
        "verify", archive, "--no-server", "--report", report, "--junit", junit, *options, env=env or None
    )
    harmless(outcome, may_write=WRITTEN, report=report)
    harmless(outcome, may_write=WRITTEN, report=junit)
    assert outcome.code == 7, str(outcome)
    found = json.loads(report.read_text())
    failed = [check for check in found["checks"] if check["status"] == "failed"]
    assert all(check["fix"] for check in failed)
    names = ", ".join(dict.fromkeys(check["id"] for check in failed))
    plural = "s" if len(failed) > 1 else ""
    assert outcome.error == f"error: {len(failed)} check{plural} failed: {names}"
    assert BUG not in {check["fix"] for check in failed}
    assert junit.read_text().count("<testcase ") == len(found["checks"])
    return {check["id"]: check for check in found["checks"]}


@pytest.mark.parametrize("name", ODD)
def test_odd_members(room: Room, name: str) -> None:
    checks = verified(room, odd_archive(ODD[name], room.work))
    failed = {id for id, check in checks.items() if check["status"] == "failed"}
    said = {"archive.readable", "archive.members", "paths.links", "layout.activate"}
    assert bool(failed & said) == (name not in FINE)
    ran = checks["contract.launch"]["found"]
    assert ran.startswith("the environment's Python" if name in FINE else "nothing was run: ")


# -- odd documents ---------------------------------------------------------------------------------

INFO = f"{SITE}/torch-2.13.0+cpu.dist-info"
NESTED = b"[" * 100_000
NOISE = bytes(range(256)) * 8
FILES: dict[str, Tree] = {
    "activate-is-a-folder": {"bin/activate/x": b""},
    "python-is-a-folder": {"bin/python3/x": b""},
    "python-is-a-circle": {"bin/python3": "python3"},
    "libpython-leads-out": {"lib/libpython3.11.so.1.0": "/usr/lib/libc.so.6"},
    "libstdcxx-is-noise": {"lib/libstdc++.so.6": NOISE},
    "elf-of-one-header": {"lib/libx.so": b"\x7fELF" + NOISE},
    "elf-cut-off": {
        "lib/libx.so": b"\x7fELF\x02\x01\x01" + bytes(9) + struct.pack("<HHIQQQ", 3, 62, 1, 0, 0, 2**60)
    },
    "record-is-noise": {f"{INFO}/RECORD": NOISE},
    "record-of-quotes": {f"{INFO}/RECORD": b'"' * 10_000},
    "record-leads-out": {f"{INFO}/RECORD": b"../" * 5000 + b"x,,\n"},
    "record-is-a-link": {f"{INFO}/RECORD": "/etc/passwd"},
    "metadata-is-noise": {f"{INFO}/METADATA": NOISE},
    "direct-url-is-nested": {f"{INFO}/direct_url.json": NESTED},
    "direct-url-is-noise": {f"{INFO}/direct_url.json": NOISE},
    "version-is-noise": {f"{SITE}/torch/version.py": NOISE},
    "version-is-a-link": {f"{SITE}/torch/version.py": "/etc/passwd"},
    "bytecode-is-noise": {f"{SITE}/torch/__pycache__/version.cpython-311.pyc": NOISE},
    "sysconfigdata-is-noise": {"lib/python3.11/_sysconfigdata__linux_.py": NOISE},
    "variables-are-nested": {ENVIRONMENT_PATH: NESTED},
    "variables-are-a-list": {ENVIRONMENT_PATH: b"[1]"},
    "variables-lead-out": {ENVIRONMENT_PATH: b'{"variables": {"CXX": "{prefix}/../../../usr/bin/g++"}}'},
    "variables-are-a-link": {ENVIRONMENT_PATH: "/dev/zero"},
    "prefixes-are-nested": {PREFIXES_PATH: NESTED},
    "prefixes-are-numbers": {PREFIXES_PATH: b"[1, 2]"},
    "prefixes-are-a-link": {PREFIXES_PATH: "/dev/zero"},
    "a-name-for-spreadsheets": {f"{SITE}/torch/=cmd|' /C calc'!A0": b""},
    "a-name-for-html": {f"{SITE}/torch/<script>alert(1)<": b""},
}


@pytest.mark.parametrize("name", FILES)
def test_odd_files(room: Room, name: str) -> None:
    tree = environment()
    for path in FILES[name]:  # what is a file now may be a folder there
        tree = {known: data for known, data in tree.items() if not path.startswith(f"{known}/")}
    verified(room, pack({**tree, **FILES[name]}, room.work))


MANIFESTS: dict[str, bytes] = {
    "empty": b"",
    "noise": NOISE,
    "nested": NESTED,
    "number": b"1" * 5000,
    "list": b"[]",
    "nothing-in-it": b"{}",
    "newer": b'{"format": 1e400}',
    "surrogates": b'{"format": "\\ud800"}',
}
SAID: dict[str, Callable[[dict[str, Any]], Mapping[str, Any]]] = {
    "unknown-release": lambda _: {"release": "99.99"},
    "release-with-an-escape": lambda _: {"release": "\x1b[2J"},
    "unknown-python": lambda _: {"python": "9.9.9"},
    "python-that-is-a-path": lambda _: {"python": "../../../x"},
    "python-that-is-none": lambda _: {"python": ""},
    "interpreter-that-is-a-path": lambda said: {
        "interpreter": {**said["interpreter"], "version": "../../.."}
    },
    "recipe-that-is-a-path": lambda _: {"recipe": "../../../etc/passwd"},
    "wheel-that-is-a-path": lambda said: {
        "packages": [{**one, "filename": "../../x.whl"} for one in said["packages"]]
    },
    "digest-that-is-a-path": lambda said: {
        "packages": [{**one, "sha256": "../../x"} for one in said["packages"]]
    },
    "size-below-nothing": lambda said: {"packages": [{**one, "size": -1} for one in said["packages"]]},
    "packages-of-numbers": lambda _: {"packages": [1, 2]},
    "options-of-packing": lambda _: {"pack": []},
    "tools-of-lists": lambda _: {"tools": {"envbuilder": []}},
    "files-of-nothing": lambda _: {"files": [{}]},
}


def manifest_saying(name: str) -> bytes:
    if name in MANIFESTS:
        return MANIFESTS[name]
    said = json.loads(manifest(environment()).text())
    return json.dumps({**said, **SAID[name](said)}).encode()


@pytest.mark.parametrize("name", [*MANIFESTS, *SAID])
def test_odd_manifests(room: Room, origin: Origin, name: str) -> None:
    data = manifest_saying(name)
    archive = pack({**environment(), MANIFEST_PATH: data}, room.work)
    archive.with_name(archive.name.replace(".tar.gz", ".json")).write_bytes(data)
    origin.remember(room.store)
    verified(room, archive)


# -- before and after the archive is read ----------------------------------------------------------

REFUSED: dict[str, tuple[tuple[str, ...], int, str]] = {
    "no-such-release": (("--release", "1.2"), 2, "unknown Triton release '1.2'"),
    "no-such-lock": (
        ("--lock", "pylock.none.toml"),
        3,
        "recipe none is not locked: there is no pylock.none.toml",
    ),
    "lock-that-is-none": (("--lock", "noise"), 5, "noise: is not UTF-8: invalid start byte at byte 128"),
    "no-such-key": (("--provenance", "key.pem"), 2, "key.pem"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused_before_the_archive_is_read(room: Room, name: str) -> None:
    options, code, found = REFUSED[name]
    (room.work / "noise").write_bytes(NOISE)
    tree = environment()
    report, junit = room.work / "report.json", room.work / "junit.xml"
    archive = pack(tree, room.work, listed=tree)
    outcome = room.run("verify", archive, "--report", report, "--junit", junit, *options)
    harmless(outcome, may_write=WRITTEN, report=report)
    harmless(outcome, may_write=WRITTEN, report=junit)
    assert outcome.code == code, str(outcome)
    assert found in outcome.error, str(outcome)
    said = json.loads(report.read_text())
    assert (said["sha256"], said["passed"]) == (None, False)
    (check,) = said["checks"]
    assert check["id"] == "verification.completed"
    assert found in check["found"]


def test_one_report_that_cannot_be_written(room: Room) -> None:
    tree = environment()
    archive, junit = pack(tree, room.work, listed=tree), room.work / "junit.xml"
    outcome = room.run(
        "verify", archive, "--no-server", "--report", archive / "report.json", "--junit", junit
    )
    harmless(outcome, may_write=WRITTEN, report=junit)
    assert outcome.code == 2
    assert outcome.error == f"error: {archive}/report.json cannot be written: File exists"


# -- crashes, signals, full disks ------------------------------------------------------------------


def small(tmp_path: Path) -> tuple[Path, Session]:
    tree = environment()
    return pack(tree, tmp_path, listed=tree), Session(
        settings=Settings(), store=Store(root=tmp_path / "store")
    )


CRASHES: dict[str, tuple[Any, str, str]] = {
    "manifest.origin": (envbuilder.verification.run, "check_origin", "a bug"),
    "contents.sbom": (envbuilder.verification.static.stage, "check_contents", "a bug"),
    "linking.runpath": (envbuilder.verification.static.archive, "check_runpaths", "a bug"),
    "paths.prefixes": (envbuilder.verification.static.archive, "check_prefixes", "a bug"),
    "linking.needs": (envbuilder.verification.static.release, "check_needs", "a bug"),
    "model.deployed": (envbuilder.verification.live.model_deployment, "prepare", "a bug"),
    "contract.launch": (envbuilder.verification.live.stage, "run_probe", "a bug"),
}
ERRORS: dict[str, tuple[Exception, str, str | None]] = {
    "bug": (KeyError("x\x1b"), r"cannot be checked: KeyError: 'x\\x1b' \(test_reports.py, line \d+\)", BUG),
    "recursion": (RecursionError("deep"), r"cannot be checked: RecursionError: deep \(.*\)", BUG),
    "memory": (
        MemoryError(),
        r"cannot be checked: MemoryError:  \(.*\)",
        "verify it on a machine with more memory",
    ),
    "ours": (IntegrityError("it is broken", hint="mend it"), "cannot be checked: it is broken", "mend it"),
    "disk": (
        OSError(errno.ENOSPC, "No space left on device", "/x"),
        "cannot be checked: /x: No space left on device",
        "free some space there, or set ENVBUILDER_CACHE to a folder on a larger disk",
    ),
}


@pytest.mark.parametrize("id", CRASHES)
def test_a_check_that_crashes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, id: str) -> None:
    module, name, _ = CRASHES[id]
    archive, session = small(tmp_path)
    request = VerifyRequest(server=NO_SERVER, options=VerifyOptions(sbom=True))
    usual = [check.id for check in verify(archive, session, request).checks]

    def crash(*_: object, **__: object) -> Iterator[None]:
        raise KeyError("x")

    monkeypatch.setattr(module, name, crash)
    written: list[Report] = []
    report = verify(archive, session, request, write=written.append)
    assert written == [report]
    (check,) = [check for check in report.failures if "KeyError" in check.found]
    assert check.id == id
    missing = set(usual) - {check.id for check in report.checks}
    assert missing <= {id, "model.deployed", "contract.launch", "live.readonly", "server.start"}


@pytest.mark.parametrize("kind", ERRORS)
def test_what_a_check_ends_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    error, found, fix = ERRORS[kind]
    archive, session = small(tmp_path)

    def crash(*_: object) -> None:
        raise error

    monkeypatch.setattr(envbuilder.verification.run, "check_origin", crash)
    report = verify(archive, session, VerifyRequest(server=NO_SERVER))
    (check,) = [check for check in report.checks if check.id == "manifest.origin"]
    assert (check.status, check.fix) == ("failed", fix)
    assert re.fullmatch(found, check.found)


HINTS = {
    errno.ENOSPC: "free some space there, or set ENVBUILDER_CACHE to a folder on a larger disk",
    errno.EROFS: "that file system is mounted read-only: set ENVBUILDER_CACHE to a folder on another one",
    errno.EACCES: "give this user permission, or set ENVBUILDER_CACHE to a folder of this user",
    errno.EIO: "the disk or the network file system failed: see `dmesg`",
    errno.EMFILE: "this process has too many open files: raise `ulimit -n`",
    errno.EDQUOT: "your disk quota is exhausted: free some space, or set ENVBUILDER_CACHE to a folder elsewhere",
    errno.EDOM: None,
}


@pytest.mark.parametrize("number", HINTS)
def test_what_the_system_refuses_while_extracting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    archive, session = small(tmp_path)
    real = Path.mkdir

    def refuse(self: Path, *args: Any, **named: Any) -> None:
        if self.name == "dist-info" or self.name.startswith("numpy"):
            raise OSError(number, os.strerror(number), str(self))
        real(self, *args, **named)

    monkeypatch.setattr(Path, "mkdir", refuse)
    written: list[Report] = []
    with pytest.raises(VerifyError) as caught:
        verify(archive, session, VerifyRequest(server=NO_SERVER), write=written.append)
    assert caught.value.message.endswith(f"numpy-1.26.4.dist-info: {os.strerror(number)}")
    assert caught.value.hint == HINTS[number]
    (report,) = written
    assert [check.id for check in report.failures] == ["archive.readable", "verification.completed"]
    assert list((session.store.root / "tmp").iterdir()) == []


def test_a_disk_without_inodes(room: Room) -> None:
    tree = environment()
    archive, report = pack(tree, room.work, listed=tree), room.work / "report.json"
    script = (
        'mount -t tmpfs -o size=200m,nr_inodes=24 none "$ENVBUILDER_CACHE" && '
        'exec "$PYTHON" -m envbuilder verify "$ARCHIVE" --no-server --report "$REPORT" --quiet'
    )
    user = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    names = {"PYTHON": sys.executable, "ARCHIVE": str(archive), "REPORT": str(report)}
    done = subprocess.run(
        ["unshare", *user, "--mount", "--propagation", "private", "/bin/sh", "-c", script],
        env={**room.environment(), **names},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 7, done.stderr
    first, second = done.stderr.splitlines()
    assert re.fullmatch(r"error: the archive cannot be extracted: .*: No space left on device", first)
    assert second == f"  hint: {HINTS[errno.ENOSPC]}"
    checks = {check["id"]: check["status"] for check in json.loads(report.read_text())["checks"]}
    assert checks == {"archive.readable": "failed", "verification.completed": "failed"}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal(room: Room, number: signal.Signals) -> None:
    tree = environment() | {"bin/python3": b"#!/bin/sh\n: > /verify/started\nexec sleep 60\n"}
    archive, report = pack(tree, room.work, listed=tree), room.work / "report.json"
    junit = room.work / "junit.xml"
    command = [sys.executable, "-m", "envbuilder", "verify", str(archive), "--no-server", "--quiet"]
    with subprocess.Popen(
        [*command, "--report", str(report), "--junit", str(junit)],
        env=room.environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        until = time.monotonic() + 60
        while not list(room.store.glob("tmp/verify-*/*/verify/started")):
            assert process.poll() is None
            assert time.monotonic() < until
            time.sleep(0.02)
        process.send_signal(number)
        out, err = process.communicate(timeout=60)
    assert (out, process.returncode) == ("", 128 + number), err
    assert "Traceback" not in err
    checks = json.loads(report.read_text())["checks"]
    assert checks[-1]["found"] == f"it was stopped by {number.name}"
    assert {check["id"] for check in checks} >= {
        "archive.readable",
        "verification.completed",
    }
    assert junit.read_text().count("<testcase ") == len(checks)
    assert list((room.store / "tmp").iterdir()) == []
