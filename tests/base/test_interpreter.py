from __future__ import annotations

import dataclasses
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from envbuilder.base import interpreter as module
from envbuilder.base.interpreter import (
    Interpreter,
    describe,
    find_interpreter,
    find_interpreters,
    interrogate,
    linked_libraries,
    recall,
    remember,
)
from envbuilder.base.interpreter_files import interpreter_files
from envbuilder.errors import AssembleError
from envbuilder.store.local import Store
from envbuilder.util.process import CommandError
from tests.helpers.interpreters import copy_interpreter
from tests.helpers.notes import Notes


def answering(folder: Path, **facts: object) -> Path:
    """Write a program that answers as a Python would."""
    said = {
        "version": "3.11.7",
        "implementation": "cpython",
        "machine": "linux-x86_64",
        "prefix": str(folder),
        "executable": str(folder / "python"),
        "stdlib": str(folder / "lib/python3.11"),
        "include": str(folder / "include/python3.11"),
        "libdir": str(folder / "lib"),
        "libpython": "libpython3.11.so.1.0",
        "built_at": ["/home/me/py", "/home/me/py", "/tmp/src/Python", "/tmp/src/Python/build", "."],
        **facts,
    }
    program = folder / "python"
    program.write_text(f"#!/bin/sh\necho '{json.dumps(said)}'\n")
    program.chmod(0o755)
    return program


def test_a_real_one(python311: Interpreter) -> None:
    assert python311.minor == "3.11"
    assert python311.version.startswith("3.11.")
    assert python311.libpython.name == "libpython3.11.so.1.0"
    targets = {file.target for file in interpreter_files(python311)}
    assert {"bin/python3.11", "bin/python", "lib/python3.11/os.py", "include/python3.11/Python.h"} <= targets
    assert not any("site-packages" in target or target.endswith(".pyc") for target in targets)
    assert python311 in find_interpreters("3.11")[0]


def test_its_libraries_are_those_of_the_loader_without_glibc(python311: Interpreter) -> None:
    names = {path.name for found in linked_libraries(python311).values() for path in found}
    assert any(name.startswith("libssl.so") for name in names)
    assert not any(
        name.startswith(("libc.so", "libm.so", "ld-linux", "libpython", "libgcc_s", "libstdc++"))
        for name in names
    )


def test_what_it_says_of_itself(tmp_path: Path) -> None:
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "libpython3.11.so.1.0").touch()
    found = interrogate(answering(tmp_path))
    assert found.libpython == tmp_path / "lib" / "libpython3.11.so.1.0"
    assert found.built_at == ("/home/me/py", "/tmp/src/Python")
    assert found.prefixes == ("/home/me/py",)
    assert found.origin == "host"


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        ({}, "CPython 3.11.7 without a shared libpython (libpython3.11.so.1.0)"),
        ({"implementation": "pypy"}, "pypy for linux-x86_64, not CPython for x86-64 Linux"),
        ({"machine": "linux-aarch64"}, "cpython for linux-aarch64, not CPython for x86-64 Linux"),
        ({"prefix": "/usr"}, "the distribution's own Python, whose library is spread across /usr"),
    ],
)
def test_what_is_no_base_for_an_environment(tmp_path: Path, facts: dict[str, str], message: str) -> None:
    with pytest.raises(AssembleError) as caught:
        interrogate(answering(tmp_path, **facts))
    assert caught.value.message == message
    assert caught.value.exit_code == 6


def test_one_that_does_not_run(tmp_path: Path) -> None:
    program = tmp_path / "python"
    program.write_text("#!/bin/sh\necho broken >&2; exit 3\n")
    program.chmod(0o755)
    with pytest.raises(CommandError, match=r"exited with 3:\n  \| broken$"):
        interrogate(program)


def test_a_build_of_uv_is_known_by_its_folder(tmp_path: Path) -> None:
    folder = tmp_path / "cpython-3.11.7-linux-x86_64-gnu"
    (folder / "lib").mkdir(parents=True)
    (folder / "lib" / "libpython3.11.so.1.0").touch()
    (tmp_path / ".gitignore").touch()
    assert interrogate(answering(folder)).origin == "uv:cpython-3.11.7-linux-x86_64-gnu"


# -- finding ---------------------------------------------------------------------------------------


