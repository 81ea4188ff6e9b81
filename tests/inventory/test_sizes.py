from __future__ import annotations

import gzip
import random
import struct
import tarfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from envbuilder.archive import reader
from envbuilder.archive.manifest import MANIFEST_PATH, ManifestExclusion
from envbuilder.errors import IntegrityError
from envbuilder.inventory.sizes import measure, savings
from envbuilder.progress import SilentReporter, Task
from tests.deployment.conftest import make_manifest
from tests.inventory.conftest import cells, small_sizes

SITE = "lib/python3.11/site-packages"
NOISE = random.Random(3).randbytes(300_000)


def fatbin(body: int) -> bytes:
    return struct.pack("<IHHQ", 0xBA55ED50, 1, 16, body) + bytes(body)


def tar_of(files: Mapping[str, bytes]) -> list[bytes]:
    """Return the tar of some files: the part of each, and the end."""
    parts = []
    for name, data in files.items():
        member = tarfile.TarInfo(name)
        member.size = len(data)
        parts.append(member.tobuf(tarfile.PAX_FORMAT) + data + bytes(-len(data) % 512))
    return [*parts, bytes(1024)]


def write(path: Path, files: Mapping[str, bytes]) -> Path:
    """Write an archive in which each file is a gzip member of its own."""
    path.write_bytes(b"".join(gzip.compress(part, mtime=0) for part in tar_of(files)))
    return path


class Counted(SilentReporter):
    total: int | None = None
    done = 0

    @contextmanager
    def task(self, text: str, total: int | None, unit: str = "bytes") -> Iterator[Task]:
        self.total = total
        yield self

    def advance(self, amount: int, *, from_store: bool = False) -> None:
        self.done += amount


def test_each_file_is_its_own_members_bytes(tmp_path: Path) -> None:
    files = {
        "bin/activate": b"# hello\n",
        "lib/libpython3.11.so.1.0": b"\x7fELF" + NOISE,
        f"{SITE}/tiny/__init__.py": b"x = 1\n" * 1000,
        f"{SITE}/tiny/__pycache__/__init__.cpython-311.pyc": NOISE[:5000],
        f"{SITE}/tiny/include/tiny.cuh": b"// a header\n",
        f"{SITE}/tiny/include/noext": b"// another\n",
        f"{SITE}/tiny/table.csv": b"1,2\n",
        f"{SITE}/Tiny_Pkg-1.0.dist-info/RECORD": (
            b"tiny/__init__.py,sha256=x,1\ntiny/include/tiny.cuh,,\ntiny/include/noext,,\n"
            b"tiny/table.csv,,\nTiny_Pkg-1.0.dist-info/RECORD,,\n../../../bin/tiny,,\n"
        ),
        "bin/tiny": b"#!/usr/bin/env python3\n",
    }
    archive = write(tmp_path / "a.tar.gz", files)
    packed = {
        name: len(gzip.compress(part, mtime=0)) for name, part in zip(files, tar_of(files), strict=False)
    }
    end = archive.stat().st_size - sum(packed.values())

    found = measure(archive)

    assert found.packed == archive.stat().st_size
    assert found.unpacked == sum(map(len, files.values()))
    by_cell = cells(found)
    assert by_cell["(envbuilder)", "data"] == (packed["bin/activate"], 8, 1)
    assert by_cell["(interpreter)", "host code"][1:] == (len(NOISE) + 4, 1)
    assert by_cell["(interpreter)", "host code"][0] == pytest.approx(
        packed["lib/libpython3.11.so.1.0"], abs=30
    )
    assert by_cell["tiny-pkg", "Python"] == (packed[f"{SITE}/tiny/__init__.py"], 6000, 1)
    assert by_cell["tiny-pkg", "bytecode"][1:] == (5000, 1)
    assert by_cell["tiny-pkg", "headers"][1:] == (len("// a header\n// another\n"), 2)
    record = files[f"{SITE}/Tiny_Pkg-1.0.dist-info/RECORD"]
    assert by_cell["tiny-pkg", "data"] == (
        packed[f"{SITE}/tiny/table.csv"]
        + packed[f"{SITE}/Tiny_Pkg-1.0.dist-info/RECORD"]
        + packed["bin/tiny"]
        + end,
        4 + len(record) + len(files["bin/tiny"]),
        3,
    )
    assert len(by_cell) == 6


