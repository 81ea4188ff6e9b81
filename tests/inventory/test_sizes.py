from __future__ import annotations

import gzip
import random
import struct
import sys
import tarfile
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest
from PIL import Image

from envbuilder.archive.manifest import MANIFEST_PATH, ManifestExclusion
from envbuilder.errors import IntegrityError, RecipeError
from envbuilder.inventory import sizes as sizes_module
from envbuilder.inventory import treemap
from envbuilder.inventory.sizes import Cell, Sizes, measure, savings
from envbuilder.progress import SilentReporter, Task
from envbuilder.util.drawing import Box
from tests.deployment.conftest import make_manifest

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


def cells(sizes: Sizes) -> dict[tuple[str, str], tuple[int, int, int]]:
    return {(c.package, c.kind): (c.packed, c.unpacked, c.files) for c in sizes.cells}


class Counted(SilentReporter):
    total: int | None = None
    done = 0

    @contextmanager
    def task(self, text: str, total: int | None, unit: str = "bytes") -> Iterator[Task]:
        self.total = total
        yield self

    def advance(self, amount: int, *, from_store: bool = False) -> None:
        self.done += amount


def small_sizes(**changes: object) -> Sizes:
    made = [
        Cell(package="torch", kind="GPU code", packed=600, unpacked=900, files=1),
        Cell(package="torch", kind="Python", packed=100, unpacked=500, files=7),
        Cell(package="numpy", kind="host code", packed=299, unpacked=600, files=2),
        Cell(package="six", kind="Python", packed=1, unpacked=2, files=1),
    ]
    values = {
        "archive": Path("envs/a-1.tar.gz"),
        "packed": 1000,
        "unpacked": 2002,
        "cells": tuple(made),
        "excluded": (),
        **changes,
    }
    return Sizes(**values)  # type: ignore[arg-type]  # a test's own values


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


@pytest.mark.parametrize("chunk", [64, 1000, 2**18])
def test_gpu_code_is_told_from_the_host_code_of_one_library(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chunk: int
) -> None:
    monkeypatch.setattr(sizes_module, "_CHUNK", chunk)
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
        (lambda data: data[:-20], "it is truncated: its gzip stream has no end (at a.py)"),
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
    assert raised.value.hint == "an archive is a tar, plain or in gzip, as `envbuilder build` writes it"


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


@pytest.mark.parametrize("weights", [[5.0], [6, 6, 4, 3, 2, 2, 1], [100, 1, 1e-6], [1.0] * 50, []])
@pytest.mark.parametrize(("width", "height"), [(600.0, 400.0), (50.0, 900.0)])
def test_boxes_fill_the_field_by_weight_and_do_not_overlap(
    weights: list[float], width: float, height: float
) -> None:
    boxes = treemap.squarify(weights, Box(10, 20, width, height))

    assert len(boxes) == len(weights)
    for box, weight in zip(boxes, weights, strict=True):
        assert box.width * box.height == pytest.approx(width * height * weight / sum(weights))
        assert box.x >= 10 - 1e-6
        assert box.y >= 20 - 1e-6
        assert box.x + box.width <= 10 + width + 1e-6
        assert box.y + box.height <= 20 + height + 1e-6
    for number, one in enumerate(boxes):
        for other in boxes[:number]:
            overlap_x = min(one.x + one.width, other.x + other.width) - max(one.x, other.x)
            overlap_y = min(one.y + one.height, other.y + other.height) - max(one.y, other.y)
            assert min(overlap_x, overlap_y) < 1e-6


def test_the_example_of_the_paper_is_laid_out_as_there() -> None:
    boxes = treemap.squarify([6, 6, 4, 3, 2, 2, 1], Box(0, 0, 6, 4))
    assert [(round(box.width, 2), round(box.height, 2)) for box in boxes[:4]] == [
        (3, 2),
        (3, 2),
        (1.71, 2.33),
        (1.29, 2.33),
    ]


def test_no_label_is_wider_than_its_box() -> None:
    many = tuple(
        Cell(package=f"package-number-{n}", kind="Python", packed=2**n, unpacked=2**n, files=1)
        for n in range(16)
    )
    boxes = list(treemap.draw(small_sizes(cells=many, packed=2**16 - 1)))
    assert any(box.text.endswith("…") for box in boxes)
    for box in boxes:
        if box.text:
            assert len(box.text) * 0.56 * box.font <= box.width


def test_an_svg_names_every_package_and_kind(tmp_path: Path) -> None:
    path = tmp_path / "new" / "sizes.svg"
    treemap.plot(small_sizes(), path)

    root = ElementTree.parse(path).getroot()
    texts = [element.text for element in root.iter("{http://www.w3.org/2000/svg}text")]
    tips = [element.text for element in root.iter("{http://www.w3.org/2000/svg}title")]
    assert texts[0] == "a-1.tar.gz: 1.0 kB, 2.0 kB unpacked"
    assert {"torch  700 B", "GPU code  600 B", "numpy  299 B", "host code  299 B"} <= set(texts)
    assert texts[-3:] == ["GPU code  600 B (60%)", "host code  299 B (30%)", "Python  101 B (10%)"]
    assert "torch, GPU code: 600 B, 60.0% of the archive, 900 B unpacked" in tips
    assert "1 more: 1 B, 2 B unpacked" in tips
    assert [other.name for other in path.parent.iterdir()] == ["sizes.svg"]


def test_an_svg_escapes_names(tmp_path: Path) -> None:
    treemap.plot(small_sizes(archive=Path("a<b&c.tar")), tmp_path / "sizes.svg")
    assert ElementTree.parse(tmp_path / "sizes.svg") is not None
    assert "a&lt;b&amp;c.tar" in (tmp_path / "sizes.svg").read_text()


def test_a_png_shows_the_kinds_in_their_colours(tmp_path: Path) -> None:
    treemap.plot(small_sizes(), tmp_path / "sizes.PNG")
    with Image.open(tmp_path / "sizes.PNG") as image:
        assert image.size == (2400, 1600)
        colours = {colour: count for count, colour in image.getcolors(2**20) or []}
    gpu, host = colours[(0xF0, 0xA3, 0x5E)], colours[(0x7F, 0xB8, 0xDE)]
    assert gpu / host == pytest.approx(600 / 299, rel=0.05)


def test_without_pillow_a_png_is_refused_with_the_way_out(tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "PIL", None)
        with pytest.raises(RecipeError) as raised:
            treemap.plot(small_sizes(), tmp_path / "sizes.png")
    assert str(raised.value) == (
        "a PNG is drawn by Pillow, which is not installed\n"
        "  hint: pip install 'envbuilder[plot]', or draw an .svg"
    )
    assert list(tmp_path.iterdir()) == []


def test_another_suffix_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RecipeError) as raised:
        treemap.plot(small_sizes(), tmp_path / "sizes.pdf")
    assert str(raised.value) == (
        f"{tmp_path}/sizes.pdf: no picture is called that\n  hint: its name ends in .svg or .png"
    )


def test_a_picture_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RecipeError) as raised:
        treemap.plot(small_sizes(), tmp_path / "file" / "sizes.svg")
    assert raised.value.message == f"{tmp_path}/file/sizes.svg cannot be written: File exists"
