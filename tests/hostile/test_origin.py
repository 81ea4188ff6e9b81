"""Archives that hold what nobody accounts for, with manifests that agree: each is refused, and the file is named."""

from __future__ import annotations

import hashlib
import json
import py_compile
import re
import shutil
import tarfile
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from envbuilder.archive.manifest import ENVIRONMENT_PATH, MANIFEST_PATH
from envbuilder.lockfile.pylock import read_lock, write_lock
from tests.helpers.hostile import Outcome, Room, harmless, refused
from tests.helpers.origins import (
    SITE,
    Members,
    Origin,
    add_file,
    add_link,
    pack,
    read_members,
    repack,
)
from tests.helpers.wheels import record_hash

Change = Callable[[Members], None]
Said = Callable[[dict[str, Any]], None]
LIBRARY = "lib/python3.11"
CACHE = f"{SITE}/alpha/__pycache__"
INFO = f"{SITE}/alpha-1.0.dist-info"
FOREIGN = "files of unknown origin: "
CHANGED = "files that differ from their origin: "
MISSING = "files that are missing: "
ALPHA = "alpha-1.0-py3-none-any.whl"
NOT_COMPILED = "; the bytecode was not compiled again, because other files are wrong"
STRUCT = f"{LIBRARY}/lib-dynload/_struct.cpython-311-x86_64-linux-gnu.so"


def put(path: str, data: bytes | Callable[[bytes], bytes], mode: int = 0o644) -> Change:
    """Write a file, or make another one of what is there."""

    def change(members: Members) -> None:
        kept = members[path] if callable(data) else None
        content = data(kept[1]) if callable(data) and kept is not None else data
        assert isinstance(content, bytes)
        add_file(members, path, content, kept[0].mode if kept is not None else mode)

    return change


def copy(source: str, target: str) -> Change:
    """Put the bytes of *source* to *target*."""
    return lambda members: add_file(members, target, members[source][1], members[source][0].mode)


def link(path: str, target: str) -> Change:
    return lambda members: add_link(members, path, target)


def drop(path: str) -> Change:
    def change(members: Members) -> None:
        del members[path]

    return change


def mode(path: str, bits: int) -> Change:
    def change(members: Members) -> None:
        members[path][0].mode = bits

    return change


def folder(path: str) -> Change:
    def change(members: Members) -> None:
        info = tarfile.TarInfo(path)
        info.type, info.mode = tarfile.DIRTYPE, 0o755
        members[path] = (info, b"")

    return change


def both(*changes: Change) -> Change:
    def change(members: Members) -> None:
        for one in changes:
            one(members)

    return change


def say(key: str, value: object) -> Said:
    """Let the manifest say something else; *key* is dotted."""

    def change(manifest: dict[str, Any]) -> None:
        *folders, last = key.split(".")
        inner: Any = manifest
        for one in folders:
            inner = inner[int(one)] if one.isdigit() else inner[one]
        inner[last] = value

    return change


def both_say(*lies: Said) -> Said:
    def change(manifest: dict[str, Any]) -> None:
        for one in lies:
            one(manifest)

    return change


def _compiled(members: Members) -> None:
    """Change a source and compile it, as Python does: all of it fits together."""
    path = f"{SITE}/alpha/m1.py"
    source = b"import os\n"
    add_file(members, path, source)
    kind = py_compile.PycInvalidationMode.UNCHECKED_HASH
    with tempfile.TemporaryDirectory() as scratch:
        module, made = Path(scratch, "m1.py"), Path(scratch, "m1.pyc")
        module.write_bytes(source)
        py_compile.compile(str(module), str(made), dfile=path, invalidation_mode=kind)
        add_file(members, f"{CACHE}/m1.cpython-311.pyc", made.read_bytes())


def _recorded(members: Members) -> None:
    """Add a module and its row in RECORD."""
    add_file(members, f"{SITE}/alpha/evil.py", b"import os\n")
    row = f"alpha/evil.py,{record_hash(b'import os' + bytes([10]))},10\n".encode()
    add_file(members, f"{INFO}/RECORD", members[f"{INFO}/RECORD"][1] + row)


def _timed(members: Members) -> None:
    """Make bytecode of the kind that says when its source was written."""
    path = f"{CACHE}/m1.cpython-311.pyc"
    data = members[path][1]
    add_file(members, path, data[:4] + bytes(12) + data[16:])