@pytest.fixture
def only(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Return a function that says which programs are on this machine."""

    def these(*programs: Path) -> None:
        monkeypatch.setattr(module, "candidates", lambda _: iter(programs))

    return these


def test_one_without_a_shared_libpython(
    python311: Interpreter, tmp_path: Path, only: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "lib").mkdir()
    program = answering(tmp_path, version="3.11.5")
    only(program)
    monkeypatch.setattr(module, "find_uv_bin", lambda: "/bin/false")
    notes = Notes()
    with pytest.raises(AssembleError) as caught:
        find_interpreter("3.11", reporter=notes)
    assert caught.value.message.splitlines()[:2] == [
        "no CPython 3.11 with a shared libpython on this machine",
        f"  {program}: CPython 3.11.5 without a shared libpython (libpython3.11.so.1.0)",
    ]
    assert caught.value.message.splitlines()[2].startswith("and uv could not install one: ")
    assert caught.value.hint == "for instance: PYTHON_CONFIGURE_OPTS=--enable-shared pyenv install 3.11"
    assert caught.value.exit_code == 6
    assert notes.steps == ["Installing CPython 3.11 (uv python install)"]


def test_one_that_uv_installed_and_that_is_none(
    tmp_path: Path, only: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    program = answering(tmp_path, implementation="pypy")
    only(program)
    monkeypatch.setattr(module, "find_uv_bin", lambda: "/bin/true")
    with pytest.raises(AssembleError) as caught:
        find_interpreter("3.11")
    assert caught.value.message == (
        "no CPython 3.11 with a shared libpython on this machine:\n"
        f"  {program}: pypy for linux-x86_64, not CPython for x86-64 Linux"
    )
    assert caught.value.hint == "Triton's stub links libpython: build CPython with --enable-shared"


def test_the_locked_one_is_taken_then_its_version_then_the_newest(
    python311: Interpreter, tmp_path: Path, only: Callable[..., None]
) -> None:
    programs = []
    for name, version in (("a", "3.11.2"), ("b", "3.11.10"), ("c", "3.11.2")):
        folder = tmp_path / name
        (folder / "lib" / "python3.11").mkdir(parents=True)
        (folder / "lib" / "libpython3.11.so.1.0").write_text(name)
        programs.append(answering(folder, version=version))
    only(*programs)
    found = {one.prefix.name: one for one in find_interpreters("3.11")[0]}
    assert find_interpreter("3.11").prefix.name == "b"
    assert find_interpreter("3.11", locked=describe(found["c"])).prefix.name == "c"
    changed = dataclasses.replace(describe(found["c"]), digest="00" * 32)
    assert find_interpreter("3.11", locked=changed).version == "3.11.2"
    gone = dataclasses.replace(changed, version="3.11.3")
    assert find_interpreter("3.11", locked=gone).prefix.name == "b"


# -- its digest ------------------------------------------------------------------------------------


def test_one_without_its_libpython_is_refused(python311: Interpreter, tmp_path: Path) -> None:
    program = copy_interpreter(python311, tmp_path / "static", libpython=False)
    facts = interrogate(python311.executable)
    assert facts.libpython.is_relative_to(python311.prefix)
    fake = answering(tmp_path / "static", version=python311.version, libdir=str(tmp_path / "static" / "lib"))
    assert program.exists()
    with pytest.raises(AssembleError, match=r"^CPython 3\.11\.\d+ without a shared libpython"):
        interrogate(fake)


# -- what a store remembers ------------------------------------------------------------------------


def test_a_store_remembers_it_until_a_file_changes(
    copied: Interpreter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store.open(tmp_path / "store")
    locked = describe(copied)
    assert recall("3.11", locked, store) is None
    remember(copied, store)
    assert recall("3.11", locked, store) == copied
    assert recall("3.12", locked, store) is None
    os.utime(copied.stdlib / "this.py")
    assert recall("3.11", locked, store) is None


@pytest.mark.parametrize("record", [b"", b"{}", b"[]", b"\xff", b'{"interpreter": {}, "libraries": []}'])
def test_a_record_that_cannot_be_read_counts_for_nothing(
    python311: Interpreter, tmp_path: Path, record: bytes
) -> None:
    store = Store.open(tmp_path / "store")
    locked = describe(python311)
    store.write_entry("interpreters", locked.digest, record)
    assert recall("3.11", locked, store) is None


def test_one_that_is_gone_is_not_remembered(
    copied: Interpreter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store.open(tmp_path / "store")
    locked = describe(copied)
    remember(copied, store)
    shutil.rmtree(copied.prefix)
    assert recall("3.11", locked, store) is None


def test_a_found_one_is_remembered(
    python311: Interpreter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store.open(tmp_path / "store")
    locked = describe(python311)
    assert find_interpreter("3.11", locked=locked, store=store) == python311
    assert [entry.kind for entry in store.entries()] == ["interpreters"]
    assert find_interpreter("3.11", locked=locked, store=store) == python311
