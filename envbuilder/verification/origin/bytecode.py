"""Recompile bytecode as a build does, with the environment's own Python in its sandbox."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

from envbuilder.archive.extract import Member
from envbuilder.assemble.bytecode import BytecodeCompiler, Enter, bytecode_path
from envbuilder.util.crew import ended_by
from envbuilder.verification.origin.memory import Memory

_SECONDS: Final = 1800.0
"""Time limit in seconds: a program that is not Python must not block a verification."""


def compile_again(
    environment: Path,
    executable: Path,
    members: Mapping[str, Member],
    *,
    minor: str,
    enter: Enter,
    memory: Memory | None,
) -> dict[str, str]:
    """Return the sha256 of the bytecode of every source among *members*, by the path of the bytecode.

    The sources are in *environment*; *executable* is the path of its Python in the sandbox that *enter* enters.
    Results in *memory* are reused if the same Python produced them.

    Raises:
        AssembleError: that Python does not run, or does not end.
    """
    library = f"lib/python{minor}/"
    sources = sorted(
        path
        for path, member in members.items()
        if path.endswith(".py") and path.startswith(library) and member.link is None
    )
    key = ""
    if memory is not None:
        listed = [f"{path} {members[path].sha256}" for path in sources]
        python = [
            one.sha256 for path, one in members.items() if path.startswith(("bin/python", "lib/libpython"))
        ]
        key = memory.key("bytecode", minor, *sorted(python), *listed)
        known = memory.recall(key)
        if known is not None:
            return dict(known)
    workers = min(os.cpu_count() or 1, 8)
    with (
        BytecodeCompiler(lambda: executable, workers, enter=enter) as compiler,
        ended_by(compiler.kill),
        ThreadPoolExecutor(workers) as threads,
    ):
        deadline = threading.Timer(_SECONDS, compiler.kill)
        deadline.daemon = True
        deadline.start()
        try:
            made = list(threads.map(lambda path: _compiled(compiler, path, environment / path), sources))
        finally:
            deadline.cancel()
    found = {
        bytecode_path(path, minor): sha256
        for path, sha256 in zip(sources, made, strict=True)
        if sha256 is not None
    }
    if memory is not None:
        memory.remember(key, found)
    return found


def _compiled(compiler: BytecodeCompiler, path: str, source: Path) -> str | None:
    data = compiler.compile(path, source.read_bytes())
    return None if data is None else hashlib.sha256(data).hexdigest()