CASES: dict[str, tuple[Change, str]] = {
    # -- added
    "pth": (put(f"{SITE}/evil.pth", b"import os\n"), f"{FOREIGN}{SITE}/evil.pth{NOT_COMPILED}"),
    "module": (put(f"{SITE}/evil.py", b"import os\n"), f"{FOREIGN}{SITE}/evil.py{NOT_COMPILED}"),
    "module-in-a-package": (
        put(f"{SITE}/torch/evil.py", b""),
        f"{FOREIGN}{SITE}/torch/evil.py{NOT_COMPILED}",
    ),
    "module-in-the-library": (put(f"{LIBRARY}/this.py", b""), f"{FOREIGN}{LIBRARY}/this.py{NOT_COMPILED}"),
    "module-that-record-lists": (
        _recorded,
        f"{FOREIGN}{SITE}/alpha/evil.py; {CHANGED}{INFO}/RECORD ({ALPHA}){NOT_COMPILED}",
    ),
    "sitecustomize": (
        put(f"{SITE}/sitecustomize.py", b""),
        f"{FOREIGN}{SITE}/sitecustomize.py{NOT_COMPILED}",
    ),
    "zipped-library": (put("lib/python311.zip", b"PK"), f"{FOREIGN}lib/python311.zip{NOT_COMPILED}"),
    "configuration": (put("bin/python311._pth", b"."), f"{FOREIGN}bin/python311._pth{NOT_COMPILED}"),
    "library": (put("lib/libevil.so", b"\x7fELF"), f"{FOREIGN}lib/libevil.so{NOT_COMPILED}"),
    "preloaded": (put("lib/libm.so.6", b"\x7fELF"), f"{FOREIGN}lib/libm.so.6{NOT_COMPILED}"),
    "program": (put("bin/evil", b"#!/bin/sh\n", 0o755), f"{FOREIGN}bin/evil{NOT_COMPILED}"),
    "activation": (
        put("etc/conda/activate.d/evil.sh", b"id\n"),
        f"{FOREIGN}etc/conda/activate.d/evil.sh{NOT_COMPILED}",
    ),
    "bytecode-alone": (
        copy(f"{CACHE}/m1.cpython-311.pyc", f"{CACHE}/evil.cpython-311.pyc"),
        f"{FOREIGN}{CACHE}/evil.cpython-311.pyc",
    ),
    "bytecode-as-a-module": (
        copy(f"{CACHE}/m1.cpython-311.pyc", f"{SITE}/alpha/evil.pyc"),
        f"{FOREIGN}{SITE}/alpha/evil.pyc{NOT_COMPILED}",
    ),
    "optimized-bytecode": (
        copy(f"{CACHE}/m1.cpython-311.pyc", f"{CACHE}/m1.cpython-311.opt-1.pyc"),
        f"{FOREIGN}{CACHE}/m1.cpython-311.opt-1.pyc",
    ),
    "bytecode-of-what-does-not-compile": (
        copy(f"{CACHE}/m1.cpython-311.pyc", f"{CACHE}/no_python.cpython-311.pyc"),
        f"{FOREIGN}{CACHE}/no_python.cpython-311.pyc",
    ),
    "link": (link(f"{SITE}/evil", "alpha"), f"{FOREIGN}{SITE}/evil{NOT_COMPILED}"),
    "empty-folder": (folder(f"{SITE}/requests"), f"{FOREIGN}{SITE}/requests/{NOT_COMPILED}"),
    "other-case": (put(f"{SITE}/Alpha/m1.py", b""), f"{FOREIGN}{SITE}/Alpha/m1.py{NOT_COMPILED}"),
    "name-that-is-no-utf-8": (put("bin/a\udcff", b""), f"{FOREIGN}bin/a\\udcff{NOT_COMPILED}"),
    # -- changed
    "bytecode-of-another": (
        copy(f"{CACHE}/m2.cpython-311.pyc", f"{CACHE}/m1.cpython-311.pyc"),
        f"{CHANGED}{CACHE}/m1.cpython-311.pyc (its source)",
    ),
    "bytecode-and-a-byte": (
        put(f"{CACHE}/m1.cpython-311.pyc", lambda data: data + b"\0"),
        f"{CHANGED}{CACHE}/m1.cpython-311.pyc (its source)",
    ),
    "bytecode-of-another-kind": (_timed, f"{CHANGED}{CACHE}/m1.cpython-311.pyc (its source)"),
    "bytecode-of-the-library": (
        copy(f"{CACHE}/m2.cpython-311.pyc", f"{LIBRARY}/__pycache__/os.cpython-311.pyc"),
        f"{CHANGED}{LIBRARY}/__pycache__/os.cpython-311.pyc (its source)",
    ),
    "bytecode-that-is-a-link": (
        link(f"{CACHE}/m1.cpython-311.pyc", "m2.cpython-311.pyc"),
        f"{CHANGED}{CACHE}/m1.cpython-311.pyc (its source)",
    ),
    "bytecode-to-be-run": (
        mode(f"{CACHE}/m1.cpython-311.pyc", 0o755),
        f"{CHANGED}{CACHE}/m1.cpython-311.pyc (its source)",
    ),
    "source-and-bytecode": (_compiled, f"{CHANGED}{SITE}/alpha/m1.py ({ALPHA}){NOT_COMPILED}"),
    "two-files-exchanged": (
        both(copy(f"{SITE}/alpha/m1.py", "x"), copy(f"{SITE}/alpha/m2.py", f"{SITE}/alpha/m1.py"), drop("x")),
        f"{CHANGED}{SITE}/alpha/m1.py ({ALPHA}){NOT_COMPILED}",
    ),
    "large-file": (
        put(f"{SITE}/alpha/big.bin", lambda data: data[:-1] + b"\0"),
        f"{CHANGED}{SITE}/alpha/big.bin ({ALPHA}){NOT_COMPILED}",
    ),
    "entry-point-script": (
        put("bin/alpha", lambda data: data.replace(b"alpha", b"evil")),
        f"{CHANGED}bin/alpha ({ALPHA}){NOT_COMPILED}",
    ),
    "script-of-a-wheel": (
        put("bin/tool", lambda data: data + b"\n"),
        f"{CHANGED}bin/tool ({ALPHA}){NOT_COMPILED}",
    ),
    "data-of-a-wheel": (
        put("share/alpha.txt", b"beta\n"),
        f"{CHANGED}share/alpha.txt ({ALPHA}){NOT_COMPILED}",
    ),
    "metadata": (
        put(f"{INFO}/METADATA", lambda data: data + b"\n"),
        f"{CHANGED}{INFO}/METADATA ({ALPHA}){NOT_COMPILED}",
    ),
    "installer": (put(f"{INFO}/INSTALLER", b"pip\n"), f"{CHANGED}{INFO}/INSTALLER ({ALPHA}){NOT_COMPILED}"),
    "file-of-a-record-that-lies": (
        put(f"{SITE}/beta.py", b"other"),
        f"{CHANGED}{SITE}/beta.py (beta-1.0-py3-none-any.whl){NOT_COMPILED}",
    ),
    "file-of-a-record-without-its-hash": (
        put(f"{SITE}/gamma.py", b"import other\n"),
        f"{CHANGED}{SITE}/gamma.py (beta-1.0-py3-none-any.whl){NOT_COMPILED}",
    ),
    "extension-module": (
        put(STRUCT, lambda data: data + b"\0"),
        f"{CHANGED}{STRUCT} (CPython …){NOT_COMPILED}",
    ),
    "libpython": (
        put("lib/libpython3.11.so.1.0", lambda data: data[:-1] + b"\1"),
        f"{CHANGED}lib/libpython3.11.so.1.0 (CPython …){NOT_COMPILED}",
    ),
    "standard-library": (
        put(f"{LIBRARY}/os.py", lambda data: data + b"\n"),
        f"{CHANGED}{LIBRARY}/os.py (CPython …){NOT_COMPILED}",
    ),
    "activate": (
        put("bin/activate", lambda data: data + b"id\n"),
        f"{CHANGED}bin/activate (envbuilder){NOT_COMPILED}",
    ),
    "history": (
        put("conda-meta/history", b"x"),
        f"{CHANGED}conda-meta/history (envbuilder){NOT_COMPILED}",
    ),
    "variables": (
        put(ENVIRONMENT_PATH, b'{"variables": {"LD_PRELOAD": "/tmp/x"}}\n'),
        f"{CHANGED}{ENVIRONMENT_PATH} (envbuilder){NOT_COMPILED}",
    ),
    "link-in-place-of-a-file": (
        link(f"{SITE}/alpha/m1.py", "m2.py"),
        f"{CHANGED}{SITE}/alpha/m1.py ({ALPHA}){NOT_COMPILED}",
    ),
    "file-in-place-of-a-link": (
        put("bin/python", b"#!/bin/sh\n"),
        f"{CHANGED}bin/python (CPython …){NOT_COMPILED}",
    ),
    "link-to-another": (
        link("bin/python", "../bin/python3.11"),
        f"{CHANGED}bin/python (CPython …){NOT_COMPILED}",
    ),
    "setuid": (mode("bin/tool", 0o4755), f"{CHANGED}bin/tool ({ALPHA}){NOT_COMPILED}"),
    "not-to-be-run": (mode("bin/tool", 0o644), f"{CHANGED}bin/tool ({ALPHA}){NOT_COMPILED}"),
    "for-all-to-write": (
        mode(f"{SITE}/alpha/m1.py", 0o666),
        f"{CHANGED}{SITE}/alpha/m1.py ({ALPHA}){NOT_COMPILED}",
    ),
    # -- missing
    "no-bytecode": (drop(f"{CACHE}/m1.cpython-311.pyc"), f"{MISSING}{CACHE}/m1.cpython-311.pyc (its source)"),
    "no-module": (drop(f"{SITE}/alpha/m1.py"), f"{MISSING}{SITE}/alpha/m1.py ({ALPHA}){NOT_COMPILED}"),
    "no-record": (drop(f"{INFO}/RECORD"), f"{MISSING}{INFO}/RECORD ({ALPHA}){NOT_COMPILED}"),
    "no-variables": (
        drop(ENVIRONMENT_PATH),
        f"{MISSING}{ENVIRONMENT_PATH} (envbuilder){NOT_COMPILED}",
    ),
}


