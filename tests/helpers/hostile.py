"""Run the command line on hostile inputs, and say what must be true however it was attacked.

A :class:`Room` is a folder with everything that a run may touch (home, temporary folder, store, working directory);
:meth:`Room.run` runs ``envbuilder`` there, forked from a warm process in some tens of milliseconds, its memory limited;
:func:`refused` and :func:`accepted` check an :class:`Outcome`. The fixture ``room`` gives one to each test.
"""

from __future__ import annotations

import json
import os
import re
import stat
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

MEMORY = 1500 * 10**6
"""Bytes of address space that a command line gets."""
SECONDS = 60.0
"""How long one may take before it is killed."""
_GRACE = 0.3
"""Seconds that descendants have to end after the command line did."""
_GRACE_WHEN_KILLED = 10.0
"""The same where it was killed: what it was just starting finds that out when it has been started."""
_FILE_SIZE = 2 * 10**9
"""Bytes that it may write to one file: nothing hostile is to fill the disk of who runs the tests."""
_UNSAFE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufeff]"
)
"""What a terminal may obey, or show otherwise than it is: controls but for tab and newline, marks of direction."""
_DRAFT = re.compile(r"^\.|\.draft|^draft|\.part$|\.tmp$|^tmp[a-z0-9_]{8}$")
"""What names of unfinished files look like."""


