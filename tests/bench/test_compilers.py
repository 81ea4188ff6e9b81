"""Runs of a compiler are counted, and the compiler runs."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from envbuilder.bench.compilers import CompilerCount


def told(env: dict[str, str]) -> str:
    """Return what g++ says of itself: torch keeps what it found out about processors by that."""
    return subprocess.run(["g++", "-v"], env=env, check=True, capture_output=True, text=True).stderr


def test_what_compiles_is_counted_and_nothing_else(tmp_path: Path) -> None:
    compilers = CompilerCount(tmp_path / "compilers")
    assert compilers.count() == 0
    env = {"PATH": f"{compilers.folder}{os.pathsep}{os.environ['PATH']}"}

    def run(*args: str) -> str:
        command = ["g++", *args]
        done = subprocess.run(command, env=env, cwd=tmp_path, check=True, capture_output=True, text=True)
        return done.stdout

    assert "g++" in run("--version").lower()
    assert told(env) == told(dict(os.environ))
    source = tmp_path / "one two.cpp"
    source.write_text("int f() { return 1; }\n")
    assert "int f()" in run("-E", str(source))
    assert compilers.count() == 0
    run("-c", str(source), "-o", "a.o")
    assert (tmp_path / "a.o").exists()
    assert compilers.count() == 1
    assert "-c" in compilers.runs()[0]