def test_files_of_one_member_share_it_by_size(tmp_path: Path) -> None:
    one, other = NOISE[:100_000], NOISE[100_000:]
    archive = tmp_path / "a.tar.gz"
    archive.write_bytes(gzip.compress(b"".join(tar_of({"share/a.py": one, "share/b.h": other})), 1, mtime=0))

    found = cells(measure(archive))

    assert found["(interpreter)", "Python"][0] == pytest.approx(100_000, rel=0.01)
    assert found["(interpreter)", "headers"][0] == pytest.approx(200_000, rel=0.01)
    assert sum(packed for packed, _, _ in found.values()) == archive.stat().st_size


@pytest.mark.parametrize("chunk", [64, 1000, 1010, 2**18])  # a header of GPU code lies across 1010
def test_gpu_code_is_told_from_the_host_code_of_one_library(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chunk: int
) -> None:
    monkeypatch.setattr(reader, "CHUNK", chunk)
    one, other = fatbin(5000), fatbin(333)
    lies = struct.pack(
        "<IHHQ", 0xBA55ED50, 1, 16, 10**9
    )  # code that looks for containers holds the magic too
    odd = struct.pack("<IHHQ", 0xBA55ED50, 7, 16, 8)
    library = b"\x7fELF" + bytes(1000) + one + lies + odd + b"abc" + other + b"\x50\xed\x55\xba" + b"tail"
    archive = write(tmp_path / "a.tar.gz", {"lib/libgpu.so": library, "lib/k.cubin": b"12345"})

    found = cells(measure(archive))

    gpu = len(one) + len(other)
    assert found["(interpreter)", "GPU code"][1:] == (gpu + 5, 2)
    assert found["(interpreter)", "host code"][1:] == (len(library) - gpu, 0)


def test_a_plain_tar_is_packed_as_large_as_it_is(tmp_path: Path) -> None:
    archive = tmp_path / "a.tar"
    archive.write_bytes(b"".join(tar_of({"a.py": b"x" * 512, "b.h": b"y" * 10})))

    found = cells(measure(archive))

    assert found["(interpreter)", "Python"] == (1024, 512, 1)
    assert found["(interpreter)", "headers"] == (1024 + 1024, 10, 1)  # with the end of the tar


def test_a_conda_package_owns_what_its_record_names(tmp_path: Path) -> None:
    record = b'{"name": "zlib", "version": "1.3", "files": ["lib/libz.so.1"]}'
    archive = write(
        tmp_path / "a.tar.gz", {"conda-meta/zlib-1.3-h0.json": record, "lib/libz.so.1": b"\x7fELF"}
    )

    assert {cell.package for cell in measure(archive).cells} == {"zlib"}


def test_links_and_folders_weigh_nothing(tmp_path: Path) -> None:
    archive = tmp_path / "a.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        folder = tarfile.TarInfo("empty")
        folder.type = tarfile.DIRTYPE
        tar.addfile(folder)
        link = tarfile.TarInfo("lib/libz.so")
        link.type, link.linkname = tarfile.SYMTYPE, "libz.so.1"
        tar.addfile(link)

    found = measure(archive)

    assert (found.unpacked, [cell.files for cell in found.cells]) == (0, [1])


