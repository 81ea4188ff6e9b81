"""Ask py-rattler, in a process whose memory, files and time are limited, and read its answer."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from envbuilder.store.local import Store
from envbuilder.store.session import Session
from envbuilder.util.documents import LISTING, Record, parse_json
from envbuilder.util.process import CommandError, run
from envbuilder.util.text import counted, human


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """What py-rattler may take."""

    memory: int = 8 * 2**30
    """Bytes of address space: conda-forge's listing, the largest, has some 300 MB."""
    file: int = 2 * 2**30
    """Bytes of each file that it writes: the unpacked listing of a channel's folder."""
    seconds: float = 1800.0
    """How long it may take, however slow a channel is."""


LIMITS: Final = Limits()


class Unreachable(Exception):
    """A channel cannot be read: its number among those asked, and why."""

    def __init__(self, number: int, text: str) -> None:
        super().__init__(text)
        self.number = number
        self.text = text

    @property
    def limit(self) -> str | None:
        """Which limit it was, if it was one: out of memory (12), or a file too large (27)."""
        if not re.search(r"\(os error (12|27)\)", self.text):
            return None
        file, memory = human(LIMITS.file), human(LIMITS.memory)
        return f"a channel's listing may have {file} a file, and take {memory} of memory to read"


class Refused(Exception):
    """There is no solution."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text


class Exhausted(Exception):
    """A limit was reached; the text says which."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Found:
    """What the solver says of a package."""

    name: str
    version: str
    build: str
    subdir: str
    filename: str
    url: str
    sha256: str | None
    size: int | None
    depends: tuple[str, ...]
    noarch_python: bool


def ask(question: Mapping[str, Any], session: Session) -> list[Found]:
    """Return the packages that answer *question*, dependencies first.

    Raises:
        Unreachable: a channel cannot be read.
        Refused: there is no solution.
        Exhausted: reading the channels takes too much memory or time.
        CommandError: py-rattler failed otherwise.
    """
    limits = {"AS": LIMITS.memory, "FSIZE": LIMITS.file}
    with session.store.scratch("conda") as folder, _cache(session.store) as cache:
        document = {**question, "cache": str(cache), "timeout": session.settings.timeout, "limits": limits}
        path = folder / "question.json"
        path.write_text(json.dumps(document), encoding="utf-8")
        answer = _answer(path, folder)
    if "unreachable" in answer:
        raise Unreachable(answer.integer("unreachable"), answer.free_text("text"))
    if "refused" in answer:
        raise Refused(answer.free_text("text"))
    return [_found(record) for record in answer.records("records")]


@contextlib.contextmanager
def _cache(store: Store) -> Iterator[Path]:
    """Yield py-rattler's cache, without drafts of a killed process, which are removed if no other process uses it."""
    store.find("tools", "rattler")  # notes that it was used, so that it is not the first to be evicted
    cache = store.entry_path("tools", "rattler")
    cache.mkdir(parents=True, exist_ok=True)
    handle = os.open(cache / "in-use", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        _clean(cache, handle)
        fcntl.flock(handle, fcntl.LOCK_SH)
        yield cache
    finally:
        _clean(cache, handle)
        os.close(handle)


def _clean(cache: Path, handle: int) -> None:
    with contextlib.suppress(OSError):
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        for draft in cache.glob(".tmp*"):
            draft.unlink()


def _answer(path: Path, folder: Path) -> Record:
    command = [sys.executable, "-I", "-m", "envbuilder.base.conda_child", str(path)]
    # An arena of malloc takes address space, and there is one for each thread.
    env = {**os.environ, "MALLOC_ARENA_MAX": "2", "TMPDIR": str(folder)}
    try:
        done = run(command, env=env, timeout=LIMITS.seconds)
    except CommandError as error:
        if "memory allocation of" in error.output or "MemoryError" in error.output:
            raise Exhausted(f"took more than {human(LIMITS.memory)} of memory") from error
        if "ran out of time" in error.message:
            raise Exhausted(f"took more than {counted(round(LIMITS.seconds / 60), 'minute')}") from error
        raise
    return parse_json(done.stdout, where="py-rattler's answer", cap=LISTING)


def _found(record: Record) -> Found:
    return Found(
        name=record.text("name"),
        version=record.text("version"),
        build=record.text("build"),
        subdir=record.text("subdir"),
        filename=record.text("filename"),
        url=record.text("url"),
        sha256=record.digest("sha256") if "sha256" in record else None,
        size=record.integer("size") if "size" in record else None,
        depends=record.free_texts("depends"),
        noarch_python=record.boolean("noarch_python"),
    )
