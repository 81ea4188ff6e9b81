from __future__ import annotations

import gzip
import importlib.metadata
import io
import subprocess
import sys
import tarfile
import zlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envbuilder.archive.tar import (
    COMPRESSOR,
    END_OF_ARCHIVE,
    MTIME,
    gzip_member,
    gzip_trailer,
    padding,
    tar_header,
)

GIB = 2**30
MODES = st.sampled_from([0o644, 0o755])
# Any bytes a Linux file name may have: not NUL, not a slash; and not a dot alone, which is no name.
NAMES = st.binary(min_size=1, max_size=120).map(lambda raw: raw.replace(b"\0", b"_").replace(b"/", b"-"))
PATHS = st.lists(NAMES.filter(lambda name: name not in (b".", b"..")), min_size=1, max_size=5).map(b"/".join)


def read_back(headers: bytes) -> list[tarfile.TarInfo]:
    """Read headers as tarfile does, without the files' content: a size is only a number here."""
    found = []
    with tarfile.open(fileobj=io.BytesIO(headers + END_OF_ARCHIVE), errors="surrogateescape") as tar:
        found.append(tar.next())
    return [member for member in found if member is not None]


def raw(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


@given(path=PATHS, size=st.integers(0, 2**40), mode=MODES)
def test_a_header_is_read_back_by_tarfile(path: bytes, size: int, mode: int) -> None:
    (member,) = read_back(tar_header(path, size=size, mode=mode))
    assert raw(member.name) == path.rstrip(b"/")
    assert (member.size, member.mode, member.type) == (size, mode, tarfile.REGTYPE)
    assert (member.uid, member.gid, member.uname, member.gname, member.mtime) == (0, 0, "", "", MTIME)


@given(path=PATHS, link=PATHS)
def test_a_link_is_read_back_by_tarfile(path: bytes, link: bytes) -> None:
    (member,) = read_back(tar_header(path, mode=0o777, link=link))
    assert (raw(member.name), raw(member.linkname), member.issym()) == (path, link, True)


@pytest.mark.parametrize("size", [0, 1, 2**32 - 1, 2**32, 8**11 - 1, 8**11, 8**11 + 1, 9 * GIB, 2**50])
@pytest.mark.parametrize("program", ["tar", "bsdtar"])
def test_a_size_is_read_by_tar_and_bsdtar(program: str, size: int) -> None:
    # The list is printed before the missing content is noticed, so that no GiB need be written.
    header = tar_header(b"big", size=size)
    listed = subprocess.run([program, "-tvf", "-"], input=header, capture_output=True, check=False)
    assert str(size).encode() in listed.stdout.split()


def test_a_size_of_8_gib_needs_a_pax_record_and_one_less_does_not() -> None:
    assert len(tar_header(b"x", size=8**11 - 1)) == 512
    header = tar_header(b"x", size=8**11)
    assert header[512:534] == b"19 size=8589934592\n\0\0\0"
    assert len(header) == 3 * 512


@pytest.mark.parametrize("length", [1, 99, 100, 101, 155, 156, 255, 256, 257, 300, 5000])
@pytest.mark.parametrize("folder", [b"", b"f/", b"f" * 90 + b"/", b"f" * 155 + b"/", b"f" * 156 + b"/"])
@pytest.mark.parametrize("end", [b"", b"/"])
def test_paths_of_every_length(length: int, folder: bytes, end: bytes) -> None:
    path = folder + b"n" * length + end
    (member,) = read_back(tar_header(path, mode=0o755))
    assert raw(member.name) == path.rstrip(b"/")
    assert member.isdir() == bool(end)


@pytest.mark.parametrize("path", [b"caf\xe9" * 80, "café".encode() * 80])
def test_a_path_beyond_ascii_is_bytes_in_its_pax_records(path: bytes) -> None:
    header = tar_header(path, size=3)
    assert b"21 hdrcharset=BINARY\n" in header
    (member,) = read_back(header)
    assert raw(member.name) == path
    assert b"hdrcharset" not in tar_header(b"cafe" * 80, size=3)


def test_a_folder_whose_path_can_only_be_cut_at_its_own_end_takes_a_pax_record() -> None:
    path = b"d" * 120 + b"/"
    header = tar_header(path, mode=0o755)
    assert b"131 path=" + path + b"\n" in header


@given(parts=st.lists(st.binary(max_size=5000), max_size=6), level=st.integers(0, 9))
def test_members_one_after_another_are_one_gzip_file(parts: list[bytes], level: int) -> None:
    data = b"".join(gzip_member(part, level) for part in parts)
    assert gzip.decompress(data) == b"".join(parts)


def test_the_length_in_a_trailer_wraps_at_4_gib() -> None:
    assert gzip_trailer(0x01020304, 4 * GIB + 5) == bytes((4, 3, 2, 1, 5, 0, 0, 0))
    assert gzip_trailer(0, 8 * GIB) == bytes(8)


def test_padding_fills_a_block() -> None:
    assert [len(padding(size)) for size in (0, 1, 511, 512, 513)] == [0, 511, 1, 0, 511]


def test_the_compressor_is_the_pinned_one() -> None:
    pins = [row for row in importlib.metadata.requires("envbuilder") or () if row.startswith("deflate")]
    assert pins == [COMPRESSOR.replace(" ", "==")]


# What is compressed here, natively and on an older processor: text, code, and what does not compress.
_COMPRESS = """
import hashlib, random, sys
from envbuilder.archive.tar import gzip_member
noise = random.Random(5)
words = [bytes(noise.choices(range(97, 123), k=noise.randrange(2, 9))) for _ in range(400)]
data = b" ".join(noise.choices(words, k=60_000)) + noise.randbytes(50_000) + bytes(100_000)
for level in range(10):
    print(level, hashlib.sha256(gzip_member(data, level)).hexdigest())
"""
_EMULATOR = "qemu-x86_64"  # Debian's package qemu-user


@pytest.mark.parametrize("processor", ["Nehalem", "Haswell"])
def test_compression_is_the_same_on_an_older_processor(processor: str) -> None:
    # A compressor may choose another algorithm by what the processor can do: ISA-L does. No emulator, no proof: this
    # fails where qemu-user is not installed.
    command = [sys.executable, "-c", _COMPRESS]
    here = subprocess.run(command, capture_output=True, text=True, check=True)
    there = subprocess.run(
        [_EMULATOR, "-cpu", processor, *command], capture_output=True, text=True, check=True
    )
    assert here.stdout.count("\n") == 10
    assert there.stdout == here.stdout


def test_a_member_is_what_zlib_reads() -> None:
    data = Path(__file__).read_bytes()
    member = gzip_member(data, 4)
    assert member[:10] == bytes((31, 139, 8, 0, 0, 0, 0, 0, 0, 255))
    assert zlib.decompress(member[10:-8], -15) == data
    assert gzip_member(bytearray(data), 4) == member