OTHERS: dict[str, str] = {}
"""What else is wrong with some of them."""


def verify(room: Room, origin: Origin, archive: Path, *options: str) -> tuple[Outcome, dict[str, Any]]:
    """Verify *archive* without a server; return the outcome and, of its report, the check of origins."""
    report = room.work / "report.json"
    arguments = ("verify", str(archive), "--no-server", "--quiet", "--report", str(report), *options)
    if not (room.store / "origins").exists():
        origin.remember(room.store)
    outcome = room.run(*arguments)
    harmless(outcome, may_write=["work/report.json"], report=report)
    (check,) = [one for one in json.loads(report.read_text())["checks"] if one["id"] == "manifest.origin"]
    return outcome, check


def neutral(text: str) -> str:
    """Leave out which interpreter this machine has."""
    before, middle, after = text.partition(" (CPython ")
    return f"{before}{middle}…){after.partition('))')[2]}" if middle else text


@pytest.mark.parametrize("name", CASES)
def test_what_nobody_accounts_for(room: Room, origin: Origin, name: str) -> None:
    change, found = CASES[name]
    members = read_members(origin.archive)
    change(members)
    archive = repack(members, room.work)
    outcome, check = verify(room, origin, archive, "--lock", str(origin.lock))
    refused(outcome, 7, outcome.error, may_write=["work/report.json"])
    assert outcome.error == f"error: {OTHERS.get(name, '1 check failed: manifest.origin')}"
    assert (check["status"], neutral(check["found"])) == ("failed", found)
    assert (
        check["fix"] == "get the archive from a source you trust, or build it again with `envbuilder build`"
    )


