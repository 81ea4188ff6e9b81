from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from envbuilder.archive.elf import read_elf
from envbuilder.archive.exclude import PackRules
from envbuilder.archive.write import write_archive
from envbuilder.base.interpreter import Interpreter, find_interpreters
from envbuilder.base.provider import Base
from tests.base.conftest import segment_of
from tests.helpers.prefix import lay_out_prefix


def files_of(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]


def places_left(folder: Path, interpreter: Interpreter) -> list[str]:
    """List files that hold a path of the machine that compiled the interpreter, or of this one."""
    places = [os.fsencode(place) for place in {*interpreter.built_at, str(interpreter.prefix)}]
    return [
        str(path.relative_to(folder))
        for path in files_of(folder)
        if any(place in path.read_bytes() for place in places)
    ]


def test_no_path_of_the_build_machine_is_left(base: tuple[Interpreter, Path, Base]) -> None:
    interpreter, folder, _ = base
    assert places_left(folder, interpreter) == []


@pytest.mark.slow
def test_no_path_of_the_build_machine_is_left_in_any_python(tmp_path: Path) -> None:
    found = {one.version: one for minor in range(8, 14) for one in find_interpreters(f"3.{minor}")[0]}
    assert any(version.startswith("3.11.") for version in found)
    for version, interpreter in found.items():
        folder = tmp_path / version
        folder.mkdir()
        lay_out_prefix(interpreter, folder, PackRules())
        assert places_left(folder, interpreter) == [], version
        shutil.rmtree(folder)


def test_library_headers_and_activation_are_inside(base: tuple[Interpreter, Path, Base]) -> None:
    interpreter, folder, laid_out = base
    entries = {entry.path: entry for entry in laid_out.entries}
    for path in (
        "lib/libpython3.11.so.1.0",
        "include/python3.11/Python.h",
        "lib/python3.11/os.py",
        "bin/python3.11",
    ):
        assert path in entries
    assert entries["bin/python3"].link == "python3.11"
    assert {entry.path for entry in laid_out.activation} == {
        "bin/activate",
        "bin/activate.fish",
        "bin/deactivate",
        "conda-meta/history",
    }
    assert not any("site-packages" in path or "__pycache__" in path for path in entries)
    assert any(excluded.pattern == "lib/python3.*/test/**" for excluded in laid_out.excluded)
    assert [path for path in files_of(folder) if path.stat().st_nlink > 1] == []
    # Nothing is copied that can go into an archive as it lies there, and nothing that is changed lies there.
    assert entries["lib/python3.11/os.py"].source == interpreter.stdlib / "os.py"
    assert entries["lib/libpython3.11.so.1.0"].source == folder / "lib/libpython3.11.so.1.0"


def test_elf_files_look_for_libraries_inside_only(base: tuple[Interpreter, Path, Base]) -> None:
    _, folder, _ = base
    seen = set()
    for path in files_of(folder):
        with path.open("rb") as file:
            facts = read_elf(file) if file.read(4) == b"\x7fELF" else None
        if facts is None:
            continue
        for runpath in facts.runpath:
            seen.add((path.parent.name, runpath))
            assert (path.parent / runpath.replace("$ORIGIN", ".")).resolve() == folder / "lib"
    assert ("bin", "$ORIGIN/../lib") in seen
    assert ("lib-dynload", "$ORIGIN/../..") in seen


PROBE = """
import ssl, sqlite3, ctypes, lzma, bz2, readline, zlib, sys, sysconfig, json
maps = {line.split(None, 5)[5].strip() for line in open('/proc/self/maps') if '/' in line}
print(json.dumps({
    "maps": sorted(maps),
    "prefix": sys.prefix,
    "include": sysconfig.get_path("include"),
    "variable": sysconfig.get_config_var("prefix"),
    "libdir": sysconfig.get_config_var("LIBDIR"),
    "sqlite": sqlite3.connect(":memory:").execute("select 1").fetchone(),
}))
"""


