"""A child that does not start as torch's workers do: each cause with a hint of its own."""

from __future__ import annotations

import pytest

from envbuilder.verification.live.child import RUNPATH, judge_child

PROGRAM = "/e/0/bin/python3"
OPEN = "cannot open shared object file: No such file or directory"
CASES = [
    ("0", "/e/0", "passed", "starts without ENV/lib on the loader's path", None),
    ("0", "/usr", "failed", "has the prefix /usr, and not /e/0", "take pyvenv.cfg"),
    (
        "127",
        f"error while loading shared libraries: libpython3.11.so.1.0: {OPEN}",
        "failed",
        "exited with 127",
        RUNPATH,
    ),
    ("1", "ImportError: /e/0/_ssl.so: undefined symbol: _PyModule_Add", "failed", "exited with 1", RUNPATH),
    ("1", f"ImportError: libsqlite3.so.0: {OPEN}", "failed", "exited with 1", "needs libsqlite3.so.0: lock"),
    ("1", "ModuleNotFoundError: No module named '_lzma'", "failed", "exited with 1", "library has no _lzma"),
    ("2", "no such option", "failed", "exited with 2: no such option", "fix what the text names"),
    ("-9", "", "unknown", "killed by signal 9: the system ended it", "more memory"),
    ("-4", "", "unknown", "killed by signal 4: this processor", "on the processor that serves"),
    ("-11", "Fatal", "failed", "killed by signal 11: Fatal", "another CPython"),
    ("timeout", "120 s", "unknown", "did not end in time", "less busy"),
    (
        "not started",
        "PermissionError: x",
        "failed",
        "cannot be started: PermissionError",
        "for this processor",
    ),
]


@pytest.mark.parametrize(("code", "output", "status", "text", "fix"), CASES)
def test_each_cause_has_its_hint(code: str, output: str, status: str, text: str, fix: str | None) -> None:
    child = {"executable": PROGRAM, "returncode": code, "output": output}
    found = judge_child(child, "/e/0")
    assert found[0] == status
    assert text in found[1]
    assert (found[2] is None) is (fix is None)
    assert fix is None or fix in str(found[2])
