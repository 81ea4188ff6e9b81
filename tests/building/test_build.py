from __future__ import annotations

import dataclasses
import errno
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from envbuilder.archive import write as archive_module
from envbuilder.archive.manifest import manifest_beside, parse_manifest, read_manifest
from envbuilder.archive.segment import Segment
from envbuilder.assemble.assembler import Assembler
from envbuilder.base.interpreter import Interpreter, describe
from envbuilder.building.record import BuildReport
from envbuilder.errors import AssembleError, FetchError, IntegrityError
from envbuilder.inventory.kept import kept_for
from envbuilder.lockfile.digest import lock_digest
from envbuilder.store.local import Store
from envbuilder.util.files import file_sha256
from tests.conftest import REPOSITORY
from tests.helpers.notes import Notes
from tests.helpers.small import Small, little, make_small, save
from tests.helpers.wheels import (
    Zipped,
    small_lock,
    small_recipe,
    wheel_members,
    write_artifact,
    write_wheel,
    zip_bytes,
)


@pytest.fixture
def small(tmp_path: Path, python311: Interpreter) -> Small:
    return make_small(tmp_path, python311)


def visible(folder: Path) -> list[str]:
    """List what a user sees in a folder of archives."""
    return sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))


def hidden(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name.startswith("."))


def segments_of(store: Store) -> dict[str, Path]:
    """Return the folder of each segment in a store by its label."""
    return {
        json.loads((path / "segment.json").read_bytes().partition(b"\n")[2])["label"]: path
        for path in (store.root / "segments").glob("*/*")
    }


def flip(path: Path, position: int) -> None:
    with path.open("r+b") as file:
        file.seek(position)
        (byte,) = file.read(1)
        file.seek(position)
        file.write(bytes((byte ^ 16,)))


# -- what is built ---------------------------------------------------------------------------------


def test_an_archive_and_its_manifest(small: Small) -> None:
    report = small.build()
    assert report.archive == small.output / f"small-{report.sha256[:12]}.tar.gz"
    assert visible(small.output) == [f"small-{report.sha256[:12]}.json", report.archive.name]
    assert hidden(small.output) == []
    assert (file_sha256(report.archive), report.archive.stat().st_size) == (report.sha256, report.size)
    assert (report.already_there, report.segments_made, report.segments_total) == (False, 4, 4)
    manifest = report.manifest
    assert read_manifest(manifest_beside(report.archive)) == manifest
    assert [package.name for package in manifest.packages] == ["alpha", "beta"]
    assert manifest.interpreter.digest == manifest.interpreter.locked_digest == small.lock.interpreter.digest
    assert manifest.lock_digest == lock_digest(small.lock)
    with tarfile.open(report.archive) as tar:
        members = {member.name: member for member in tar.getmembers()}
        assert len(members) == len(tar.getmembers())
        inside = tar.extractfile("share/envbuilder/manifest.json")
        assert inside is not None
        assert inside.read() == manifest_beside(report.archive).read_bytes()
        for file in manifest.files:
            member = members.pop(file.path)
            if file.link is not None:
                assert (member.linkname, member.issym()) == (file.link, True)
                continue
            content = tar.extractfile(member)
            assert content is not None
            assert (member.size, member.mode) == (file.size, file.mode)
            assert hashlib.sha256(content.read()).hexdigest() == file.sha256
    assert set(members) == {"share/envbuilder/manifest.json"}
    paths = [file.path for file in manifest.files]
    site = "lib/python3.11/site-packages"
    assert paths == sorted(paths)
    assert {"bin/activate", "bin/alpha", "bin/python3.11", "conda-meta/history"} <= set(paths)
    assert f"{site}/alpha/__pycache__/m7.cpython-311.pyc" in paths
    assert manifest.unpacked_size == sum(file.size for file in manifest.files)


def test_a_build_whose_archive_is_there_says_so_at_once(small: Small) -> None:
    first = small.build()
    status = first.archive.stat()
    again = small.build()
    assert again == dataclasses.replace(first, already_there=True, segments_made=0)
    assert again.archive.stat().st_mtime_ns == status.st_mtime_ns


