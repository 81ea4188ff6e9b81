from __future__ import annotations

import io
import random
import struct
import zipfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from envbuilder.archive.member import Member
from envbuilder.archive.zipdir import ZipDirectory
from envbuilder.errors import AssembleError
from tests.archive.conftest import Open
from tests.helpers.wheels import Zipped, deflate, zip_bytes


def read_all(zip_: ZipDirectory) -> dict[str, bytes]:
    return {name: zip_.read(member) for name, member in zip_.members.items()}


# -- what is true ----------------------------------------------------------------------------------


def test_a_sound_zip(opened: Open) -> None:
    content = {"a.py": b"x = 1\n", "p/empty": b"", "p/big": bytes(300_000) + b"end", "p/é.txt": b"\xff"}
    members = [Zipped(name=name, data=data, mode=0o100755) for name, data in content.items()]
    zip_ = opened(
        zip_bytes([*members, Zipped(name="s", data=b"stored", method=0), Zipped(name="folder/", method=0)])
    )
    assert read_all(zip_) == {**content, "s": b"stored"}
    assert zip_.members["a.py"] == Member(
        "a.py", 8, zlib.crc32(b"x = 1\n"), len(deflate(b"x = 1\n")), 6, 0, 0o755
    )
    assert zip_.members["s"].method == 0


def test_an_empty_zip_and_one_with_a_comment(opened: Open) -> None:
    assert opened(zip_bytes([])).members == {}
    assert list(opened(zip_bytes([Zipped(name="a")], comment=b"PK\x05\x06 not the end")).members) == ["a"]


def test_what_zipfile_writes(opened: Open) -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as made:
        made.writestr("a/b", b"b" * 1000)
        made.writestr("c", b"c", compress_type=zipfile.ZIP_STORED)
        with made.open("wide", "w", force_zip64=True) as file:
            file.write(b"w" * 70_000)
    assert read_all(opened(out.getvalue())) == {"a/b": b"b" * 1000, "c": b"c", "wide": b"w" * 70_000}


def test_lengths_told_after_the_data(opened: Open) -> None:
    # A zip written to a pipe: bit 3, zeros in the local header, a data descriptor behind the stream.
    class Pipe(io.RawIOBase):
        data = b""

        def writable(self) -> bool:
            return True

        def write(self, data: Any, /) -> int:
            self.data += bytes(data)
            return len(data)

    pipe = Pipe()
    with zipfile.ZipFile(pipe, "w", zipfile.ZIP_DEFLATED) as made:
        made.writestr("a", b"a" * 5000)
        made.writestr("b", b"b" * 5000)
    assert read_all(opened(pipe.data)) == {"a": b"a" * 5000, "b": b"b" * 5000}


def test_a_zip_of_more_than_65535_members_and_of_64_bit_places(opened: Open) -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as made:
        for number in range(66_000):
            made.writestr(zipfile.ZipInfo(f"{number}"), b"")
    zip_ = opened(out.getvalue())
    assert len(zip_.members) == 66_000
    assert zip_.read(zip_.members["65999"]) == b""


def wide(*values: int) -> bytes:
    return struct.pack(f"<HH{len(values)}Q", 1, 8 * len(values), *values)


def test_64_bit_lengths_of_a_member(opened: Open) -> None:
    data = b"x" * 100
    told = {"size": 0xFFFFFFFF, "compressed": 0xFFFFFFFF, "offset": 0xFFFFFFFF}
    size = len(deflate(data))
    other = struct.pack("<HH4s", 0x9999, 4, b"else")
    central = {**told, "extra": other + wide(100, size, 0)}
    local = {"size": 0xFFFFFFFF, "compressed": 0xFFFFFFFF, "extra": wide(100, size)}
    assert read_all(opened(zip_bytes([Zipped(name="w", data=data, central=central, local=local)]))) == {
        "w": data
    }


# -- what lies -------------------------------------------------------------------------------------