def isolated(interpreter: Interpreter, command: Sequence[str]) -> str:
    """Run *command* with an empty environment, where the interpreter's own folder cannot be seen."""
    script = 'mount -t tmpfs tmpfs "$1" && shift && exec env -i "$@"'
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", script, "sh", str(interpreter.prefix), *command],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_it_runs_elsewhere_without_the_interpreter_it_was_made_of(
    base: tuple[Interpreter, Path, Base], tmp_path: Path
) -> None:
    interpreter, folder, _ = base
    moved = tmp_path / "moved"
    shutil.copytree(folder, moved, symlinks=True)
    said = json.loads(isolated(interpreter, [str(moved / "bin/python3"), "-B", "-I", "-c", PROBE]))
    assert said["sqlite"] == [1]
    assert said["prefix"] == said["variable"] == str(moved)
    assert said["include"] == str(moved / "include/python3.11")
    assert said["libdir"] == str(moved / "lib")
    system = ("libc.so", "libm.so", "ld-linux", "libdl.so", "libpthread.so", "libgcc_s.so", "libstdc++.so")
    outside = [
        path
        for path in said["maps"]
        if ".so" in path and not path.startswith(str(moved)) and not Path(path).name.startswith(system)
    ]
    assert outside == []


def test_activate_works_sourced_and_unread(base: tuple[Interpreter, Path, Base], tmp_path: Path) -> None:
    interpreter, _, laid_out = base
    segment = segment_of(tmp_path / "s", [*laid_out.entries, *laid_out.activation])
    archive = tmp_path / "base.tar.gz"
    write_archive([segment], archive, artifacts=Path, level=1)
    trees = {}
    for name, extract in EXTRACTORS.items():
        place = tmp_path / name
        place.mkdir()
        extract(archive, place)
        trees[name] = {
            str(path.relative_to(place)): (path.lstat().st_mode, _content(path))
            for path in place.rglob("*")
            if path.is_symlink() or not path.is_dir()
        }
    assert trees["tar"] == trees["bsdtar"] == trees["tarfile"]
    assert len(trees["tar"]) == len(laid_out.entries) + len(laid_out.activation)
    env = tmp_path / "tar"
    program = 'import os, sys; print(sys.prefix, os.environ["CONDA_PREFIX"])'
    sourced = f"source {env}/bin/activate && python -B -c '{program}' && type -p python"
    said = isolated(interpreter, ["PATH=/usr/bin:/bin", "bash", "-c", sourced]).split()
    assert said == [str(env), str(env), f"{env}/bin/python"]
    unread = [str(env / "bin/python3"), "-B", "-I", "-c", "import sys; print(sys.prefix)"]
    assert isolated(interpreter, unread).strip() == str(env)


def _content(path: Path) -> bytes:
    return os.fsencode(os.readlink(path)) if path.is_symlink() else path.read_bytes()


def _tarfile(archive: Path, place: Path) -> None:
    with tarfile.open(archive) as tar:
        tar.extractall(place, filter="data")


EXTRACTORS: dict[str, Callable[[Path, Path], object]] = {
    "tar": lambda archive, place: subprocess.run(["tar", "-xzf", archive, "-C", place], check=True),
    "bsdtar": lambda archive, place: subprocess.run(["bsdtar", "-xf", archive, "-C", place], check=True),
    "tarfile": _tarfile,
}


# -- what can be in it -----------------------------------------------------------------------------


UNREADABLE = """
import dataclasses, os, sys
from pathlib import Path
from envbuilder.base.cpython import copy_changed
from envbuilder.errors import AssembleError
from envbuilder.base.interpreter_files import content_digest
if os.geteuid() == 0:
    os.setuid(65534)
for read in (lambda path: copy_changed(path, "secret", path.parent, ()), lambda path: content_digest(path, ())):
    try:
        read(Path(sys.argv[1]))
    except AssembleError as error:
        print(error.message)
"""


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_text("")
    path.chmod(0)
    done = subprocess.run(
        [sys.executable, "-c", UNREADABLE, path], capture_output=True, text=True, check=True
    )
    assert done.stdout == f"{path} cannot be read: Permission denied\n" * 2