@pytest.mark.parametrize(
    "damage",
    [
        lambda report: flip(report.archive, 500),
        lambda report: report.archive.write_bytes(b""),
        lambda report: report.archive.unlink(),
        lambda report: manifest_beside(report.archive).write_text(
            report.manifest.text().replace("0.7.0", "0.7.1")
        ),
        lambda report: manifest_beside(report.archive).unlink(),
    ],
)
def test_an_archive_that_is_not_what_it_was_is_built_again(
    small: Small, damage: Callable[[BuildReport], None]
) -> None:
    first = small.build()
    manifest = manifest_beside(first.archive).read_bytes()
    damage(first)
    again = small.build()
    assert again == dataclasses.replace(first, segments_made=0)
    assert file_sha256(again.archive) == first.sha256
    assert manifest_beside(again.archive).read_bytes() == manifest


@pytest.mark.parametrize(
    "record", [b"", b"[]", b"{}", b'{"archive": 5, "size": 1}', b'{"archive": "x"}', b"\xff"]
)
def test_a_record_of_a_build_that_cannot_be_read_counts_for_nothing(small: Small, record: bytes) -> None:
    first = small.build()
    (entry,) = (small.folder / "store" / "builds").glob("*/*")
    entry.write_bytes(record)
    assert small.build() == dataclasses.replace(first, segments_made=0)


def test_an_archive_that_is_right_is_not_touched_though_its_record_is_gone(small: Small) -> None:
    first = small.build()
    before = first.archive.stat().st_mtime_ns
    assert small.build(store=small.store("other")).sha256 == first.sha256
    assert first.archive.stat().st_mtime_ns == before


def test_uncompressed_is_a_plain_tar(small: Small) -> None:
    packed = small.build()
    plain = small.with_pack(uncompressed=True).build()
    assert plain.archive.suffix == ".tar"
    with tarfile.open(packed.archive) as one, tarfile.open(plain.archive, "r:") as other:
        differ = {
            a.name
            for a, b in zip(one.getmembers(), other.getmembers(), strict=True)
            if (a.name, a.size, a.mode) != (b.name, b.size, b.mode)
        }
    assert differ <= {"share/envbuilder/manifest.json"}


# -- the same bytes --------------------------------------------------------------------------------


def test_the_same_bytes_whatever_threads_store_folder_and_umask(small: Small, tmp_path: Path) -> None:
    first = small.build(threads=1)
    again = small.build(threads=4, store=small.store("empty"), output=tmp_path / "elsewhere")
    assert again.segments_made == 4
    assert again.sha256 == first.sha256
    assert small.build(threads=4, output=tmp_path / "full").segments_made == 0
    before = os.umask(0o077)
    try:
        private = small.build(store=small.store("private"), output=tmp_path / "private")
    finally:
        os.umask(before)
    assert private.sha256 == first.sha256
    assert private.archive.stat().st_mode & 0o777 == 0o600
    assert first.archive.stat().st_mode & 0o777 == 0o644
    assert sorted(os.listdir(tmp_path / "full")) == sorted(os.listdir(small.output))


def test_another_user_gets_the_same_bytes(small: Small) -> None:
    expected = small.build()
    shutil.rmtree(small.folder / "store")
    first = expected.archive.rename(small.folder / "first")
    save(small)
    # In a user namespace: another number and no name, but the right to read this user's interpreter.
    process = start(small, "unshare", "--user", "--map-user=1234", "--map-group=1234")
    out, said = process.communicate(timeout=60)
    assert process.returncode == 0, said
    archive = Path(out.strip())
    assert (archive.name, file_sha256(archive)) == (expected.archive.name, file_sha256(first))


def test_segments_are_for_everyone_to_read_that_the_umask_lets(small: Small) -> None:
    before = os.umask(0o022)
    try:
        small.build()
    finally:
        os.umask(before)
    secret = small.folder / "store" / "proofs.secret"
    assert secret.stat().st_mode & 0o077 == 0
    for path in (small.folder / "store").rglob("*"):
        assert path == secret or path.stat().st_mode & 0o044 == 0o044, path


@pytest.mark.parametrize("options", [{"level": 9}, {"bytecode": False}, {"exclude": None}])
def test_what_is_packed_otherwise_is_another_archive(small: Small, options: dict[str, object]) -> None:
    first = small.build()
    if "exclude" in options:
        options = {"exclude": (*(small.recipe.pack.exclude or ()), "**/m1*.py")}
    other = small.with_pack(**options).build()
    assert not other.already_there
    assert other.segments_made == 4
    assert other.sha256 != first.sha256