A = Zipped(name="a", data=b"a" * 50)


def lying(data: bytes = b"a" * 50, *, local: Mapping[str, Any] | None = None, **central: Any) -> Zipped:
    return Zipped(name="a", data=data, central=central, local=local or {})


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ([lying(compressed=200)], "a ends at 230, past the files' end at 37"),
        ([lying(offset=2)], "a ends at 38, past the files' end at 37"),
        ([lying(offset=5000)], "a ends at 5036, past the files' end at 37"),
        ([Zipped(name="../a")], "the name '../a' is not a relative path that stays inside"),
        ([Zipped(name="b/../../a")], "the name 'b/../../a' is not a relative path that stays inside"),
        ([Zipped(name="/a")], "the name '/a' is not a relative path that stays inside"),
        ([Zipped(name="a//b")], "the name 'a//b' is not a relative path that stays inside"),
        ([Zipped(name="./a")], "the name './a' is not a relative path that stays inside"),
        ([Zipped(name="a\\b")], "the name 'a\\\\b' is not a relative path that stays inside"),
        ([Zipped(name="a\0b")], "the name 'a\\x00b' is not a relative path that stays inside"),
        ([Zipped(name="")], "the name '' is not a relative path that stays inside"),
        ([Zipped(name=b"\xff", central={"flags": 0x800})], "the name of entry 0 says it is UTF-8 and is not: b'\\xff'"),
        ([lying(flags=1)], "a: encrypted"),
        ([lying(flags=0x40)], "a: encrypted"),
        ([lying(needed=64)], "a: needs version 6.4 of the format"),
        ([lying(flags=0x20)], "a: a patch of another file"),
        ([lying(method=12)], "a: compression method 12 (bzip2)"),
        ([lying(method=9)], "a: compression method 9 (deflate64)"),
        ([lying(method=14)], "a: compression method 14 (lzma)"),
        ([lying(method=77)], "a: compression method 77 (unknown)"),
        ([lying(method=0)], "a: stored, but 50 bytes are said to take 6"),
        ([A, A], "two members are called 'a'"),
        ([Zipped(name="a", mode=0o120777)], "a: neither a file nor a folder"),
        ([Zipped(name="a", mode=0o010644)], "a: neither a file nor a folder"),
        ([lying(size=0xFFFFFFFF)], "a: its 64-bit lengths are missing"),
        ([lying(size=0xFFFFFFFF, extra=b"\x01\x00\x04\x00abcd")], "a: its 64-bit lengths are missing"),
        ([A, Zipped(name="b", data=b"b" * 50, central={"offset": 20})], "b begins at 20, inside a"),
    ],
)  # fmt: skip
def test_a_directory_that_lies(opened: Open, members: list[Zipped], message: str) -> None:
    with pytest.raises(AssembleError) as caught:
        opened(zip_bytes(members))
    assert caught.value.message == f"a.whl is not a valid zip: {message}"
    assert caught.value.exit_code == 6


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ([lying(crc=1, local={"crc": 1})], "a: 50 bytes with CRC 47d7ba7d, where the directory says 50 with 00000001"),
        ([lying(crc=1)], "a: its own header and the central directory differ"),
        ([lying(size=49)], "a: its own header and the central directory differ"),
        ([lying(local={"method": 0})], "a: its own header and the central directory differ"),
        ([lying(size=49, local={"size": 49})], "a: longer than the 49 bytes it claims"),
        (
            [lying(size=51, local={"size": 51})],
            "a: 50 bytes with CRC 47d7ba7d, where the directory says 51 with 47d7ba7d",
        ),
        ([lying(compressed=4, local={"compressed": 4})], "a: its stream does not end where the directory says"),
        ([Zipped(name="a", stream=deflate(b"") + b"more")], "a: its stream does not end where the directory says"),
        ([Zipped(name="a", stream=b"\xff\xff\xff\xff")], "a: Error -3 while decompressing data: invalid block type"),
        ([lying(local={"name": b"b"})], "a: its own header calls it b'b'"),
        ([Zipped(name="a", data=b"a" * 50, local={"name": b"a" * 3000})], None),
    ],
)  # fmt: skip
def test_a_member_that_lies(opened: Open, members: list[Zipped], message: str | None) -> None:
    zip_ = opened(zip_bytes(members))
    with pytest.raises(AssembleError) as caught:
        read_all(zip_)
    if message is not None:
        assert caught.value.message == f"a.whl is not a valid zip: {message}"


