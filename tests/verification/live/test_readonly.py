from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from envbuilder.verification.live.readonly import Watched


def test_nothing_was_written(environment: Path) -> None:
    assert (
        Watched(environment).check(["lib/python3.11/a.py", "lib/python3.11/__pycache__/a.pyc"]).status
        == "passed"
    )


@pytest.mark.parametrize("what", ["new", "changed", "removed", "replaced"])
def test_what_was_written_is_named(what: str, environment: Path) -> None:
    watched = Watched(environment)
    file = environment / "lib" / "a.py"
    if what == "new":
        (environment / "lib" / "__pycache__").mkdir()
        (environment / "lib" / "__pycache__" / "a.nbi").write_text("numba's")
    elif what == "changed":
        file.write_text("22")
    else:
        file.unlink()
    if what == "replaced":
        file.write_text("1")
    found = watched.check(["a.pyc"])
    assert found.status == "warning"
    named = "lib/__pycache__/a.nbi" if what == "new" else "lib/a.py"
    assert found.found == f"written into the environment: {named}; on a read-only mount that fails"


def test_modules_without_bytecode_are_named(environment: Path) -> None:
    found = Watched(environment).check(["lib/python3.11/a.py", "bin/b.py"])
    assert (found.status, found.fix) == ("warning", "pack: {bytecode: true}")
    assert "1 modules have no bytecode" in found.found
    assert "lib/python3.11/a.py" in found.found


def test_what_another_tool_left_to_be_compiled(environment: Path) -> None:
    watched = Watched(environment)
    command = [sys.executable, "-m", "compileall", "-q", str(environment / "lib")]
    subprocess.run(command, check=True)  # as an import does
    found = watched.check(["lib/python3.11/a.py", "b.pyc"], foreign=True)
    assert (found.status, found.fix) == (
        "warning",
        "`ENV/bin/python3 -m compileall -q ENV/lib`, and pack it again",
    )
    cured = Watched(environment)  # done as the hint says
    subprocess.run(
        [
            sys.executable,
            "-I",
            "-c",
            "import sys; sys.path[:0] = sys.argv[1:]; import a",
            environment / "lib",
        ],
        check=True,
    )
    assert cured.check(["a.pyc"], foreign=True).status == "passed"