class Zygote:
    """The warm process that forks a command line for each request."""

    def __init__(self) -> None:
        script = Path(__file__).with_name("zygote.py")
        # Threads of numpy's would not survive a fork.
        env = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "PYTHONHASHSEED": "0"}
        self._process = subprocess.Popen(
            [sys.executable, "-I", str(script)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=env,
        )
        self._ask(None, "ready")

    def run(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Have a command line run, and return how it ended."""
        answer: dict[str, Any] = json.loads(self._ask(json.dumps(request), "{"))
        return answer

    def close(self) -> None:
        """End the process."""
        self._process.communicate()

    def _ask(self, line: str | None, begins: str) -> str:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        if line is not None:
            self._process.stdin.write(line + "\n")
            self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer.startswith(begins):
            raise RuntimeError(f"the zygote is gone: {answer!r}, exit code {self._process.poll()}")
        return answer


@contextmanager
def zygote() -> Iterator[Zygote]:
    """Give a warm process, and end it."""
    process = Zygote()
    try:
        yield process
    finally:
        process.close()


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """How one run of the command line ended."""

    arguments: tuple[str, ...]
    code: int
    """Negative: the signal that ended it."""
    stdout: str
    stderr: str
    seconds: float
    seconds_to_end: float
    """From the signal of its moment to its end; 0.0 where there was none."""
    memory: int
    """Bytes resident at most, of it or of a program that it ran; what the warm process had counts."""
    late: bool
    """Whether it was killed because it took too long."""
    running: tuple[str, ...]
    """Command lines of the processes that it left behind."""
    changed: tuple[str, ...]
    """What came, went or changed in the room, relative to it; of a folder that came, its content too."""

    @property
    def error(self) -> str:
        """The first line of the error, which stands after what progress was told; empty where there is none."""
        return next((line for line in self.stderr.split("\n") if line.startswith(("error: ", "Error: "))), "")

    def __str__(self) -> str:
        return (
            f"envbuilder {' '.join(self.arguments)}: exit code {self.code}{', killed: too late' * self.late}, "
            f"{self.seconds:.2f} s, {self.memory / 1e6:.0f} MB\nstdout: {self.stdout[-2000:]!r}\n"
            f"stderr: {self.stderr[-6000:]}\nchanged: {self.changed[:20]}\nleft running: {self.running}"
        )


@dataclass(frozen=True, kw_only=True)
class Room:
    """A folder in which a command line runs: nothing that it does may reach out of ``may_write``."""

    folder: Path
    zygote: Zygote = field(repr=False)

    def __post_init__(self) -> None:
        for path in (self.home, self.temporary, self.store, self.work, self.streams):
            path.mkdir(exist_ok=True)

    @property
    def home(self) -> Path:
        """HOME of the run."""
        return self.folder / "home"

    @property
    def temporary(self) -> Path:
        """TMPDIR of the run: empty afterwards."""
        return self.folder / "tmp"

    @property
    def store(self) -> Path:
        """ENVBUILDER_CACHE of the run: it may always be written, but no scratch may stay in it."""
        return self.folder / "store"

    @property
    def work(self) -> Path:
        """The working directory of the run."""
        return self.folder / "work"

    @property
    def streams(self) -> Path:
        """Where the two streams are kept."""
        return self.folder / "streams"

    def steps(self) -> list[str]:
        """Return what the last run that was given a moment did to files and programs, in its order."""
        return _text(self._steps).splitlines()

    @property
    def _steps(self) -> Path:
        return self.streams / "steps"

    def environment(self, env: Mapping[str, str | None] | None = None) -> dict[str, str]:
        """Return the variables of a run; those that *env* maps to None are not set."""
        variables: dict[str, str | None] = {
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
            "HOME": str(self.home),
            "TMPDIR": str(self.temporary),
            "ENVBUILDER_CACHE": str(self.store),
            "LANG": "C.UTF-8",
            **(env or {}),
        }
        return {name: value for name, value in variables.items() if value is not None}

    def run(
        self,
        *arguments: str | os.PathLike[str],
        env: Mapping[str, str | None] | None = None,
        cwd: Path | None = None,
        memory: int | None = MEMORY,
        seconds: float = SECONDS,
        moment: tuple[int, int] | None = None,
        closed: Sequence[int] = (),
        somebody: bool = False,
    ) -> Outcome:
        """Run ``envbuilder *arguments*`` here; *memory* in bytes of address space, None for no limit.

        *closed* are standard streams that it finds closed. *somebody*: a user that is not root, and in no database.

        *moment* is a step and the signal that comes before it; step 0 never comes, and :meth:`steps` says how many
        there were.
        """
        out, err = self.streams / "stdout", self.streams / "stderr"
        given = tuple(os.fspath(argument) for argument in arguments)
        before = _snapshot(self.folder)
        request = {
            "arguments": given,
            "cwd": str(cwd or self.work),
            "env": self.environment(env),
            "memory": memory,
            "file_size": _FILE_SIZE,
            "seconds": seconds,
            "stdout": str(out),
            "stderr": str(err),
            "grace": _GRACE if moment is None else _GRACE_WHEN_KILLED,
            "closed": list(closed),
            "somebody": somebody,
            "moment": moment and {"step": moment[0], "number": moment[1], "record": str(self._steps)},
        }
        answer = self.zygote.run(request)
        after = _snapshot(self.folder)
        told = _text(self.streams / "steps-when") if moment is not None else ""
        return Outcome(
            arguments=given,
            code=answer["code"],
            stdout=_text(out),
            stderr=_text(err),
            seconds=answer["seconds"],
            seconds_to_end=answer["ended"] - float(told) if told else 0.0,
            memory=answer["memory"],
            late=answer["late"],
            running=tuple(answer["running"]),
            changed=tuple(path for path in sorted({*before, *after}) if before.get(path) != after.get(path)),
        )


def refused(
    outcome: Outcome,
    code: int,
    first_line: str | re.Pattern[str],
    *,
    may_write: Sequence[str] = (),
    report: Path | None = None,
) -> None:
    """Check that the run ended in an error of ours: *code*, *first_line* as it is told, nothing else happened.

    *may_write* names what may have changed in the room, relative to it: files, or folders with all in them. *report* is
    a JUnit or JSON file that was asked for, and must be there all the same.
    """
    assert outcome.code == code, str(outcome)
    if isinstance(first_line, str):
        assert outcome.error == first_line, str(outcome)
    else:
        assert first_line.fullmatch(outcome.error), str(outcome)
    harmless(outcome, may_write=may_write, report=report)


def accepted(outcome: Outcome, *, may_write: Sequence[str] = (), report: Path | None = None) -> None:
    """Check that the run was none the worse for what it was given: exit code 0, nothing hostile passed on."""
    assert outcome.code == 0, str(outcome)
    harmless(outcome, may_write=may_write, report=report)


def harmless(outcome: Outcome, *, may_write: Sequence[str] = (), report: Path | None = None) -> None:
    """Check what holds of every run: no traceback, no escape codes, nothing written elsewhere, nothing left."""
    assert not outcome.late, str(outcome)
    for stream in (outcome.stdout, outcome.stderr):
        # One of ours begins a line; one of the environment's own Python is quoted, behind a bar.
        assert not re.search(r"^Traceback", stream, re.MULTILINE), str(outcome)
        assert "Exception ignored" not in stream, str(outcome)
        assert not _UNSAFE.search(stream), str(outcome)
    assert not outcome.running, str(outcome)
    allowed = (*may_write, "store")
    elsewhere = [
        path
        for path in outcome.changed
        if not any(path == one or path.startswith(f"{one}/") for one in allowed)
    ]
    assert not elsewhere, f"written: {elsewhere[:20]}\n{outcome}"
    left = [
        path
        for path in outcome.changed
        if path.startswith("store/tmp/")
        or (
            _DRAFT.search(os.path.basename(path)) and not path.startswith("store/tools/")
        )  # a cache of uv's own
    ]
    assert not left, f"left: {left}\n{outcome}"
    if report is not None:
        _check_report(report)


def _check_report(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert not _UNSAFE.search(text), text
    if path.suffix == ".xml":
        assert ElementTree.fromstring(text).tag == "testsuites"
    else:
        assert json.loads(text)["checks"]


def _text(path: Path) -> str:
    return path.read_bytes().decode("utf-8", "surrogateescape") if path.exists() else ""


def _snapshot(folder: Path) -> dict[str, tuple[object, ...]]:
    """Return what lies in *folder*, but for the streams: kind, mode, size, time and identity by relative path."""
    found: dict[str, tuple[object, ...]] = {}
    pending = [(str(folder), "")]
    while pending:
        path, prefix = pending.pop()
        with os.scandir(path) as entries:
            for entry in entries:
                if entry.name == "streams" and not prefix:
                    continue
                status = entry.stat(follow_symlinks=False)
                name = prefix + entry.name
                if stat.S_ISDIR(status.st_mode):
                    found[name] = (status.st_mode, status.st_ino)
                    if os.access(entry.path, os.R_OK | os.X_OK):
                        pending.append((entry.path, name + "/"))
                else:
                    found[name] = (status.st_mode, status.st_size, status.st_mtime_ns, status.st_ino)
    return found