def test_what_was_left_out_is_summed_by_rule(tmp_path: Path) -> None:
    excluded = (
        ManifestExclusion(pattern="**/*.a", files=2, size=5000),
        ManifestExclusion(pattern="lib/python3.*/idlelib/**", files=3, size=700),
        ManifestExclusion(pattern="lib/python3.*/turtle.py", files=1, size=800),
        ManifestExclusion(pattern="mine/**", files=4, size=6000),
    )
    manifest = make_manifest(excluded=excluded).text().encode()
    found = measure(write(tmp_path / "a.tar.gz", {MANIFEST_PATH: manifest}))

    assert found.excluded == excluded
    assert savings(found.excluded) == [
        ("mine/**", 4, 6000),
        ("static libraries", 2, 5000),
        ("windows and teaching", 4, 1500),
    ]
    assert found.tables()[-1] == (
        "left out",
        [
            ("mine/**", "", "", "6.0 kB", "4"),
            ("static libraries", "", "", "5.0 kB", "2"),
            ("windows and teaching", "", "", "1.5 kB", "4"),
        ],
    )


def test_tables_end_with_the_sum() -> None:
    assert small_sizes().tables() == [
        (
            "package",
            [
                ("torch", "700 B", "70.0 %", "1.4 kB", "8"),
                ("numpy", "299 B", "29.9 %", "600 B", "2"),
                ("six", "1 B", "0.1 %", "2 B", "1"),
                ("total", "1.0 kB", "100.0 %", "2.0 kB", "11"),
            ],
        ),
        (
            "kind",
            [
                ("GPU code", "600 B", "60.0 %", "900 B", "1"),
                ("host code", "299 B", "29.9 %", "600 B", "2"),
                ("Python", "101 B", "10.1 %", "502 B", "8"),
                ("total", "1.0 kB", "100.0 %", "2.0 kB", "11"),
            ],
        ),
    ]


def test_progress_is_in_bytes_of_the_archive(tmp_path: Path) -> None:
    archive = write(tmp_path / "a.tar.gz", {"a.py": NOISE})
    counted = Counted()
    measure(archive, reporter=counted)
    assert counted.total == counted.done == archive.stat().st_size


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda data: data[:-20], "it is truncated: its gzip stream is incomplete (at a.py)"),
        (lambda data: data[:2000] + b"\0\0\0\0" + data[2004:], "its gzip stream is damaged: "),
        (lambda data: gzip.compress(gzip.decompress(data)[:5000]), "unexpected end of data"),
        (lambda data: b"no archive at all" * 100, "invalid header"),
    ],
)
def test_an_archive_that_cannot_be_read_is_named(tmp_path: Path, damage: object, message: str) -> None:
    archive = write(tmp_path / "a.tar.gz", {"a.py": NOISE})
    archive.write_bytes(damage(archive.read_bytes()))  # type: ignore[operator]  # parametrized
    with pytest.raises(IntegrityError) as raised:
        measure(archive)
    assert raised.value.message.startswith(f"{archive} cannot be read to its end: {message}")
    assert (
        raised.value.hint == "expected a tar, plain or compressed with gzip, as `envbuilder build` writes it"
    )


def test_a_missing_archive_is_named(tmp_path: Path) -> None:
    with pytest.raises(IntegrityError, match="cannot be read to its end: No such file or directory"):
        measure(tmp_path / "gone.tar.gz")


@pytest.mark.slow
def test_the_real_archive_is_accounted_for_to_the_byte(cpu_archive: Path) -> None:
    found = measure(cpu_archive)
    with tarfile.open(cpu_archive) as tar:
        unpacked = sum(member.size for member in tar)
    assert found.packed == cpu_archive.stat().st_size
    assert found.unpacked == unpacked
    packages = [cell.package for cell in found.by_package()]
    assert packages[0] == "torch"
    assert {"numpy", "safetensors", "(interpreter)", "(envbuilder)"} < set(packages)
    assert {cell.kind for cell in found.cells} == {"host code", "Python", "bytecode", "headers", "data"}
    assert found.by_kind()[0].kind == "host code"


# -- the picture -----------------------------------------------------------------------------------
