from __future__ import annotations

import gzip
import hashlib
import io
import os
import random
import struct
import tarfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from zlib_ng import gzip_ng, zlib_ng

from envbuilder.archive.entry import Entry
from envbuilder.archive.segment import Segment
from envbuilder.archive.write import write_archive
from envbuilder.archive.zipdir import ZipDirectory
from envbuilder.assemble import writer
from envbuilder.assemble.writer import SPLICE_THRESHOLD, SegmentWriter
from envbuilder.errors import AssembleError
from tests.helpers.wheels import Zipped, deflate, zip_bytes

NOISE = random.Random(11)
ELF = Path("/bin/true").resolve()


def make(
    folder: Path, entries: Sequence[Entry], wheel: Path | None = None, threads: int = 2, level: int = 4
) -> Segment:
    """Write a segment of *entries*."""
    folder.mkdir()
    with ThreadPoolExecutor(threads) as executor, (wheel or Path("/dev/null")).open("rb") as file:
        made = SegmentWriter(
            folder,
            level=level,
            executor=executor,
            wheel=None if wheel is None else ZipDirectory(file, "a.whl"),
        )
        with closing(made):
            made.write(entries)
            return made.finish(key="k", label="a.whl", artifact=None if wheel is None else "sha")


def tar_of(segment: Segment, folder: Path, wheel: Path | None = None) -> dict[str, tuple[int, bytes]]:
    """Return mode and content of each file of an archive of *segment* alone."""
    out = folder / "archive"
    out.unlink(missing_ok=True)
    write_archive([segment], out, artifacts=lambda _: wheel or folder, level=4)
    with tarfile.open(out) as tar:
        files = {m.name: (m.mode, m) for m in tar.getmembers()}
        return {name: (mode, tar.extractfile(m).read() if m.isfile() else m.linkname.encode())  # type: ignore[union-attr]  # a file
                for name, (mode, m) in files.items()}  # fmt: skip


def members_of(wheel: Path, members: Sequence[Zipped]) -> list[Entry]:
    wheel.write_bytes(zip_bytes(members))
    with wheel.open("rb") as file:
        found = ZipDirectory(file, "a.whl").members
    return [Entry(f"lib/{name}", 0o644, member=member) for name, member in found.items()]


