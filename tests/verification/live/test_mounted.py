from __future__ import annotations

from pathlib import Path

from envbuilder.verification.live.mounted import check_mounted, check_readable


def test_readable_by_everybody(environment: Path) -> None:
    assert check_readable(environment).status == "passed"
    (environment / "lib" / "a.py").chmod(0o640)
    (environment / "closed").mkdir(0o700)
    found = check_readable(environment)
    assert found.status == "failed"
    assert found.found == "not readable by all users: closed, lib/a.py"


def test_what_does_not_load_from_a_mount(environment: Path) -> None:
    (environment / "bin").mkdir()
    program = environment / "bin" / "python3"
    program.write_text('#!/bin/sh\ntouch "$0.written" && echo 3.0\n')
    program.chmod(0o755)
    found = check_mounted(environment)
    assert found.status in ("failed", "omitted")
    if found.status == "failed":
        assert "Read-only file system" in found.found
        program.write_text("#!/bin/sh\necho 3.0\n")
        assert check_mounted(environment).status == "passed"
        program.chmod(0o700)
        assert check_mounted(environment).status == "failed", "another user may not run it"
