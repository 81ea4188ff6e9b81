"""Sources compiled again, as a build compiles them, by the Python of an environment."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from envbuilder.assemble.bytecode import BytecodeCompiler, bytecode_path
from envbuilder.base.interpreter import Interpreter
from envbuilder.errors import AssembleError
from envbuilder.store.local import Store
from envbuilder.verification.origin.bytecode import compile_again
from envbuilder.verification.origin.memory import Memory
from tests.helpers.environments import SITE, Tree
from tests.verification.origin.conftest import extracted

SOURCE = b"def f(x=1):\n    return x\n"
TREE: Tree = {
    f"{SITE}/m.py": SOURCE,
    f"{SITE}/broken.py": b"def f(:\n",
    f"{SITE}/link.py": "m.py",
    f"{SITE}/data.txt": b"x",
    "share/other.py": SOURCE,
}
MADE = bytecode_path(f"{SITE}/m.py", "3.11")


def enter(command: Sequence[str], env: Mapping[str, str]) -> tuple[list[str], dict[str, str]]:
    """No sandbox: the Python is this machine's own."""
    return [*command], dict(env)


def again(tree: Tree, folder: Path, python: Path, memory: Memory | None = None) -> dict[str, str]:
    contents, environment = extracted(tree, folder)
    return compile_again(environment, python, contents.members, minor="3.11", enter=enter, memory=memory)


def test_every_source_of_the_library_is_compiled_as_a_build_does(
    tmp_path: Path, python311: Interpreter
) -> None:
    found = again(TREE, tmp_path, python311.executable)
    with BytecodeCompiler(lambda: python311.executable, 1) as compiler:
        data = compiler.compile(f"{SITE}/m.py", SOURCE)
    assert data is not None
    assert found == {MADE: hashlib.sha256(data).hexdigest()}, (
        "no links, no data, none outside, none that is broken"
    )


def test_what_was_compiled_before_is_remembered(tmp_path: Path, python311: Interpreter) -> None:
    memory = Memory(store=Store.open(tmp_path / "store"), tools="1")
    found = again(TREE, tmp_path / "1", python311.executable, memory)
    assert again(TREE, tmp_path / "2", Path("/nonexistent/python"), memory) == found
    for number, tree in enumerate(
        (TREE | {f"{SITE}/m.py": SOURCE + b"\n"}, TREE | {"bin/python3.11": b"another"}), start=3
    ):
        with pytest.raises((AssembleError, OSError)):
            again(tree, tmp_path / str(number), Path("/nonexistent/python"), memory)
    doubting = Memory(store=memory.store, tools="1", believe=False)
    with pytest.raises((AssembleError, OSError)):
        again(TREE, tmp_path / "9", Path("/nonexistent/python"), doubting)


def test_a_python_that_is_none(tmp_path: Path) -> None:
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\necho no >&2\nexit 3\n")
    os.chmod(python, 0o755)
    with pytest.raises(AssembleError):
        again(TREE, tmp_path / "1", python)


def test_without_sources_no_python_is_needed(tmp_path: Path) -> None:
    assert again({"bin/tool": b"1"}, tmp_path, Path("/nonexistent/python")) == {}