def test_one_changed_wheel_leaves_the_other_segments_as_they_are(small: Small) -> None:
    small.build()
    changed = write_wheel(small.wheelhouse, "beta", "2.0", {"beta.py": b"import beta\n"})
    lock = small_lock(small.recipe, [small.lock.artifacts[0], changed], small.lock.interpreter)
    report = dataclasses.replace(small, lock=lock).build()
    assert (report.segments_made, report.segments_total) == (1, 4)


# -- two wheels, one path --------------------------------------------------------------------------


def two(small: Small, one: dict[str, bytes], other: dict[str, bytes]) -> Small:
    wheels = [
        write_wheel(small.wheelhouse, "one", files=one),
        write_wheel(small.wheelhouse, "two", files=other),
    ]
    return dataclasses.replace(small, lock=small_lock(small.recipe, wheels, small.lock.interpreter))


def test_the_same_bytes_are_there_once(small: Small) -> None:
    same = {"shared/x.py": b"x = 1\n", "shared/big.bin": random.Random(1).randbytes(50_000)}
    pair = two(small, {**same, "one.py": b""}, {**same, "two.py": b""})
    first = pair.build()
    with tarfile.open(first.archive) as tar:
        names = tar.getnames()
        record = tar.extractfile("lib/python3.11/site-packages/two-1.0.dist-info/RECORD")
        assert record is not None
        assert b"\nshared/x.py,sha256=" in b"\n" + record.read()
    assert len(names) == len(set(names))
    assert sum(name.endswith("shared/x.py") for name in names) == 1
    assert sum(name.endswith("shared/__pycache__/x.cpython-311.pyc") for name in names) == 1
    # Whichever wheel arrives first: the store has the second one's already, whole or without what is shared.
    assert pair.build(store=pair.store("again"), output=pair.folder / "again").sha256 == first.sha256
    late = pair.store("late")
    with late.artifact_writer(pair.lock.artifacts[1].sha256) as writer:
        writer.write((pair.wheelhouse / pair.lock.artifacts[1].filename).read_bytes())
    assert pair.build(store=late, output=pair.folder / "late").sha256 == first.sha256


def test_different_bytes_are_an_error_that_names_both(small: Small) -> None:
    pair = two(small, {"shared.py": b"x = 1\n"}, {"shared.py": b"x = 2\n"})
    with pytest.raises(AssembleError) as caught:
        pair.build()
    assert caught.value.message == (
        "lib/python3.11/site-packages/shared.py is in one-1.0-py3-none-any.whl and, with different content, in "
        "two-1.0-py3-none-any.whl"
    )
    assert caught.value.exit_code == 6
    assert not small.output.exists()


def test_a_wheel_that_brings_a_file_of_the_base(small: Small) -> None:
    pair = two(small, {"one-1.0.data/scripts/activate": b"#!/bin/sh\n"}, {})
    with pytest.raises(AssembleError) as caught:
        pair.build()
    # The activation is last in the archive.
    assert (
        caught.value.message
        == "bin/activate is in activation and, with different content, in one-1.0-py3-none-any.whl"
    )


# -- damage in the store ---------------------------------------------------------------------------


def damaged_wheel(small: Small, position: Callable[[int], int]) -> Path:
    artifact = small.lock.artifacts[0]
    path = small.folder / "store" / "artifacts" / artifact.sha256[:2] / artifact.sha256
    flip(path, position(artifact.size))
    return path


@pytest.mark.parametrize("fraction", [0.0, 0.1, 0.5, 0.9, 0.999])
def test_a_flipped_bit_in_a_wheel_with_its_segment(small: Small, fraction: float) -> None:
    first = small.build()
    first.archive.unlink()
    path = damaged_wheel(small, lambda size: int(size * fraction))
    notes = Notes()
    again = small.build(reporter=notes, store=small.store())
    assert file_sha256(again.archive) == first.sha256
    spliced = 0.1 <= fraction <= 0.9  # the rest of it goes into no archive
    assert notes.notes == (
        ["alpha-1.0-py3-none-any.whl in the store was damaged; fetching it again"] if spliced else []
    )
    assert not spliced or file_sha256(path) == small.lock.artifacts[0].sha256


