from __future__ import annotations

import io
import random
import struct
import subprocess
import sysconfig
from collections.abc import Mapping
from pathlib import Path

import pytest
from elftools.elf.dynamic import DynamicSection
from elftools.elf.elffile import ELFFile
from elftools.elf.gnuversions import GNUVerDefSection, GNUVerNeedSection
from hypothesis import given, settings
from hypothesis import strategies as st

from envbuilder.archive.elf import ElfFacts, highest, highest_defined, read_elf, version_key
from tests.helpers.environments import system_libstdcxx

TRUE = Path("/bin/true").resolve().read_bytes()


def read(data: bytes) -> ElfFacts | None:
    return read_elf(io.BytesIO(data))


def read_by_pyelftools(data: bytes) -> ElfFacts:
    """Read the facts of a sound file, slowly."""
    strings: dict[str, list[str]] = {"needed": [], "runpath": [], "rpath": [], "soname": []}
    asked: set[str] = set()
    for section in ELFFile(io.BytesIO(data)).iter_sections():
        if isinstance(section, DynamicSection):
            for tag in section.iter_tags():
                kind = str(tag.entry.d_tag).removeprefix("DT_").lower()
                if kind in strings:
                    strings[kind].append(getattr(tag, kind))
        elif isinstance(section, GNUVerNeedSection):
            asked.update(version.name for _, versions in section.iter_versions() for version in versions)
    paths = strings["runpath"] or strings["rpath"]
    soname = strings["soname"][0] if strings["soname"] else None
    return ElfFacts(
        needs=tuple(strings["needed"]),
        runpath=tuple(part for path in paths[:1] for part in path.split(":") if part),
        soname=soname,
        glibc=highest(name[6:] for name in asked if name.startswith("GLIBC_")),
        glibcxx=highest(name[8:] for name in asked if name.startswith("GLIBCXX_")),
        provides_glibcxx=bool(soname and soname.startswith("libstdc++.so")),
    )


def crafted(*, wide: bool, order: str) -> bytes:
    """Return a file with a dynamic section and version needs, of a class and a byte order."""
    word = "Q" if wide else "I"
    names = b"\0libfoo.so.1\0$ORIGIN/x\0libown.so\0GLIBC_2.30\0GLIBC_2.4\0"
    at = {name: names.index(name.encode()) for name in names.decode().split("\0") if name}
    tags = [(1, "libfoo.so.1"), (14, "libown.so"), (29, "$ORIGIN/x")]
    dynamic = b"".join(struct.pack(f"{order}2{word}", tag, at[name]) for tag, name in tags)
    dynamic += struct.pack(f"{order}4{word}", 0, 0, 1, at["libown.so"])  # what follows the end does not count
    needs = struct.pack(f"{order}HHIII", 1, 2, at["libfoo.so.1"], 16, 0)
    for version, following in (("GLIBC_2.4", 16), ("GLIBC_2.30", 0)):
        needs += struct.pack(f"{order}IHHII", 0, 0, 2, at[version], following)
    layout = struct.Struct(f"{order}HHI3{word}I6H")
    section = struct.Struct(f"{order}II4{word}II2{word}")
    begin = 16 + layout.size
    table = begin + len(names) + len(dynamic) + len(needs)
    out = b"\x7fELF" + bytes((2 if wide else 1, 1 if order == "<" else 2, 1)) + bytes(9)
    out += layout.pack(3, 62, 1, 0, 0, table, 0, 16 + layout.size, 0, 0, section.size, 4, 1)
    out += names + dynamic + needs + section.pack(*[0] * 10)
    for kind, body, info in ((3, names, 0), (6, dynamic, 0), (0x6FFFFFFE, needs, 1)):
        out += section.pack(0, kind, 0, 0, begin, len(body), 1, info, 1, 2 * struct.calcsize(word))
        begin += len(body)
    return out


CXX = "#include <iostream>\nvoid g() { std::cout << 1 << std::endl; }"


