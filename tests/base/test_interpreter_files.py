from __future__ import annotations

import dataclasses
from pathlib import Path

from envbuilder.base.interpreter import (
    Interpreter,
    describe,
)
from envbuilder.base.interpreter_files import read_digest


def again(interpreter: Interpreter) -> str:
    """Return the digest as a new process would find it."""
    read_digest.cache_clear()  # what a new process does not have
    return describe(interpreter).digest


def rewrite(path: Path, text: str) -> None:
    path.unlink()
    path.write_text(text)


def test_a_copy_has_the_same_digest_and_a_changed_one_another(
    copied: Interpreter, python311: Interpreter
) -> None:
    assert describe(copied) == describe(python311)
    rewrite(copied.stdlib / "this.py", "x = 1\n")
    changed = again(copied)
    assert changed != describe(python311).digest
    (copied.stdlib / "another.py").touch()
    assert again(copied) != changed


def test_bytecode_and_packages_do_not_count(copied: Interpreter, python311: Interpreter) -> None:
    (copied.stdlib / "site-packages").mkdir()
    (copied.stdlib / "site-packages" / "x.py").touch()
    (copied.stdlib / "__pycache__").mkdir(exist_ok=True)
    (copied.stdlib / "__pycache__" / "y.pyc").touch()
    assert again(copied) == describe(python311).digest


def test_the_folder_that_uv_writes_into_it_does_not_count(
    copied: Interpreter, python311: Interpreter
) -> None:
    (data,) = copied.stdlib.glob("_sysconfigdata*.py")
    text = data.read_text()
    assert python311.prefixes[0] in text
    rewrite(data, text.replace(python311.prefixes[0], "/home/you/.local/share/uv/python"))
    moved = dataclasses.replace(copied, prefixes=("/home/you/.local/share/uv/python",))
    assert again(moved) == describe(python311).digest