@pytest.mark.parametrize("where", ["start", "stream", "directory", "modes", "end"])
def test_a_flipped_bit_in_a_wheel_that_is_assembled(small: Small, where: str) -> None:
    first = small.build()
    first.archive.unlink()
    path = (
        small.folder
        / "store"
        / "artifacts"
        / small.lock.artifacts[0].sha256[:2]
        / small.lock.artifacts[0].sha256
    )
    data = path.read_bytes()
    directory = data.index(b"PK\x01\x02")
    # Bits of a mode are told nowhere twice: nothing but the sha256 of the wheel shows that they changed.
    position = {
        "start": 0,
        "stream": len(data) // 2,
        "directory": directory + 20,
        "modes": directory + 40,
        "end": len(data) - 4,
    }
    flip(path, position[where])
    fresh = small.store()
    for kind in ("segments", "listings"):
        for entry in fresh.entries():
            if entry.kind == kind:
                fresh.remove(kind, entry.key)
    notes = Notes()
    again = small.build(reporter=notes, store=fresh)
    assert file_sha256(again.archive) == first.sha256
    assert notes.notes == ["alpha-1.0-py3-none-any.whl in the store was damaged; fetching it again"]
    assert file_sha256(path) == small.lock.artifacts[0].sha256


@pytest.mark.parametrize("label", ["base", "activation", "alpha-1.0-py3-none-any.whl"])
@pytest.mark.parametrize("name", ["literals", "segment.json"])
@pytest.mark.parametrize("fraction", [0.01, 0.6])
def test_a_flipped_bit_in_a_segment(small: Small, label: str, name: str, fraction: float) -> None:
    first = small.build()
    first.archive.unlink()
    folder = segments_of(small.store())[label]
    path = folder / name
    whole = path.read_bytes()
    flip(path, int(len(whole) * fraction))
    notes = Notes()
    again = small.build(reporter=notes)
    assert file_sha256(again.archive) == first.sha256
    assert path.read_bytes() == whole
    what = f" ({folder.name[:12]}: the list of pieces has changed)" if name == "segment.json" else ""
    assert notes.notes == [f"the segment of {label} in the store was damaged{what}; rebuilding it"]


