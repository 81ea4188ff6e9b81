from __future__ import annotations

import dataclasses
import hashlib
import os
import random
import subprocess
import tarfile
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from envbuilder.archive.entry import Entry
from envbuilder.archive.exclude import PackRules
from envbuilder.archive.segment import Segment, keep
from envbuilder.archive.write import DamagedPieceError, write_archive
from envbuilder.archive.zipdir import ZipDirectory
from envbuilder.assemble.wheel import wheel_files
from envbuilder.assemble.writer import SegmentWriter
from envbuilder.lockfile.model import Artifact
from envbuilder.store.local import Store
from tests.helpers.wheels import Zipped, write_wheel


def segment_of(folder: Path, entries: Sequence[Entry]) -> Segment:
    folder.mkdir()
    with (
        ThreadPoolExecutor(2) as executor,
        closing(SegmentWriter(folder, level=4, executor=executor)) as made,
    ):
        made.write(entries)
        return made.finish(key=folder.name.rjust(2, "0"), label=folder.name, artifact=None)


def wheel_segment(folder: Path, artifact: Artifact, path: Path, threads: int = 2) -> Segment:
    """Make a wheel's segment, without bytecode: a function of the wheel alone, whatever Python is here."""
    folder.mkdir()
    with ThreadPoolExecutor(threads) as executor, path.open("rb") as file:
        wheel = ZipDirectory(file, artifact.filename)
        files = wheel_files(wheel, artifact.filename, minor="3.12", rules=PackRules())
        with closing(SegmentWriter(folder, level=4, executor=executor, wheel=wheel)) as made:
            made.write(files.entries, last=files.record)
            return made.finish(key=artifact.sha256, label=artifact.filename, artifact=artifact.sha256)


def golden_wheels(folder: Path) -> list[Artifact]:
    """Write the wheels of the golden environment."""
    noise = random.Random(2026)
    return [
        write_wheel(
            folder,
            "alpha",
            files={
                "alpha/__init__.py": b"VALUE = 1\n" * 50,
                "alpha/big.bin": noise.randbytes(70_000),
                "alpha/zeros.bin": bytes(9_000_000),
                "alpha/stored.bin": Zipped(name="alpha/stored.bin", data=noise.randbytes(5_000), method=0),
                "alpha/huge.bin": Zipped(name="alpha/huge.bin", data=noise.randbytes(4_500_000), method=0),
                f"alpha/{'d' * 90}/{'e' * 90}/{'f' * 90}.txt": b"long",
                "alpha/é.txt": b"name",
                "alpha-1.0.data/scripts/run": b"#!python\n",
            },
            entry_points="[console_scripts]\nalpha = alpha:main\n",
        ),
        write_wheel(folder, "beta", files={f"beta/{n}.py": f"N = {n}\n".encode() for n in range(700)}),
        write_wheel(folder, "empty", files={}),
    ]


GOLDEN = "58a69626c2957de08277794f522259d7d545ff9f6b72e17a9b1a7b621fd4747c"
GOLDEN_TAR = "c628baec8a636f700983d51079e92b10227a4e0ba945711cec9e4d9e408f7ee0"


@pytest.mark.parametrize("threads", [1, 4])
def test_the_golden_environment(tmp_path: Path, threads: int) -> None:
    # The same on every machine, under every Python. It changes with the compressor and the rules of packing, which are
    # part of a segment's key: count RULES_VERSION up, and write the new digest here.
    wheels = golden_wheels(tmp_path)
    paths = {wheel.sha256: tmp_path / wheel.filename for wheel in wheels}
    segments = [wheel_segment(tmp_path / w.name, w, paths[w.sha256], threads) for w in wheels]
    written = write_archive(segments, tmp_path / "a.tar.gz", artifacts=paths.__getitem__, level=4)
    plain = write_archive(
        segments, tmp_path / "a.tar", artifacts=paths.__getitem__, level=4, uncompressed=True
    )
    assert (written.sha256, plain.sha256) == (GOLDEN, GOLDEN_TAR)
    for name, made in (("a.tar.gz", written), ("a.tar", plain)):
        data = (tmp_path / name).read_bytes()
        assert (hashlib.sha256(data).hexdigest(), len(data)) == (made.sha256, made.size)


def test_uncompressed_is_what_gunzip_gives(tmp_path: Path) -> None:
    entries = [Entry("a", data=b"a" * 1000), Entry("b", data=random.Random(1).randbytes(6_000_000))]
    segments = [segment_of(tmp_path / "s", entries)]
    write_archive(segments, tmp_path / "a.tar.gz", artifacts=Path, level=4)
    write_archive(segments, tmp_path / "a.tar", artifacts=Path, level=4, uncompressed=True)
    gunzip = subprocess.run(["gzip", "-dc", tmp_path / "a.tar.gz"], capture_output=True, check=True)
    assert gunzip.stdout == (tmp_path / "a.tar").read_bytes()