def test_a_member_without_a_header(opened: Open) -> None:
    data = bytearray(zip_bytes([A]))
    data[2] = 0
    with pytest.raises(AssembleError) as caught:
        read_all(opened(bytes(data)))
    assert caught.value.message == "a.whl is not a valid zip: a: no header at 0"


def test_a_member_whose_stream_runs_into_the_next_one(opened: Open) -> None:
    # The extra field of its local header moves the stream; the directory says nothing of that field's length.
    data = bytearray(zip_bytes([A, Zipped(name="b", data=b"b" * 50)]))
    data[28:30] = struct.pack("<H", 3)
    with pytest.raises(AssembleError) as caught:
        read_all(opened(bytes(data)))
    assert caught.value.message == "a.whl is not a valid zip: a reaches past 37, where it must have ended"


@pytest.mark.parametrize(
    ("end", "message"),
    [
        ({"count": 2}, "entry 1 of its central directory is cut off"),
        ({"count": 0}, "the central directory has 47 bytes, its 0 entries take 0"),
        ({"size": 48}, "its central directory ends at 85, the record that names it begins at 84"),
        ({"size": 46}, "its central directory ends at 83, the record that names it begins at 84"),
        ({"offset": 5000}, "its central directory ends at 5047, the record that names it begins at 84"),
        ({"offset": 36, "size": 48}, "entry 0 of its central directory has no signature"),
        ({"count": 0xFFFF}, "its zip64 locator is missing"),
        ({"offset": 0xFFFFFFFF}, "its zip64 locator is missing"),
    ],
)
def test_an_end_that_lies(opened: Open, end: Mapping[str, int], message: str) -> None:
    with pytest.raises(AssembleError) as caught:
        opened(zip_bytes([A], end=end))
    assert caught.value.message == f"a.whl is not a valid zip: {message}"


def zip64(fields: Mapping[int, int] | None = None, locator: Mapping[int, int] | None = None) -> bytes:
    """Return a zip whose end is a zip64 one; *fields* and *locator* replace fields of its records by number."""
    body = zip_bytes([A])[:-22]
    end: list[Any] = [b"PK\x06\x06", 44, 45, 45, 0, 0, 1, 1, len(body) - 37, 37]
    where: list[Any] = [b"PK\x06\x07", 0, len(body), 1]
    for number, value in (fields or {}).items():
        end[number] = value
    for number, value in (locator or {}).items():
        where[number] = value
    records = struct.pack("<4sQ2H2L4Q", *end) + struct.pack("<4sLQL", *where)
    return body + records + zip_bytes([], end={"count": 0xFFFF, "size": 0xFFFFFFFF, "offset": 0xFFFFFFFF})


def test_a_zip64_end(opened: Open) -> None:
    assert read_all(opened(zip64())) == {"a": b"a" * 50}