def test_what_is_damaged_and_not_to_be_had_again(small: Small) -> None:
    first = small.build()
    first.archive.unlink()
    damaged_wheel(small, lambda size: size // 2)
    (small.wheelhouse / small.lock.artifacts[0].filename).unlink()
    with pytest.raises(FetchError) as caught:
        small.build(store=small.store())
    assert caught.value.message.startswith("alpha-1.0-py3-none-any.whl (sha256 ")
    assert visible(small.output) == [manifest_beside(first.archive).name]


def test_a_disk_that_is_not_sound(small: Small, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive_module.HashedFile, "copy", lambda *_: -1)  # the disk
    with pytest.raises(IntegrityError) as caught:
        small.build()
    assert caught.value.message == "base: its content in the store changed while it was being read"
    assert caught.value.hint == f"check the disk under {small.folder / 'store'}"
    assert caught.value.exit_code == 5


@pytest.mark.parametrize("cut", [True, False])
def test_a_wheel_that_changes_while_it_is_read(
    small: Small, monkeypatch: pytest.MonkeyPatch, cut: bool
) -> None:
    artifact = small.lock.artifacts[0]
    place = small.folder / "store" / "artifacts" / artifact.sha256[:2] / artifact.sha256
    bytecode = Assembler.bytecode  # where another process steps in
    changed: list[Path] = []

    def change(self: Assembler, entries: list[object], wheel: object) -> object:
        if wheel is not None and not changed and place.exists():
            changed.append(place)
            if cut:
                os.truncate(place, artifact.size // 2)
            else:
                flip(place, artifact.size // 2)
        return bytecode(self, entries, wheel)  # type: ignore[arg-type]  # passed on as it came

    monkeypatch.setattr(Assembler, "bytecode", change)
    notes = Notes()
    report = small.build(reporter=notes)
    assert changed
    assert notes.notes == ["alpha-1.0-py3-none-any.whl in the store was damaged; fetching it again"]
    monkeypatch.undo()
    assert small.build(store=small.store("other"), output=small.folder / "other").sha256 == report.sha256


def test_the_store_is_deleted_while_an_archive_is_packed(
    small: Small, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = small.build(output=small.folder / "first")
    write = archive_module.write_segment  # where another process steps in
    deleted: list[Segment] = []

    def delete(segment: Segment, *rest: object) -> None:
        if not deleted:
            deleted.append(segment)
            # At once: another thread of the build may write into it meanwhile.
            gone = (small.folder / "store").rename(small.folder / "gone")
            shutil.rmtree(gone)
        write(segment, *rest)  # type: ignore[arg-type]  # passed on as it came

    monkeypatch.setattr(archive_module, "write_segment", delete)
    notes = Notes()
    report = small.build(reporter=notes)
    assert deleted
    assert notes.notes != []
    assert file_sha256(report.archive) == first.sha256
    assert hidden(small.output) == []


def test_a_limit_smaller_than_one_build_is_no_obstacle(small: Small) -> None:
    store = dataclasses.replace(small.store(), limit=1000)
    first = small.build(store=store)
    assert sum(entry.size for entry in store.entries()) <= 1000
    assert small.build(store=store, output=small.folder / "again").sha256 == first.sha256


def test_a_read_only_store_is_built_from(small: Small, monkeypatch: pytest.MonkeyPatch) -> None:
    first = small.build()
    before = sorted((small.folder / "store").rglob("*"))
    overflow = small.folder / "overflow"
    overflow.mkdir()
    store = Store(root=small.folder / "store", readonly=True, overflow=overflow)
    report = small.build(store=store, output=small.folder / "other")
    assert (report.sha256, report.segments_made) == (first.sha256, 0)
    # Nothing can be taken from its place: what is damaged is made anew, for this build.
    flip(segments_of(store)["base"] / "literals", 3000)
    notes = Notes()
    store = Store(root=small.folder / "store", readonly=True, overflow=overflow)
    assert small.build(store=store, output=small.folder / "third", reporter=notes).sha256 == first.sha256
    assert notes.notes == ["the segment of base in the store was damaged; rebuilding it"]
    assert sorted((small.folder / "store").rglob("*")) == before


# -- the interpreter -------------------------------------------------------------------------------


def test_another_interpreter_than_the_locked_one(small: Small, python311: Interpreter) -> None:
    locked = dataclasses.replace(small.lock.interpreter, version="3.11.99", digest="ab" * 32)
    other = dataclasses.replace(small, lock=dataclasses.replace(small.lock, interpreter=locked))
    here = small.lock.interpreter
    with pytest.raises(IntegrityError) as caught:
        other.build()
    text = (
        f"the lock was made with CPython 3.11.99 ({here.origin}, abababababab), this machine has "
        f"{here.version} ({here.origin}, {here.digest[:12]}) in {python311.prefix}"
    )
    assert caught.value.message == text
    assert caught.value.hint == (
        "install the locked one, or use this one with --interpreter-change, or lock again"
    )
    assert caught.value.exit_code == 5
    assert not small.output.exists()
    notes = Notes()
    report = other.build(interpreter_change=True, reporter=notes)
    assert notes.notes == [f"{text}: used, as --interpreter-change allows"]
    assert report.manifest.interpreter.digest == here.digest
    assert report.manifest.interpreter.locked_digest == "ab" * 32


# -- wheels that are none --------------------------------------------------------------------------


def test_a_wheel_whose_directory_lies(small: Small) -> None:
    members = wheel_members("liar", "1.0", {"x": Zipped(name="x", data=b"x" * 99, central={"crc": 1})})
    liar = write_artifact(small.wheelhouse, "liar", "1.0", zip_bytes(members))
    lock = small_lock(small.recipe, [*small.lock.artifacts, liar], small.lock.interpreter)
    with pytest.raises(AssembleError) as caught:
        dataclasses.replace(small, lock=lock).build()
    assert caught.value.message == (
        "liar-1.0-py3-none-any.whl is not a valid zip: x: its own header and the central directory differ"
    )
    assert not small.output.exists()
    assert list((small.folder / "store" / "tmp").iterdir()) == []


def test_an_empty_wheel_and_one_of_empty_files(small: Small) -> None:
    wheels = [
        write_wheel(small.wheelhouse, "nothing", files={}),
        write_wheel(small.wheelhouse, "empties", files={"e/__init__.py": b"", "e/x": b""}),
    ]
    lock = small_lock(small.recipe, wheels, small.lock.interpreter)
    report = dataclasses.replace(small, lock=lock).build()
    assert report.segments_made == 4


@pytest.mark.slow
def test_a_wheel_of_20000_tiny_files(small: Small) -> None:
    many = write_wheel(
        small.wheelhouse, "many", files={f"many/{n % 97}/{n}.txt": b"%d" % n for n in range(20_000)}
    )
    lock = small_lock(small.recipe, [many], small.lock.interpreter)
    report = dataclasses.replace(small, lock=lock).build()
    with tarfile.open(report.archive) as tar:
        assert sum("/many/" in name for name in tar.getnames()) == 20_000


# -- folders and disks -----------------------------------------------------------------------------


def test_an_output_folder_that_is_a_file(small: Small) -> None:
    small.output.write_text("")
    with pytest.raises(AssembleError) as caught:
        small.build()
    assert caught.value.message == f"the folder {small.output} cannot be created: File exists"
    assert caught.value.exit_code == 6


def test_an_output_folder_that_cannot_be_written(small: Small, tmpfs: Callable[..., Path]) -> None:
    output = tmpfs("envs", "ro,size=1m")
    with pytest.raises(AssembleError) as caught:
        small.build(output=output)
    assert caught.value.message == f"the folder {output} cannot be written: Read-only file system"


def test_a_read_only_file_system_under_the_store(small: Small, tmpfs: Callable[..., Path]) -> None:
    first = small.build()
    root = tmpfs("mounted", "size=64m")
    subprocess.run(["cp", "-a", f"{small.folder}/store/.", root], check=True)
    subprocess.run(["mount", "-o", "remount,ro", root], check=True)
    store = Store.open(root)
    assert store.readonly
    assert small.build(store=store, output=small.folder / "other").sha256 == first.sha256


def test_no_space_for_the_archive(small: Small, tmpfs: Callable[..., Path]) -> None:
    output = tmpfs("tiny", "size=256k")
    with pytest.raises(AssembleError) as caught:
        small.build(output=output)
    store = small.folder / "store"
    assert caught.value.message.startswith(f"no space left to build small: 0 MiB in {output} and ")
    assert caught.value.message.endswith(f" MiB in {store} free")
    assert caught.value.hint == (
        "`envbuilder store prune` or ENVBUILDER_CACHE for the store, --output for archives"
    )
    assert caught.value.exit_code == 6
    assert list(output.iterdir()) == []
    assert small.build().segments_made == 0  # the segments are there, the archive fits elsewhere


@pytest.mark.parametrize("size", ["60k", "300k", "430k", "450k"])
def test_no_space_in_the_store(small: Small, tmpfs: Callable[..., Path], size: str) -> None:
    root = tmpfs("full", f"size={size}")
    with pytest.raises((AssembleError, FetchError)) as caught:
        small.build(store=Store.open(root))
    assert "no space left" in caught.value.message.lower()
    assert list((root / "tmp").iterdir()) == []
    assert not small.output.exists()
    # What did get in is whole: with more room the same command goes on.
    subprocess.run(["mount", "-o", "remount,size=100m", root], check=True)
    notes = Notes()
    report = small.build(store=Store.open(root), reporter=notes)
    assert notes.notes == []
    assert file_sha256(report.archive) == report.sha256


def test_a_wheel_in_the_store_that_cannot_be_read(small: Small, monkeypatch: pytest.MonkeyPatch) -> None:
    first = small.build()
    first.archive.unlink()
    artifact = small.lock.artifacts[0]
    place = small.folder / "store" / "artifacts" / artifact.sha256[:2] / artifact.sha256
    open_ = Path.open

    def refuse(self: Path, *arguments: object, **options: object) -> object:
        if self == place:
            raise PermissionError(errno.EACCES, "Permission denied", str(self))
        return open_(self, *arguments, **options)  # type: ignore[call-overload]  # passed on as it came

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(AssembleError) as caught:
        small.build()
    assert caught.value.message == f"small cannot be built: Permission denied: {place}"
    assert hidden(small.output) == []


# -- killed, and several at once -------------------------------------------------------------------


def start(small: Small, *prefix: str) -> subprocess.Popen[str]:
    environment = {
        **os.environ,
        "ENVBUILDER_CACHE": str(small.folder / "none"),
        "PYTHONPATH": str(REPOSITORY),
    }
    return subprocess.Popen(
        [*prefix, sys.executable, "-m", "tests.helpers.small", str(small.folder)],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_killed_at_any_moment_and_begun_again(small: Small, number: signal.Signals) -> None:
    save(small)
    expected = small.build(store=small.store("other"), output=small.folder / "expected")
    noise = random.Random(number)
    store = small.folder / "store"
    stages = {stage: (store / stage, "*/*") for stage in ("artifacts", "listings", "segments")}
    stages["packing"] = (small.output, ".*/archive")
    for stage, (folder, pattern) in stages.items():
        subprocess.run(["rm", "-rf", small.output, store / "builds"], check=True)
        process = start(small)
        # When the first thing of this kind is in the store, or a little later.
        until = time.monotonic() + 30
        while process.poll() is None and time.monotonic() < until:
            if any(folder.glob(pattern)):
                time.sleep(noise.random() * (0.02 if stage == "packing" else 0.1))
                break
            time.sleep(0.002)
        process.send_signal(number)
        said = process.communicate(timeout=30)[1]
        assert process.returncode in (0, -number, 1, 130), said
        for name in visible(small.output) if small.output.exists() else []:
            if name.endswith(".tar.gz"):
                assert file_sha256(small.output / name) == expected.sha256
        if number == signal.SIGINT and small.output.exists():
            assert hidden(small.output) == []
            # (In the store's own tmp a folder may stay that was just being made: the next build sweeps it, see below.)
        subprocess.run(["rm", "-rf", store / stage], check=True)
    notes = Notes()  # what a killed one left is swept by the next
    report = small.build(reporter=notes)
    assert file_sha256(report.archive) == expected.sha256
    assert notes.notes == []
    assert hidden(small.output) == []
    assert list((small.folder / "store" / "tmp").iterdir()) == []


def test_several_at_once_share_a_store_and_an_output_folder(small: Small) -> None:
    save(small)
    running = [start(small) for _ in range(3)]
    said = [process.communicate(timeout=120) for process in running]
    assert [process.returncode for process in running] == [0, 0, 0], said
    (archive,) = {out.strip() for out, _ in said}
    report = small.build()
    assert (report.already_there, str(report.archive)) == (True, archive)
    assert hidden(small.output) == []
    assert len(visible(small.output)) == 2


# -- what packages import of what rules leave out --------------------------------------------------


def _importing(tmp_path: Path, python311: Interpreter) -> Small:
    """A small environment with default rules for its packages: ``alpha`` imports tests of its own and of ``beta``."""
    tests = {f"beta/tests/{name}.py": b"" for name in ("__init__", "helper", "test_a")}
    wheels = [
        write_wheel(
            tmp_path / "wheels",
            "alpha",
            files={
                "alpha/__init__.py": b"from .tests import helper\nimport beta.tests.helper\n",
                "alpha/tests/__init__.py": b"",
                "alpha/tests/helper.py": b"",
                "alpha/tests/test_a.py": b"import pytest\n",
            },
        ),
        write_wheel(tmp_path / "wheels", "beta", files={"beta/__init__.py": b"", **tests}),
    ]
    pack = little(python311)
    rule = "lib/python3.*/site-packages/**/tests/**"
    recipe = small_recipe(tmp_path, pack=dataclasses.replace(pack, exclude=(*(pack.exclude or ()), rule)))
    return Small(folder=tmp_path, recipe=recipe, lock=small_lock(recipe, wheels, describe(python311)))


def test_what_packages_import_is_kept_and_told(tmp_path: Path, python311: Interpreter) -> None:
    small = _importing(tmp_path, python311)
    first = small.build()
    site = "lib/python3.11/site-packages"
    assert {kept.path: kept.imported_by for kept in first.manifest.kept} == {
        f"{site}/{name}/tests/{file}.py": "alpha"
        for name in ("alpha", "beta")
        for file in ("__init__", "helper")
    }
    files = {file.path for file in first.manifest.files}
    assert f"{site}/beta/tests/helper.py" in files
    assert not [path for path in files if "test_a" in path]
    record = (f"{site}/beta-1.0.dist-info/RECORD", "beta/tests/helper.py,")
    with tarfile.open(first.archive) as tar:
        member = tar.extractfile(record[0])
        assert member is not None
        assert record[1] in member.read().decode()
    assert kept_for(first.manifest.kept) == [
        "alpha/tests (2 files): alpha imports it",
        "beta/tests (2 files): alpha imports it",
    ]
    # With all of it at hand, with other stores and threads: the same bytes.
    assert small.build(output=tmp_path / "again", threads=1).sha256 == first.sha256
    assert small.build(output=tmp_path / "third", store=small.store("other")).sha256 == first.sha256
    assert parse_manifest(first.manifest.text(), where="it") == first.manifest
