from __future__ import annotations

import io

import pytest

from envbuilder.archive import limits
from envbuilder.archive.reader import BoundedTar, DamagedTarError
from tests.helpers import tars

END = bytes(1024)


class Bytes:
    """Bytes in memory, as a stream of a tar."""

    def __init__(self, data: bytes) -> None:
        self._file = io.BytesIO(data)
        self.most = len(data)

    def read(self, size: int) -> bytes:
        return self._file.read(size)

    def skip(self, size: int) -> int:
        return len(self._file.read(size))


def read(*parts: bytes) -> dict[str, bytes]:
    tar = BoundedTar(Bytes(b"".join(parts)))
    return {member.name: tar.content(member, 100) for member in tar}


def test_members_in_their_order_with_their_content() -> None:
    assert read(tars.file("a", b"1"), tars.file("b", b"22"), END) == {"a": b"1", "b": b"22"}


def test_members_may_be_passed_over() -> None:
    tar = BoundedTar(Bytes(tars.file("a", b"1" * 5000) + tars.file("b", b"2") + END))
    assert [member.name for member in tar] == ["a", "b"]
    assert tar.last == "b"


def test_of_a_long_one_its_beginning() -> None:
    tar = BoundedTar(Bytes(tars.file("a", b"1" * 5000) + END))
    (content,) = [tar.content(member, 7) for member in tar]
    assert content == b"1" * 7


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        ((tars.file("a", b"1" * 2000)[:1000],), r"truncated"),
        ((tars.file("a"), b"x" * 512), r"there is no readable header after a"),
        ((tars.pax((b"path", b"x" * 256)), tars.file("a")), r"its name is longer than PATH_MAX"),
        ((tars.pax((b"GNU.sparse.major", b"1")), tars.file("a")), r"'a' is a sparse file"),
        ((tars.pax((b"path", b"a\0b")), tars.file("a")), r"its name has a NUL in it"),
        ((tars.pax((b"mtime", b"1e300")), tars.file("a")), r"its time, 1e\+300 s since 1970"),
        ((tars.file("./"),), r"a member that is not a folder has no name"),
        ((tars.pax((b"comment", b"x" * (limits.HEADER + 1))), tars.file("a")), r"a header takes more than"),
    ],
    ids=["cut", "no header", "long name", "sparse", "nul", "time", "no name", "long header"],
)
def test_what_no_environment_has(parts: tuple[bytes, ...], said: str) -> None:
    with pytest.raises(DamagedTarError, match=said):
        read(*parts, b"" if "truncated" in said else END)


def test_more_members_than_may_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MEMBERS", 2)
    assert len(read(tars.file("a"), tars.file("b"), END)) == 2
    with pytest.raises(DamagedTarError, match=r"more than 2 members \(at b\)"):
        read(tars.file("a"), tars.file("b"), tars.file("c"), END)
