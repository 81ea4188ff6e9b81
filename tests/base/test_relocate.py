from __future__ import annotations

import os
import struct
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envbuilder.archive.elf import read_elf
from envbuilder.base.relocate import (
    is_elf,
    mask_paths,
    nowhere,
    patchelf,
    relocated_sysconfigdata,
    set_runpaths,
    without_debug,
)
from envbuilder.errors import AssembleError


@pytest.fixture
def library(tmp_path: Path) -> Path:
    """A tiny library with debug sections that name the folder it was compiled in."""
    (tmp_path / "x.c").write_text("const char *f(void) { return __FILE__; }\n")
    path = tmp_path / "libx.so"
    subprocess.run(["gcc", "-g", "-shared", "-fPIC", "-o", path, tmp_path / "x.c"], check=True)
    return path


def call(path: Path) -> str:
    """Load a library in another process, and call it."""
    program = (
        f"import ctypes; f = ctypes.CDLL({str(path)!r}).f; f.restype = ctypes.c_char_p; print(f().decode())"
    )
    return subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    ).stdout.strip()


def test_a_place_becomes_one_of_the_same_length_that_is_nowhere() -> None:
    data = b"x=/home/me/py/3.11.7/lib:/home/me/py/3.11.7"
    cleaned = mask_paths(data, ["/home/me/py/3.11.7"])
    assert len(cleaned) == len(data)
    assert b"/home/me" not in cleaned
    assert cleaned.count(nowhere(b"/home/me/py/3.11.7")) == 2


@given(parts=st.lists(st.text(st.sampled_from("abé."), min_size=1, max_size=20), min_size=1, max_size=4))
def test_nowhere_keeps_length_and_last_component(parts: list[str]) -> None:
    place = os.fsencode("/" + "/".join(parts))
    there = nowhere(place)
    assert len(there) == len(place)
    assert there.rpartition(b"/")[2] == place.rpartition(b"/")[2]
    assert there == nowhere(there) or there.startswith(b"/build-machine"[: there.rfind(b"/")])


def test_debug_sections_become_zeros_and_the_rest_stays(library: Path) -> None:
    data = library.read_bytes()
    cleaned = without_debug(data)
    assert len(cleaned) == len(data)
    assert data.count(os.fsencode(library.parent)) > cleaned.count(os.fsencode(library.parent)) > 0
    before = call(library)
    library.write_bytes(mask_paths(cleaned, [str(library.parent)]))
    assert os.fsencode(library.parent) not in library.read_bytes()
    assert before == str(library.parent / "x.c")
    assert call(library).endswith("/x.c")
    assert call(library).startswith("/build-machine")


@pytest.mark.parametrize("size", [0, 4, 63])
def test_what_is_too_short_for_an_elf_file_stays(size: int) -> None:
    assert without_debug(b"\x7fELF\x02\x01"[:size].ljust(size, b"\0")) == b"\x7fELF\x02\x01"[:size].ljust(
        size, b"\0"
    )


def test_other_elf_files_stay_as_they_are(library: Path) -> None:
    data = library.read_bytes()
    for other in (
        data[:4] + b"\x01" + data[5:],  # 32 bits
        data[:1000],  # cut off
        data[:40] + struct.pack("<Q", 0) + data[48:],  # no table of sections
    ):
        assert without_debug(other) == other


def test_sysconfigdata_says_the_folder_it_runs_in() -> None:
    text = (
        "build_time_vars = {'prefix': '/opt/py', 'LIBDIR': '/opt/py/lib', 'CFLAGS': '-I/opt/py/include -I/opt/python',"
        " 'HAVE': 1}\n"
    )
    made = relocated_sysconfigdata(text, ["/opt/py"])
    assert "/opt/py/" not in made
    namespace: dict[str, dict[str, object]] = {}
    exec(made, namespace)
    assert namespace["build_time_vars"] == {
        "prefix": sys.base_prefix,
        "LIBDIR": f"{sys.base_prefix}/lib",
        "CFLAGS": f"-I{sys.base_prefix}/include -I/opt/python",
        "HAVE": 1,
    }


def test_runpaths(library: Path) -> None:
    set_runpaths({"$ORIGIN/../lib": [library], "$ORIGIN": []})
    with library.open("rb") as file:
        facts = read_elf(file)
    assert facts is not None
    assert facts.runpath == ("$ORIGIN/../lib",)
    assert is_elf(library.read_bytes())
    assert not is_elf(b"#!/bin/sh")


def test_what_patchelf_refuses(tmp_path: Path) -> None:
    path = tmp_path / "text"
    path.write_bytes(b"\x7fELF and no more")
    with pytest.raises(AssembleError) as caught:
        set_runpaths({"$ORIGIN": [path]})
    assert caught.value.message.startswith("a RUNPATH cannot be set: `")
    assert Path(patchelf()).is_absolute()
    assert caught.value.exit_code == 6