def test_an_archive_that_is_there_is_not_written_over(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("there")
    with pytest.raises(FileExistsError):
        write_archive([], tmp_path / "a", artifacts=Path, level=4)
    assert (tmp_path / "a").read_text() == "there"


# -- damage ----------------------------------------------------------------------------------------


@pytest.fixture
def wheel(tmp_path: Path) -> tuple[Artifact, Path, Segment]:
    big = Zipped(name="big", data=random.Random(3).randbytes(3_000_000))
    artifact = write_wheel(tmp_path / "w", "alpha", files={"big": big, "x.py": b"x = 1\n"})
    path = tmp_path / "w" / artifact.filename
    return artifact, path, wheel_segment(tmp_path / "segment", artifact, path)


def flip(path: Path, position: int) -> None:
    with path.open("r+b") as file:
        file.seek(position)
        (byte,) = file.read(1)
        file.seek(position)
        file.write(bytes((byte ^ 4,)))


Damage = Callable[[Path, Segment], None]


@pytest.mark.parametrize(
    ("damage", "artifact_is_named", "what"),
    [
        (lambda wheel, segment: flip(wheel, 2_000_000), True, "alpha-1.0-py3-none-any.whl has changed"),
        (lambda wheel, segment: os.truncate(wheel, 1000), True, "alpha-1.0-py3-none-any.whl has changed"),
        (lambda wheel, segment: wheel.unlink(), True, "alpha-1.0-py3-none-any.whl is gone"),
        (lambda wheel, segment: flip(segment.literals, 30), False, "its own bytes have changed"),
        (lambda wheel, segment: segment.literals.write_bytes(b""), False, "its own bytes have changed"),
        (lambda wheel, segment: segment.literals.unlink(), False, "alpha-1.0-py3-none-any.whl is gone"),
    ],
)  # fmt: skip
def test_damage_is_found_and_named(
    tmp_path: Path, wheel: tuple[Artifact, Path, Segment], damage: Damage, artifact_is_named: bool, what: str
) -> None:
    artifact, path, segment = wheel
    # In a store an artifact lies under its sha256.
    place = path.rename(path.with_name(artifact.sha256))
    damage(place, segment)
    with pytest.raises(DamagedPieceError) as caught:
        write_archive([segment], tmp_path / "out", artifacts=lambda _: place, level=4)
    assert str(caught.value) == what
    assert caught.value.segment is segment
    assert caught.value.artifact == (artifact.sha256 if artifact_is_named else None)


def test_a_wrong_crc_in_the_list_of_pieces_is_damage_too(
    tmp_path: Path, wheel: tuple[Artifact, Path, Segment]
) -> None:
    _, path, segment = wheel
    pieces = tuple(dataclasses.replace(piece, literal_crc=1) for piece in segment.pieces)
    with pytest.raises(DamagedPieceError, match=r"^its own bytes have changed$"):
        write_archive(
            [dataclasses.replace(segment, pieces=pieces)], tmp_path / "out", artifacts=lambda _: path, level=4
        )


def test_a_kept_segment_gives_the_same_archive(tmp_path: Path, wheel: tuple[Artifact, Path, Segment]) -> None:
    _, path, segment = wheel
    first = write_archive([segment], tmp_path / "1", artifacts=lambda _: path, level=4)
    kept = keep(segment, Store.open(tmp_path / "store"))
    assert write_archive([kept], tmp_path / "2", artifacts=lambda _: path, level=4) == first


# -- any files -------------------------------------------------------------------------------------

NAMES = (
    st.binary(min_size=1, max_size=80)
    .map(lambda raw: raw.replace(b"\0", b"_").replace(b"/", b"-"))
    .filter(lambda name: name not in (b".", b".."))
)
PATHS = st.lists(NAMES, min_size=1, max_size=6)
CONTENT = st.binary(max_size=3000) | st.integers(0, 5_000_000).map(lambda size: bytes(size))
# A first component that says how long the path is keeps one from being the folder of another.
FILES = st.dictionaries(
    PATHS.map(lambda parts: b"/".join([b"%d" % len(parts), *parts])),
    st.tuples(CONTENT, st.booleans()),
    max_size=12,
)


@settings(max_examples=25, deadline=None)
@given(files=FILES, links=st.dictionaries(NAMES, NAMES, max_size=3))
def test_any_files_come_out_as_they_went_in(
    files: dict[bytes, tuple[bytes, bool]], links: dict[bytes, bytes]
) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        entries = [
            Entry(os.fsdecode(path), 0o755 if run else 0o644, data=data)
            for path, (data, run) in files.items()
        ]
        entries += [Entry("links/" + os.fsdecode(path), link=os.fsdecode(to)) for path, to in links.items()]
        segment = segment_of(folder / "s", entries)
        archive = folder / "a.tar.gz"
        write_archive([segment], archive, artifacts=Path, level=1)
        with tarfile.open(archive, errors="surrogateescape") as tar:
            found = {}
            for member in tar.getmembers():
                file = tar.extractfile(member) if member.isfile() else None
                content = os.fsencode(member.linkname) if file is None else file.read()
                found[os.fsencode(member.name)] = (content, member.mode == 0o755)
        assert found == {**files, **{b"links/" + path: (to, False) for path, to in links.items()}}
        for program in ("tar", "bsdtar"):
            place = folder / program
            place.mkdir()
            subprocess.run([program, "-xf", archive, "-C", place], check=True, capture_output=True)
            out = {}
            for path in place.rglob("*"):
                if path.is_symlink():
                    out[os.fsencode(path.relative_to(place))] = (os.fsencode(os.readlink(path)), False)
                elif path.is_file():
                    mode = path.stat().st_mode & 0o100 != 0
                    out[os.fsencode(path.relative_to(place))] = (path.read_bytes(), mode)
            assert out == found
