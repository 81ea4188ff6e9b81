"""The parts of an archive found in its bytes, as the build that wrote it knew them."""

from __future__ import annotations

import dataclasses
import gzip
from pathlib import Path

import pytest

from envbuilder.archive.plan import Part, find_plan
from envbuilder.archive.reader import StreamError
from envbuilder.errors import IntegrityError
from envbuilder.images.split import Members, split_archive
from envbuilder.store.session import Session
from tests.helpers.small import Small
from tests.helpers.wheels import small_lock


def test_an_archive_is_split_where_the_build_put_its_parts(small: Small, session: Session) -> None:
    report = small.build(store=session.store)
    plan = find_plan(session.store, report.sha256)
    assert plan is not None
    split = split_archive(report.archive, report.manifest)
    assert split == unkeyed(plan.parts)


def test_a_plain_archive_and_one_without_wheels_are_split_too(small: Small, session: Session) -> None:
    bare = dataclasses.replace(small, lock=small_lock(small.recipe, [], small.lock.interpreter))
    report = bare.build(store=session.store)
    plan = find_plan(session.store, report.sha256)
    assert plan is not None
    assert split_archive(report.archive, report.manifest) == unkeyed(plan.parts)

    packed = small.build(store=session.store)
    plain = small.with_pack(uncompressed=True).build(store=session.store)
    expected = split_archive(packed.archive, packed.manifest)
    found = split_archive(plain.archive, plain.manifest)
    assert [(part.label, part.folders) for part in found] == [(part.label, part.folders) for part in expected]
    places = [(part.offset, part.offset + part.size) for part in found]
    assert [begin for begin, _ in places] == [0, *(end for _, end in places[:-1])]


def unkeyed(parts: tuple[Part, ...]) -> tuple[Part, ...]:
    return tuple(dataclasses.replace(part, key="") for part in parts)


# -- what this tool did not write ------------------------------------------------------------------

UNKNOWN = r"is not packed as this envbuilder packs: "


def test_an_archive_that_was_compressed_anew_has_no_parts(small: Small) -> None:
    report = small.build()
    report.archive.write_bytes(gzip.compress(gzip.decompress(report.archive.read_bytes()), 1))
    with pytest.raises(IntegrityError, match=UNKNOWN + "base is not compressed by itself\n"):
        split_archive(report.archive, report.manifest)


def test_a_wheel_that_is_not_in_it(small: Small) -> None:
    report = small.build()
    gamma = dataclasses.replace(report.manifest.packages[0], filename="gamma-1.0-py3-none-any.whl")
    manifest = dataclasses.replace(report.manifest, packages=(*report.manifest.packages, gamma))
    said = UNKNOWN + r"the RECORD of gamma-1\.0-py3-none-any\.whl is not where it should be\n"
    with pytest.raises(IntegrityError, match=said):
        split_archive(report.archive, manifest)
    swapped = dataclasses.replace(report.manifest, packages=report.manifest.packages[::-1])
    with pytest.raises(IntegrityError, match=UNKNOWN + "the RECORD of alpha-1"):
        split_archive(report.archive, swapped)


@pytest.mark.parametrize("kept", [0.0, 0.3, 0.9])
def test_an_archive_that_is_cut_off_cannot_be_read(small: Small, kept: float) -> None:
    report = small.build()
    data = report.archive.read_bytes()
    report.archive.write_bytes(data[: int(len(data) * kept)])
    with pytest.raises(IntegrityError):
        split_archive(report.archive, report.manifest)


# -- members of gzip -------------------------------------------------------------------------------


def test_members_are_one_stream_with_places(tmp_path: Path) -> None:
    first, second = gzip.compress(b"one"), gzip.compress(b"second")
    path = tmp_path / "members"
    path.write_bytes(first + second)
    with path.open("rb") as file:
        stream = Members(file, plain=False)
        assert (stream.read(2), stream.skip(2), stream.read(100), stream.read(1)) == (b"on", 2, b"econd", b"")
        assert stream.places == {0: 0, 3: len(first), 9: len(first + second)}
        assert (stream.place(3), stream.place(4)) == (len(first), None)
    with path.open("rb") as file:
        plain = Members(file, plain=True)
        assert (plain.skip(3), plain.place(5)) == (3, 5)
        plain.drain()
        assert plain.read(1) == b""


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"no gzip at all", "its gzip stream is damaged: "),
        (gzip.compress(b"x" * 1000)[:-9], "it is truncated: its gzip stream is incomplete"),
        (gzip.compress(b"x") + b"more", "its gzip stream is damaged: "),
    ],
    ids=["no gzip", "cut off", "more behind it"],
)
def test_members_that_are_none(tmp_path: Path, data: bytes, said: str) -> None:
    path = tmp_path / "members"
    path.write_bytes(data)
    with path.open("rb") as file, pytest.raises(StreamError, match=said):
        Members(file, plain=False).drain()