def test_every_kind_of_entry(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(b"from a file")
    content = {
        "small": Zipped(name="small", data=b"small"),
        "large": Zipped(name="large", data=NOISE.randbytes(100_000)),
        "stored": Zipped(name="stored", data=NOISE.randbytes(50_000), method=0),
        "huge-stored": Zipped(name="huge-stored", data=NOISE.randbytes(5_000_000), method=0),
        "zeros": Zipped(name="zeros", data=bytes(30_000_000)),
        "aligned": Zipped(name="aligned", data=NOISE.randbytes(512 * 100)),
        "empty": Zipped(name="empty"),
    }
    wheel = tmp_path / "a.whl"
    entries = [
        *members_of(wheel, list(content.values())),
        Entry("bin/x", 0o755, data=b"#!"),
        Entry("bin/y", source=source),
        Entry("bin/link", link="x"),
        Entry("etc/empty/", 0o755, data=b""),
    ]
    segment = make(tmp_path / "segment", entries, wheel)
    found = tar_of(segment, tmp_path, wheel)
    assert found == {
        **{f"lib/{name}": (0o644, member.data) for name, member in content.items()},
        "bin/x": (0o755, b"#!"),
        "bin/y": (0o644, b"from a file"),
        "bin/link": (0o777, b"x"),
        "etc/empty": (0o755, b""),
    }
    assert [file.path for file in segment.files] == sorted(set(found) - {"etc/empty"})
    for file in segment.files:
        mode, data = found[file.path]
        assert (file.mode, file.sha256) == (mode, hashlib.sha256(data).hexdigest())
        assert file.size == (0 if file.link else len(data))
    assert segment.unpacked == sum(file.size for file in segment.files)
    assert segment.size == sum(piece.literal + piece.splice for piece in segment.pieces)


def test_large_streams_are_copied_and_small_ones_are_not(tmp_path: Path) -> None:
    wheel = tmp_path / "a.whl"
    data = NOISE.randbytes(SPLICE_THRESHOLD - 5)  # stored blocks: five bytes more as a stream
    assert len(deflate(data)) == SPLICE_THRESHOLD
    entries = members_of(
        wheel,
        [
            Zipped(name="just", data=data),
            Zipped(name="less", data=data[:-1]),
            Zipped(name="more", data=data * 3),
        ],
    )
    segment = make(tmp_path / "segment", entries, wheel)
    spliced = [wheel.read_bytes()[p.offset : p.offset + p.splice] for p in segment.pieces if p.splice]
    assert spliced == [deflate(data), deflate(data * 3)]


def test_the_bytes_do_not_depend_on_threads_or_the_order_of_entries(tmp_path: Path) -> None:
    wheel = tmp_path / "a.whl"
    zipped = [
        Zipped(name=f"{n}", data=NOISE.randbytes(NOISE.choice([10, 1000, 40_000, 2_000_000])))
        for n in range(60)
    ]
    entries = members_of(wheel, zipped)
    made = []
    for number, threads in enumerate((1, 4, 2)):
        NOISE.shuffle(entries)
        segment = make(tmp_path / f"{number}", entries, wheel, threads)
        made.append((segment.literals.read_bytes(), segment.pieces, segment.files))
    assert made[0] == made[1] == made[2]


def test_small_files_are_cut_into_members_by_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "MEMBER_SIZE", 10_000)
    entries = [Entry(f"f{number:02}", data=bytes(3000)) for number in range(20)]
    segment = make(tmp_path / "segment", entries)
    assert segment.literals.read_bytes().count(b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff") == 7
    assert len(tar_of(segment, tmp_path)) == 20
    assert len(segment.pieces) >= 1


def test_facts_of_elf_files_from_wherever_they_come(tmp_path: Path) -> None:
    data = ELF.read_bytes()
    grown = data + NOISE.randbytes(5_000_000)  # what follows an ELF file belongs to nobody
    big = tmp_path / "big.so"
    big.write_bytes(grown)
    wheel = tmp_path / "a.whl"
    entries = [
        *members_of(
            wheel,
            [
                Zipped(name="spliced.so", data=data),
                Zipped(name="small.so", data=data, method=0),
                Zipped(name="huge.so", data=grown, method=0),
                Zipped(name="text", data=b"\x7fELF" + NOISE.randbytes(100_000)),
            ],
        ),
        Entry("bin/source", source=ELF),
        Entry("bin/big.so", source=big),
    ]
    segment = make(tmp_path / "segment", entries, wheel)
    facts = {file.path: file.elf for file in segment.files}
    true = facts["bin/source"]
    assert true is not None
    assert "libc.so.6" in true.needs
    assert facts == {
        "bin/source": true,
        "bin/big.so": true,
        "lib/spliced.so": true,
        "lib/small.so": true,
        "lib/huge.so": true,
        "lib/text": None,
    }


def test_what_comes_last_sees_the_facts_of_the_others(tmp_path: Path) -> None:
    folder = tmp_path / "segment"
    folder.mkdir()
    with (
        ThreadPoolExecutor(1) as executor,
        closing(SegmentWriter(folder, level=1, executor=executor)) as made,
    ):
        made.write(
            [Entry("b", data=b"b"), Entry("a", data=b"a")],
            last=lambda facts: [Entry("list", data=",".join(fact.path for fact in facts).encode())],
        )
        segment = made.finish(key="k", label="l", artifact=None)
    assert tar_of(segment, tmp_path)["list"] == (0o644, b"a,b")


def test_an_empty_segment(tmp_path: Path) -> None:
    segment = make(tmp_path / "segment", [])
    assert (segment.pieces, segment.size, segment.files) == ((), 0, ())
    assert tar_of(segment, tmp_path) == {}


def test_names_that_are_not_utf8(tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9" * 70)
    segment = make(tmp_path / "segment", [Entry(name, data=b"x"), Entry("link", link=name)])
    (path, (_, data)), (_, (_, link)) = tar_of_surrogates(segment, tmp_path)
    assert os.fsencode(path) == b"caf\xe9" * 70
    assert data == b"x"
    assert link == b"caf\xe9" * 70


def tar_of_surrogates(segment: Segment, folder: Path) -> list[tuple[str, tuple[int, bytes]]]:
    out = folder / "surrogates"
    write_archive([segment], out, artifacts=lambda _: folder, level=4)
    plain = gzip.decompress(out.read_bytes())
    with tarfile.open(fileobj=io.BytesIO(plain), errors="surrogateescape") as tar:
        return [
            (m.name, (m.mode, tar.extractfile(m).read() if m.isfile() else os.fsencode(m.linkname)))  # type: ignore[union-attr]  # a file
            for m in tar.getmembers()
        ]


def test_a_broken_member_is_named(tmp_path: Path) -> None:
    wheel = tmp_path / "a.whl"
    entries = members_of(
        wheel, [Zipped(name="x", data=bytes(50_000_000), central={"crc": 7}, local={"crc": 7})]
    )
    with pytest.raises(AssembleError) as caught:
        make(tmp_path / "segment", entries, wheel)
    assert caught.value.message == (
        "a.whl is not a valid zip: x: 50000000 bytes with CRC 3ccb25e5, "
        "where the directory says 50000000 with 00000007"
    )


def test_a_source_that_changes_while_it_is_read(tmp_path: Path) -> None:
    source = tmp_path / "big"
    source.write_bytes(bytes(6_000_000))
    entry = Entry("big", source=source)
    folder = tmp_path / "segment"
    folder.mkdir()
    with (
        ThreadPoolExecutor(1) as executor,
        closing(SegmentWriter(folder, level=1, executor=executor)) as made,
    ):
        content = made.content

        def changing(entry: Entry):  # type: ignore[no-untyped-def]  # an iterator of bytes
            for number, chunk in enumerate(content(entry)):
                if number == 0:
                    os.truncate(source, 5_000_000)
                yield chunk

        made.content = changing  # type: ignore[method-assign]  # where another process would step in
        with pytest.raises(AssembleError) as caught:
            made.write([entry])
    assert caught.value.message == f"{source} changed while it was being read: 6000000 bytes, then 5000000"


@pytest.mark.slow
def test_a_file_of_more_than_8_gib(tmp_path: Path) -> None:
    # Past 4 GiB a zip writes sizes in another way, past 8 GiB a tar does. The stream is made by hand: one compressed
    # run, repeated, each ending at a byte (a full flush). A part of it is noise: what is a hundred times as large
    # unpacked is refused.
    run_size, runs = 64 * 2**20, 8 * 16 + 1
    content = random.Random(1).randbytes(2**20) + bytes(run_size - 2**20)
    stream = zlib_ng.compressobj(9, zlib_ng.DEFLATED, -15)
    run = stream.compress(content) + stream.flush(zlib_ng.Z_FULL_FLUSH)
    data = run * runs + stream.flush()
    size = run_size * runs
    crc = 0
    for _ in range(runs):
        crc = zlib_ng.crc32(content, crc)
    wide = struct.pack("<HHQ", 1, 8, size)
    wheel = tmp_path / "a.whl"
    fields = {"size": 0xFFFFFFFF, "crc": crc, "extra": wide}
    entries = members_of(wheel, [Zipped(name="zeros", stream=data, central=fields, local=fields)])
    segment = make(tmp_path / "segment", entries, wheel)
    out = tmp_path / "archive"
    write_archive([segment], out, artifacts=lambda _: wheel, level=4)
    # Read to its end: each CRC and each length is checked, and the size in the header.
    unpack: Any = gzip_ng.open  # it has no types
    with unpack(out) as stream, tarfile.open(fileobj=stream, mode="r|", bufsize=2**20) as tar:
        assert [(member.name, member.size) for member in tar if member.isreg()] == [("lib/zeros", size)]
        assert not stream.read().strip(b"\0")
    assert segment.files[0].size == size > 8 * 2**30
