from __future__ import annotations

import io
import random
import struct
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest
from elftools.elf.elffile import ELFFile
from elftools.elf.gnuversions import GNUVerNeedSection
from hypothesis import given, settings
from hypothesis import strategies as st

from envbuilder.assemble.elf import ElfFacts, highest, read_elf, version_key

TRUE = Path("/bin/true").resolve().read_bytes()


def read(data: bytes) -> ElfFacts | None:
    return read_elf(io.BytesIO(data))


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


def test_versions_are_ordered_by_their_numbers() -> None:
    assert highest(["2.9", "2.34", "2.4", "PRIVATE"]) == "2.34"
    assert highest([]) is None
    assert highest(["PRIVATE"]) is None
    assert version_key("3.4.30") > version_key("3.4.9")
    names = [f"2.{random.Random(n).randrange(99)}" for n in range(20)]
    assert highest(names) == f"2.{max(int(name[2:]) for name in names)}"