ONE = "1 check failed: manifest.origin"
LIES: dict[str, tuple[Said, str, str]] = {
    "recipe": (say("recipe", "other"), "recipe", ONE),
    "release": (say("release", "24.10"), "release", "2 checks failed: layout.libpython, manifest.origin"),
    "torch": (say("torch", "2.13.0"), "torch", ONE),
    "cuda": (say("cuda", "pypi"), "cuda", ONE),
    "demands": (say("demands", []), "demands", ONE),
    "python": (say("python", "3.11.99"), "python", ONE),
    "version-of-the-interpreter": (say("interpreter.version", "3.11.99"), "python, interpreter", ONE),
    "locked-interpreter": (say("interpreter.locked_digest", "0" * 64), "interpreter", ONE),
    "glibc": (say("glibc", "2.17"), "glibc", ONE),
    "glibcxx": (say("glibcxx", "3.4.1"), "glibcxx", ONE),
    "size": (say("unpacked_size", 1), "unpacked_size", ONE),
    "uncompressed": (say("pack.uncompressed", True), "pack", ONE),
    "excluded": (say("excluded", []), "excluded", ONE),
    "tools": (say("tools", {"evil": "1"}), "tools", ONE),
    "package": (say("packages.0.size", 1), "packages", ONE),
}


ALONE = ("release", "version-of-the-interpreter")
"""One changes what else fails, the other would agree with another lie."""


