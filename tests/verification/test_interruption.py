"""Verifications that are stopped at each stage, and the same command again."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from envbuilder.store.local import CACHE_VARIABLE, Store
from envbuilder.verification.server.cleanup import Leftovers
from tests.helpers.own_models import FLOATS, HELPER, SCALING, write

SLOW = """\
import subprocess


class TritonPythonModel:
    def initialize(self, args):
        subprocess.run(["sleep", "600"], start_new_session=True)
"""


@pytest.fixture
def own(tmp_path: Path, store: Store) -> Path:
    """A store of its own, with the server of this run."""
    root = tmp_path / "store"
    root.mkdir()
    (root / "tools").symlink_to(store.root / "tools")
    return root


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A model of a user's own."""
    return write(tmp_path / "models", "helper", HELPER, FLOATS, {"1/scaling.py": SCALING.encode()})


@pytest.fixture
def slow_model(tmp_path: Path) -> Path:
    """One that never has loaded, and has a process in a session of its own."""
    return write(tmp_path / "models", "slow", SLOW, FLOATS)


class Tree:
    """The processes that a program has started, and those of them that outlive it."""

    def __init__(self, root: int) -> None:
        self.root = root
        self.sessions: set[int] = set()

    def running(self) -> dict[int, str]:
        """Return their command lines: descendants, and who is in the session of one that was seen."""
        parents, sessions, commands = {}, {}, {}
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                state, parent, _, session = (folder / "stat").read_text().rpartition(")")[2].split()[:4]
                command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            except OSError:
                continue
            if state != "Z":
                pid = int(folder.name)
                parents[pid], sessions[pid], commands[pid] = int(parent), int(session), command
        ours = {self.root}
        while more := {pid for pid, parent in parents.items() if parent in ours} - ours:
            ours |= more
        self.sessions |= {sessions[pid] for pid in ours if pid in sessions}
        return {pid: commands[pid] for pid, session in sessions.items() if session in self.sessions}


def server_folders(running: dict[int, str]) -> set[Path]:
    """Return the folders that the server of a verification has extracted into, or is about to."""
    found: set[Path] = set()
    for pid, command in running.items():
        if "/bin/tritonserver --id=" in command and not command.startswith(sys.executable):
            leftovers = Leftovers(name="", pid=pid, before=set())
            leftovers.look()
            found |= leftovers.extracted
    return found


Stage = Callable[[Path, dict[int, str]], bool]


def extracting(store: Path, _: dict[int, str]) -> bool:
    return any(store.glob("tmp/verify-*/*/tmp/python_env_*/0/bin/python3*"))


def probing(_: Path, running: dict[int, str]) -> bool:
    return any(
        "/_envbuilder_guest/__main__.py" in command and "tritonserver" not in command
        for command in running.values()
    )


def loading(_: Path, running: dict[int, str]) -> bool:
    return bool(server_folders(running))


def answering(store: Path, _: dict[int, str]) -> bool:
    return any("Started HTTPService" in log.read_text() for log in store.glob("tmp/verify-*/server.log"))


@dataclass(frozen=True)
class Verification:
    """``verify --server`` to start and to stop."""

    archive: Path
    store: Path
    seconds: list[float] = field(default_factory=list)
    """From each signal to the end."""

    def start(self, model: Path) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [
                sys.executable,
                "-m",
                "envbuilder",
                "verify",
                self.archive,
                "--model",
                model,
                "--server",
                "--json",
            ],
            env={**os.environ, CACHE_VARIABLE: str(self.store)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def stop(self, at: Stage, model: Path, number: signal.Signals) -> tuple[int, str]:
        """Start it, send it the signal when it is so far, and wait until nothing of it is left."""
        process = self.start(model)
        tree = Tree(process.pid)
        while not at(self.store, tree.running()):
            assert process.poll() is None, process.communicate()
            time.sleep(0.02)
        folders = server_folders(tree.running())
        process.send_signal(number)
        began = time.monotonic()
        out, err = process.communicate(timeout=60)
        self.seconds.append(time.monotonic() - began)
        assert out == ""
        deadline, told = time.monotonic() + 240, number != signal.SIGKILL
        scratch = self.store / "tmp"
        while (
            tree.running() or any(folder.exists() for folder in folders) or (told and any(scratch.iterdir()))
        ):
            assert time.monotonic() < deadline, (tree.running(), folders, list(scratch.iterdir()))
            time.sleep(0.05)  # what a slow disk has not removed by the end goes afterwards
        return process.returncode, err


@pytest.fixture
def verification(own: Path, plain_archive: Path) -> Verification:
    return Verification(archive=plain_archive, store=own)


@pytest.mark.server
@pytest.mark.network
@pytest.mark.slow
@pytest.mark.usefixtures("server")  # in the store of this run
def test_told_to_end_at_each_stage(verification: Verification, model: Path, slow_model: Path) -> None:
    for at, tried, number, said in (
        (extracting, model, signal.SIGINT, "interrupted"),
        (probing, slow_model, signal.SIGTERM, "terminated"),
        (loading, model, signal.SIGHUP, "hung up"),
        (answering, model, signal.SIGTERM, "terminated"),
    ):
        assert verification.stop(at, tried, number) == (128 + number, f"{said}\n"), at
    # Within two seconds, but where the machine is busy just then.
    assert sorted(verification.seconds)[-2] < 2, verification.seconds


@pytest.mark.server
@pytest.mark.network
@pytest.mark.slow
@pytest.mark.usefixtures("server")  # in the store of this run
def test_killed_at_each_stage_and_begun_again(
    verification: Verification, model: Path, slow_model: Path
) -> None:
    for at, tried in ((extracting, model), (probing, slow_model), (loading, model), (answering, model)):
        assert verification.stop(at, tried, signal.SIGKILL) == (-signal.SIGKILL, ""), at
    process = verification.start(model)
    out, err = process.communicate(timeout=300)
    assert (err, process.returncode) == ("", 0)
    report = json.loads(out)
    assert {check["id"] for check in report["checks"]} >= {"probe.answers", "server.http", "server.grpc"}
    assert list((verification.store / "tmp").iterdir()) == []