def build(
    folder: Path,
    *options: str,
    source: str = "int f(void) { return 1; }",
    more: Mapping[str, str] | None = None,
) -> bytes:
    """Compile a tiny library."""
    for name, text in (more or {}).items():
        (folder / name).write_text(text)
    (folder / "x.c").write_text(source)
    command = ["gcc", "-shared", "-fPIC", "-o", str(folder / "x.so"), str(folder / "x.c"), *options]
    subprocess.run(command, check=True)
    return (folder / "x.so").read_bytes()


def test_needs_runpath_and_name(tmp_path: Path) -> None:
    data = build(
        tmp_path,
        "-Wl,--no-as-needed,--enable-new-dtags",
        "-lm",
        "-Wl,-soname,libx.so.1",
        "-Wl,-rpath,$ORIGIN:/opt/lib",
        source='#include <stdio.h>\nint f(void) { return puts("x"); }',
    )
    facts = read(data)
    assert facts is not None
    assert facts.needs == ("libm.so.6", "libc.so.6")
    assert facts.runpath == ("$ORIGIN", "/opt/lib")
    assert (facts.soname, facts.glibc, facts.glibcxx) == ("libx.so.1", "2.2.5", None)
    assert not facts.provides_glibcxx


def test_an_rpath_counts_where_there_is_no_runpath(tmp_path: Path) -> None:
    facts = read(build(tmp_path, "-Wl,--disable-new-dtags,-rpath,/old"))
    assert facts is not None
    assert facts.runpath == ("/old",)


def test_a_libstdcxx_is_known_by_its_name(tmp_path: Path) -> None:
    facts = read(build(tmp_path, "-Wl,-soname,libstdc++.so.6"))
    assert facts is not None
    assert facts.provides_glibcxx


def test_the_highest_glibcxx_that_a_library_asks(tmp_path: Path) -> None:
    facts = read(build(tmp_path, "-x", "c++", str(tmp_path / "y.cc"), "-lstdc++", more={"y.cc": CXX}))
    assert facts is not None
    assert facts.glibcxx is not None
    assert facts.glibcxx.startswith("3.4")


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("wide", [False, True])
def test_both_classes_and_byte_orders(wide: bool, order: str) -> None:
    data = crafted(wide=wide, order=order)
    expected = ElfFacts(("libfoo.so.1",), ("$ORIGIN/x",), "libown.so", glibc="2.30")
    assert read(data) == expected == read_by_pyelftools(data)
    for cut in range(len(data)):
        assert read(data[:cut]) is None


def test_real_files_say_what_pyelftools_says() -> None:
    folders = (sysconfig.get_path("platlib"), sysconfig.get_path("platstdlib"))
    found = [path for folder in folders for path in Path(folder).rglob("*.so*") if path.is_file()]
    files = [TRUE, *(path.read_bytes() for path in found if path.stat().st_size < 2**20)]
    files = [data for data in files if data.startswith(b"\x7fELF")]
    random.Random(1).shuffle(files)
    assert len(files) > 100
    for data in files[:150]:
        assert read(data) == read_by_pyelftools(data)


@pytest.mark.parametrize("data", [b"", b"\x7fELF", b"\x7fELF" + bytes(60), TRUE[:100], TRUE[:3000], b"text"])
def test_what_only_looks_like_one(data: bytes) -> None:
    assert read(data) is None


def test_a_static_object_has_no_needs(tmp_path: Path) -> None:
    (tmp_path / "x.c").write_text("int f(void) { return 1; }")
    subprocess.run(["gcc", "-c", "-o", tmp_path / "x.o", tmp_path / "x.c"], check=True)
    assert read((tmp_path / "x.o").read_bytes()) == ElfFacts()


@settings(max_examples=300, deadline=None)
@given(
    changes=st.lists(
        st.tuples(
            st.integers(0, 0x400) | st.integers(0, len(TRUE) - 1) | st.integers(-2000, -1),
            st.integers(0, 255),
        ),
        min_size=1,
        max_size=20,
    )
)
def test_a_broken_one_is_no_error(changes: list[tuple[int, int]]) -> None:
    data = bytearray(TRUE)
    for place, value in changes:
        data[place] = value
    facts = read(bytes(data))
    assert facts is None or isinstance(facts, ElfFacts)