@pytest.mark.parametrize(
    ("fields", "locator", "message"),
    [
        ({}, {1: 1}, "its zip64 locator is missing"),
        ({}, {3: 2}, "its zip64 locator is missing"),
        ({}, {2: 2**40}, "zip64 end: 56 bytes at 1099511627776 are past its end, 182"),
        ({}, {2: 0}, "its zip64 end of central directory is inconsistent"),
        ({6: 2}, {}, "its zip64 end of central directory is inconsistent"),
        ({6: 2**40, 7: 2**40}, {}, "its central directory claims 1099511627776 entries in 47 bytes"),
        (
            {8: 2**40},
            {},
            "its central directory ends at 1099511627813, the record that names it begins at 84",
        ),
        (
            {9: 2**63},
            {},
            "its central directory ends at 9223372036854775855, the record that names it begins at 84",
        ),
    ],
)
def test_a_zip64_end_that_lies(
    opened: Open, fields: Mapping[int, int], locator: Mapping[int, int], message: str
) -> None:
    with pytest.raises(AssembleError) as caught:
        opened(zip64(fields, locator))
    assert caught.value.message == f"a.whl is not a valid zip: {message}"


def test_a_zip_on_several_disks(opened: Open) -> None:
    data = bytearray(zip_bytes([A]))
    data[-18:-16] = b"\x01\x00"
    with pytest.raises(AssembleError) as caught:
        opened(bytes(data))
    assert caught.value.message == "a.whl is not a valid zip: it is split over several disks"


@pytest.mark.parametrize("data", [b"", b"PK", b"x" * 100_000, b"PK\x05\x06", zip_bytes([A])[:-1]])
def test_what_is_no_zip(opened: Open, data: bytes) -> None:
    with pytest.raises(AssembleError) as caught:
        opened(data)
    assert (
        caught.value.message
        == "a.whl is not a valid zip: no end of central directory: it is truncated or not a zip"
    )


def test_a_zip_cut_off_while_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.whl"
    path.write_bytes(zip_bytes([Zipped(name="a", data=random.Random(1).randbytes(200_000))]))
    with path.open("rb") as file:
        zip_ = ZipDirectory(file, "a.whl")
        parts = zip_.chunks(zip_.members["a"])
        next(parts)
        with path.open("r+b") as other:
            other.truncate(100_000)
        with pytest.raises(
            AssembleError, match=r"^a.whl is not a valid zip: a: 65536 bytes at \d+ are past its end"
        ):
            list(parts)


# -- a member as a file ----------------------------------------------------------------------------


# -- any zip ---------------------------------------------------------------------------------------

NAMES = st.text(st.sampled_from("abé/."), min_size=1, max_size=6)
SOUND = st.builds(
    lambda name, data, method: Zipped(name=name, data=data, method=method),
    NAMES,
    st.binary(max_size=200) | st.binary(max_size=20).map(lambda b: b * 30),
    st.sampled_from([0, 8]),
)


def mutated(data: bytes, changes: list[tuple[int, int]], cut: int) -> bytes:
    out = bytearray(data)
    for place, value in changes:
        out[place % len(out)] = value
    return bytes(out[: len(out) - cut])


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    members=st.lists(SOUND, max_size=4),
    changes=st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 255)), max_size=4),
    cut=st.integers(0, 3) | st.just(0),
)
def test_whatever_the_bytes_an_error_or_the_truth(
    tmp_path: Path, members: list[Zipped], changes: list[tuple[int, int]], cut: int
) -> None:
    path = tmp_path / "a.whl"
    path.write_bytes(mutated(zip_bytes(members), changes, cut))
    with path.open("rb") as file:
        try:
            found = read_all(ZipDirectory(file, "a.whl"))
        except AssembleError:
            return
    with zipfile.ZipFile(path) as other:  # what is accepted here must mean the same to zipfile
        assert found == {info.filename: other.read(info) for info in other.infolist() if not info.is_dir()}


def test_the_tests_zips_are_sound_to_zipfile(tmp_path: Path) -> None:
    content: dict[str, Callable[[], bytes]] = {"a": lambda: b"a" * 9, "é": lambda: b""}
    data = zip_bytes([Zipped(name=name, data=make()) for name, make in content.items()])
    with zipfile.ZipFile(io.BytesIO(data)) as other:
        assert other.testzip() is None
        assert other.namelist() == ["a", "é"]