@pytest.mark.parametrize(
    "names", [*([name] for name in ALONE), [name for name in LIES if name not in ALONE]], ids=[*ALONE, "rest"]
)
def test_a_manifest_that_lies(room: Room, origin: Origin, names: list[str]) -> None:
    """Each field that differs is named, whatever else differs: one archive has nearly all of the lies."""
    fields = {field for name in names for field in LIES[name][1].split(", ")}

    def lie(data: dict[str, Any]) -> None:
        for name in names:
            LIES[name][0](data)

    archive = repack(read_members(origin.archive), room.work, manifest=lie)
    outcome, check = verify(room, origin, archive, "--lock", str(origin.lock))
    refused(outcome, 7, f"error: {LIES[names[0]][2]}", may_write=["work/report.json"])
    begin, _, listed = check["found"].partition(": ")
    assert (check["status"], begin) == ("failed", f"{MANIFEST_PATH} differs from what a build writes")
    assert set(listed.split(", ")) == fields


def test_a_manifest_that_is_written_otherwise(room: Room, origin: Origin) -> None:
    members = read_members(origin.archive)
    archive = repack(members, room.work)
    said = json.dumps(json.loads(members[MANIFEST_PATH][1]))
    add_file(members, MANIFEST_PATH, said.encode())
    archive = pack(members, room.work)
    outcome, check = verify(room, origin, archive, "--lock", str(origin.lock))
    refused(outcome, 7, f"error: {ONE}", may_write=["work/report.json"])
    assert check["found"] == f"{MANIFEST_PATH} differs from what a build writes"


PACKS: dict[str, tuple[object, str]] = {
    "other-keys": ({"level": 4}, "pack is {'level': 4}, not bytecode, level, uncompressed, exclude"),
    "patterns-without-number": (
        {"bytecode": True, "level": 4, "uncompressed": False, "exclude": ["a"] * 1001},
        "pack.exclude is not a list of up to 1000 patterns",
    ),
    "a-pattern-that-takes-forever": (
        {"bytecode": True, "level": 4, "uncompressed": False, "exclude": ["**/" * 40 + "x"]},
        f"pack.exclude: {'**/' * 40 + 'x'!r} has more than 8 wildcards",
    ),
}


@pytest.mark.parametrize("name", PACKS)
def test_options_of_packing_that_are_none(room: Room, origin: Origin, name: str) -> None:
    options, found = PACKS[name]
    archive = repack(read_members(origin.archive), room.work, manifest=say("pack", options))
    outcome, check = verify(room, origin, archive, "--lock", str(origin.lock))
    refused(outcome, 7, f"error: {ONE}", may_write=["work/report.json"])
    assert check["found"] == f"{MANIFEST_PATH}: {found}"


# -- locks and artifacts ---------------------------------------------------------------------------


def test_another_lock(room: Room, origin: Origin) -> None:
    lock = read_lock(origin.lock)
    artifacts = tuple(replace(one, sha256="0" * 64) if one.name == "alpha" else one for one in lock.artifacts)
    write_lock(replace(lock, artifacts=artifacts), room.work / "pylock.small.toml")
    (room.work / "wheelhouse").symlink_to(origin.wheelhouse)
    outcome, check = verify(room, origin, origin.archive, "--lock", str(room.work / "pylock.small.toml"))
    refused(
        outcome, 7, "error: 2 checks failed: manifest.lock, manifest.origin", may_write=["work/report.json"]
    )
    assert check["found"] == f"{MANIFEST_PATH} differs from what a build writes: packages"


def test_another_wheel_under_the_locked_name(room: Room, origin: Origin) -> None:
    wheelhouse = room.work / "wheels"
    shutil.copytree(origin.wheelhouse, wheelhouse)
    (wheelhouse / ALPHA).write_bytes((wheelhouse / "beta-1.0-py3-none-any.whl").read_bytes())
    archive = repack(read_members(origin.archive), room.work)
    _, check = verify(room, origin, archive, "--find-links", str(wheelhouse))
    sha256 = hashlib.sha256((wheelhouse / ALPHA).read_bytes()).hexdigest()
    locked = hashlib.sha256((origin.wheelhouse / ALPHA).read_bytes()).hexdigest()
    assert check["status"] == "warning"
    assert check["found"].startswith(
        f"the origin of 13 files is not known: {ALPHA} "
        f"({wheelhouse / ALPHA} has sha256 {sha256[:12]}, not {locked[:12]}); "
    )


