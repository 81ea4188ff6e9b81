from __future__ import annotations

import dataclasses

import pytest

from envbuilder.archive.segment import FileFacts
from envbuilder.base.choose import choose_interpreter, find_compiler, open_base
from envbuilder.base.interpreter import Interpreter, describe
from envbuilder.errors import AssembleError, IntegrityError
from envbuilder.lockfile.model import Lock
from envbuilder.store.session import Session
from tests.helpers.channels import Cut
from tests.helpers.conda_project import Project
from tests.helpers.notes import Notes


@pytest.fixture
def project(conda_project: Project) -> Project:
    return conda_project


def test_a_wheel_that_would_overwrite_a_file_of_a_conda_package(project: Project) -> None:
    project.publish(Cut(name="owner", files={"lib/python3.11/site-packages/clash.py": b"OWNER = 1\n"}))
    project.sources.publish("pypi", "clash", "1.0")
    recipe = project.recipe(conda=["owner"], dependencies=["clash"])
    with pytest.raises(AssembleError) as caught:
        project.build(recipe)
    assert caught.value.message == (
        "lib/python3.11/site-packages/clash.py belongs to the conda package owner-1.0-0.conda, "
        "and clash-1.0-py3-none-any.whl would overwrite it"
    )
    assert caught.value.hint == (
        f"{recipe.path}:9: take clash from the channel too (conda: [clash]), or drop it, "
        f"or owner at {recipe.path}:8"
    )
    assert caught.value.exit_code == 6


def facts(*paths: str) -> list[FileFacts]:
    return [FileFacts(path=path, mode=0o755, size=1, sha256="0" * 64) for path in paths]


def test_the_compiler_is_found_by_the_names_that_channels_give_it() -> None:
    triple = "bin/x86_64-conda-linux-gnu"
    assert find_compiler(facts("bin/gcc", "bin/g++", f"{triple}-gcc")) == {"CC": "bin/gcc", "CXX": "bin/g++"}
    assert find_compiler(facts(f"{triple}-cc", f"{triple}-c++")) == {
        "CC": f"{triple}-cc",
        "CXX": f"{triple}-c++",
    }


def test_a_channel_whose_compiler_is_none() -> None:
    with pytest.raises(AssembleError) as caught:
        find_compiler(facts("bin/gcc"))
    assert caught.value.message == (
        "`compiler: bundled`, but the conda packages contain none of bin/g++, bin/x86_64-conda-linux-gnu-g++, "
        "bin/x86_64-conda-linux-gnu-c++"
    )
    assert (caught.value.hint, caught.value.exit_code) == ("expected it in the channel's package gxx", 6)


@pytest.fixture
def cpython_lock(project: Project) -> Lock:
    recipe = dataclasses.replace(project.recipe(), provider="cpython", channels=(), conda=())
    return project.lock(recipe).lock


def test_this_machines_interpreter_is_taken_when_it_is_the_locked_one(
    project: Project, cpython_lock: Lock, python311: Interpreter
) -> None:
    found = choose_interpreter(cpython_lock, False, Session(store=project.store, reporter=Notes()))
    assert describe(found) == cpython_lock.interpreter
    with open_base(
        project.recipe(),
        cpython_lock,
        Session(settings=project.settings, store=project.store, reporter=Notes()),
        change=False,
    ) as base:
        assert base.executable() == found.executable
        assert base.key == cpython_lock.interpreter.digest


def test_another_interpreter_than_the_locked_one(project: Project, cpython_lock: Lock) -> None:
    other = dataclasses.replace(cpython_lock.interpreter, digest="0" * 64, origin="uv")
    lock = dataclasses.replace(cpython_lock, interpreter=other)
    with pytest.raises(IntegrityError) as caught:
        choose_interpreter(lock, False, Session(store=project.store, reporter=Notes()))
    assert caught.value.message.startswith(
        f"the lock was made with CPython {other.version} (uv, 000000000000), this machine has "
    )
    assert caught.value.exit_code == 5
    notes = Notes()
    choose_interpreter(lock, True, Session(store=project.store, reporter=notes))
    assert [line.rpartition(": ")[2] for line in notes.notes] == ["used, as --interpreter-change allows"]
