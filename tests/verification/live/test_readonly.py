from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from envbuilder.verification.live.readonly import Watched
from envbuilder.verification.report import failed, passed


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


def test_a_read_only_mount_is_not_said_to_have_been_watched(environment: Path) -> None:
    ran = [passed("live.python", "it ran")]
    found = Watched(environment).check(["a.pyc"], readonly=True, ran=ran)
    assert (found.status, found.found) == (
        "passed",
        "models were loaded, compiled and called while it was mounted read-only",
    )


def test_what_failed_to_write_on_a_read_only_mount_is_named(environment: Path) -> None:
    ran = [
        failed(
            "live.load", "OSError: [Errno 30] Read-only file system: '/tmp/python_env_1/0/lib/cache'", "x"
        ),
        failed("live.compile", "cp: cannot create regular file: Read-only file system", "x"),
    ]
    found = Watched(environment).check(["a.pyc"], readonly=True, ran=ran)
    assert found.status == "warning"
    assert found.found == (
        "mounted read-only, writing into the environment failed: /tmp/python_env_1/0/lib/cache, live.compile"
    )
    assert found.fix is not None


@pytest.mark.parametrize("readonly", [True, False])
def test_nothing_is_said_of_what_did_not_run(readonly: bool, environment: Path) -> None:
    ran = [failed("live.load", "it has no forward", "x")]
    found = Watched(environment).check(["a.pyc"], readonly=readonly, ran=ran)
    assert found.status == "omitted"
    assert "live.load failed" in found.found


def test_modules_without_bytecode_are_named(environment: Path) -> None:
    found = Watched(environment).check(["lib/python3.11/a.py", "bin/b.py"])
    assert (found.status, found.fix) == ("warning", "pack: {bytecode: true}")
    assert "1 modules have no bytecode" in found.found
    assert "lib/python3.11/a.py" in found.found
    mounted = Watched(environment).check(["lib/python3.11/a.py"], readonly=True)
    assert "so Python compiles them on every start" in mounted.found


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