@pytest.mark.parametrize(
    ("what", "place", "layout", "value"),
    [
        ("where its sections are", 40, "<Q", 2**63 + 5),
        ("where its sections are, within what can be sought", 40, "<Q", 2**62),
        ("a first section that counts them", 60, "<H", 0),
        ("small section headers", 58, "<H", 16),
        ("another class", 4, "<B", 3),
        ("another byte order", 5, "<B", 0),
    ],
)
def test_a_header_that_claims(what: str, place: int, layout: str, value: int) -> None:
    data = bytearray(TRUE)
    struct.pack_into(layout, data, place, value)
    if place == 60:
        struct.pack_into("<Q", data, struct.unpack_from("<Q", data, 40)[0] + 32, 2**60)
    assert read(bytes(data)) is None, what


def test_sections_counted_in_the_first_of_them() -> None:
    data = bytearray(TRUE)
    offset, count = struct.unpack_from("<Q", data, 40)[0], struct.unpack_from("<H", data, 60)[0]
    struct.pack_into("<Q", data, offset + 32, count)
    struct.pack_into("<H", data, 60, 0)
    assert read(bytes(data)) == read(TRUE)


@pytest.mark.parametrize(("field", "value"), [("libraries", 2**32 - 1), ("versions", 0xFFFF)])
def test_one_that_claims_to_need_thousands_of_versions(field: str, value: int) -> None:
    sections = ELFFile(io.BytesIO(TRUE))
    (number,) = (n for n, s in enumerate(sections.iter_sections()) if isinstance(s, GNUVerNeedSection))
    data = bytearray(TRUE)
    if field == "libraries":  # sh_info, which is counted to; it is read one by one
        struct.pack_into("<I", data, sections["e_shoff"] + number * sections["e_shentsize"] + 44, value)
    else:  # vn_cnt of the first
        struct.pack_into("<H", data, sections.get_section(number)["sh_offset"] + 2, value)
    assert read(bytes(data)) is None


def test_versions_that_a_library_defines() -> None:
    data = system_libstdcxx()
    defined = [
        version.name
        for section in ELFFile(io.BytesIO(data)).iter_sections()
        if isinstance(section, GNUVerDefSection)
        for _, versions in section.iter_versions()
        for version in versions
    ]
    expected = highest(name.removeprefix("GLIBCXX_") for name in defined if name.startswith("GLIBCXX_"))
    assert expected is not None
    assert highest_defined(io.BytesIO(data), "GLIBCXX_") == expected
    assert highest_defined(io.BytesIO(data), "NOTHING_") is None
    assert highest_defined(io.BytesIO(data[:5000]), "GLIBCXX_") is None


def test_one_that_names_a_million_libraries() -> None:
    data = bytearray(crafted(wide=True, order="<"))
    entries = struct.pack("<2Q", 1, 1) * 20_000
    offset = len(data)
    data += entries
    sections = ELFFile(io.BytesIO(bytes(data)))
    (number,) = (n for n, s in enumerate(sections.iter_sections()) if isinstance(s, DynamicSection))
    place = sections["e_shoff"] + number * sections["e_shentsize"]
    struct.pack_into("<2Q", data, place + 24, offset, len(entries))
    assert read(bytes(data)) is None


def test_versions_are_ordered_by_their_numbers() -> None:
    assert highest(["2.9", "2.34", "2.4", "PRIVATE"]) == "2.34"
    assert highest([]) is None
    assert highest(["PRIVATE"]) is None
    assert version_key("3.4.30") > version_key("3.4.9")
    names = [f"2.{random.Random(n).randrange(99)}" for n in range(20)]
    assert highest(names) == f"2.{max(int(name[2:]) for name in names)}"