def without(origin: Origin, folder: Path, *names: str) -> Path:
    """A wheelhouse without some wheels."""
    shutil.copytree(origin.wheelhouse, folder / "some")
    for name in names:
        (folder / "some" / name).unlink()
    return folder / "some"


def test_a_wheel_that_is_not_here(room: Room, origin: Origin) -> None:
    archive = repack(read_members(origin.archive), room.work)
    _, check = verify(room, origin, archive, "--find-links", str(without(origin, room.work, ALPHA)))
    assert check["status"] == "warning"
    assert check["found"].startswith(
        f"the origin of 13 files is not known: {ALPHA} (it is neither in the store nor in a wheelhouse); "
    )
    assert check["fix"] == "fetch the artifacts with `envbuilder lock --fetch`, and verify there with --lock"


def test_what_a_wheel_that_is_not_here_does_not_claim(room: Room, origin: Origin) -> None:
    members = read_members(origin.archive)
    add_file(members, f"{SITE}/evil.pth", b"import os\n")
    archive = repack(members, room.work)
    outcome, check = verify(room, origin, archive, "--find-links", str(without(origin, room.work, ALPHA)))
    refused(outcome, 7, f"error: {ONE}", may_write=["work/report.json"])
    assert check["found"] == f"{FOREIGN}{SITE}/evil.pth{NOT_COMPILED}"


def test_an_interpreter_that_is_not_here(room: Room, origin: Origin) -> None:
    said = both_say(say("interpreter.digest", "0" * 64), say("interpreter.locked_digest", "0" * 64))
    members = read_members(origin.archive)
    add_file(members, "bin/evil", b"#!/bin/sh\n", 0o755)
    archive = repack(members, room.work, manifest=said)
    _, check = verify(room, origin, archive, "--find-links", str(origin.wheelhouse))
    assert check["status"] == "warning"
    assert neutral(check["found"]).startswith("the origin of 37 files is not known: ")
    add_file(members, f"{SITE}/evil.pth", b"import os\n")
    archive = repack(members, room.work, manifest=said)
    outcome, check = verify(room, origin, archive, "--find-links", str(origin.wheelhouse))
    refused(outcome, 7, f"error: {ONE}", may_write=["work/report.json"])
    assert check["found"].startswith(f"{FOREIGN}{SITE}/evil.pth")


def test_bytecode_that_an_unknown_interpreter_compiles_otherwise(room: Room, origin: Origin) -> None:
    said = both_say(say("interpreter.digest", "0" * 64), say("interpreter.locked_digest", "0" * 64))
    members = read_members(origin.archive)
    copy(f"{CACHE}/m2.cpython-311.pyc", f"{CACHE}/m1.cpython-311.pyc")(members)
    archive = repack(members, room.work, manifest=said)
    outcome, check = verify(room, origin, archive, "--find-links", str(origin.wheelhouse))
    refused(outcome, 7, f"error: {ONE}", may_write=["work/report.json"])
    assert check["found"] == f"{CHANGED}{CACHE}/m1.cpython-311.pyc (its source)"


def test_another_interpreter_than_the_locked_one(room: Room, origin: Origin) -> None:
    archive = repack(read_members(origin.archive), room.work, manifest=say("interpreter.digest", "0" * 64))
    outcome, check = verify(room, origin, archive, "--lock", str(origin.lock))
    refused(outcome, 7, f"error: {ONE}", may_write=["work/report.json"])
    assert "(host, 000000000000) in place of the locked CPython" in check["found"]
    assert check["found"].endswith(", which is not on this machine")


def test_no_artifact_is_here(room: Room, origin: Origin) -> None:
    said = both_say(say("interpreter.digest", "0" * 64), say("interpreter.locked_digest", "0" * 64))
    archive = repack(read_members(origin.archive), room.work, manifest=said)
    _, check = verify(room, origin, archive)
    assert check["status"] == "omitted"
    assert check["found"].startswith(f"not known: {ALPHA} (it is neither in the store nor in a wheelhouse), ")


def test_sound(room: Room, origin: Origin) -> None:
    for options in (("--lock", str(origin.lock)), ("--find-links", str(origin.wheelhouse))):
        _, check = verify(room, origin, origin.archive, *options)
        assert check["status"] == "passed", check
        assert re.fullmatch(
            r"105 files: 29 from 4 wheels, 35 from CPython 3\.11\.\d+ \(.*\), 35 compiled again, 6 from envbuilder",
            check["found"],
        )
