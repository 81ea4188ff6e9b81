"""Verifications that are stopped at each stage, and the same command again."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from envbuilder.deployment.pbtxt import set_parameter
from envbuilder.store.local import CACHE_VARIABLE, Store
from envbuilder.util.resources import sample_model
from envbuilder.verification.server.cleanup import Remains


@pytest.fixture
def own(tmp_path: Path, store: Store) -> Path:
    """A store of its own, with the server of this run."""
    root = tmp_path / "store"
    root.mkdir()
    (root / "tools").symlink_to(store.root / "tools")
    return root


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """The sample model, not compiled: it loads sooner."""
    model = shutil.copytree(sample_model(), tmp_path / "models" / sample_model().name)
    config = model / "config.pbtxt"
    text = set_parameter(config.read_text(), "TORCH_COMPILE_OPTIONAL_PARAMETERS", '{"disable": true}')
    config.write_text(text)
    return model


def processes(session: int, store: Path) -> dict[int, str]:
    """Return the command lines of a session's processes, and of those that work in *store*."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            state, _, _, sid = (folder / "stat").read_text().rpartition(")")[2].split()[:4]
            command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue
        if state != "Z" and (int(sid) == session or f"{store}/tmp/" in command):
            found[int(folder.name)] = command
    return found


def server_folders(store: Path, running: dict[int, str]) -> set[Path]:
    """Return the folders that the server of a verification has extracted into, or is about to."""
    found: set[Path] = set()
    for pid, command in running.items():
        if "/bin/tritonserver --id=" in command and not command.startswith(sys.executable):
            remains = Remains(name="", pid=pid, before=set())
            remains.look()
            found |= remains.extracted
    return found


def extracting(store: Path, _: dict[int, str]) -> bool:
    return any(store.glob("tmp/verify-*/*/tmp/python_env_*/0/bin/python3*"))


def probing(store: Path, running: dict[int, str]) -> bool:
    return any(
        "/_envbuilder_guest/__main__.py" in command and "tritonserver" not in command
        for command in running.values()
    )


def serving(store: Path, running: dict[int, str]) -> bool:
    return bool(server_folders(store, running))


@pytest.mark.torch
@pytest.mark.server
@pytest.mark.network
@pytest.mark.slow
@pytest.mark.usefixtures("server")  # in the store of this run
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_stopped_at_each_stage_and_begun_again(
    own: Path, model: Path, cpu_archive: Path, number: signal.Signals
) -> None:
    program = "from envbuilder.cli import main; main()"

    def start(model: Path) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-c", program, "verify", cpu_archive, "--model", model, "--server", "--json"],
            env={**os.environ, CACHE_VARIABLE: str(own)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def stop(at: Callable[[Path, dict[int, str]], bool], model: Path, within: float) -> None:
        process = start(model)
        while not at(own, processes(process.pid, own)):
            assert process.poll() is None, process.communicate()
            time.sleep(0.02)
        folders = server_folders(own, processes(process.pid, own))
        process.send_signal(number)
        out, err = process.communicate(timeout=60)
        if number == signal.SIGINT:
            assert (out, err, process.returncode) == ("", "interrupted\n", 130)
            assert list((own / "tmp").iterdir()) == []
        deadline = time.monotonic() + within
        while (left := processes(process.pid, own)) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert left == {}
        while any(folder.exists() for folder in folders) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert [folder for folder in folders if folder.exists()] == []

    stop(extracting, model, within=5)
    stop(probing, sample_model(), within=5)  # it would go on for longer: this one is compiled
    stop(serving, model, within=60)  # a server that loads a model ends afterwards
    if number == signal.SIGINT:  # it has left nothing that could be in the way
        return
    process = start(model)
    out, err = process.communicate(timeout=300)
    assert (err, process.returncode) == ("", 0)
    report = json.loads(out)
    assert {check["id"] for check in report["checks"]} >= {"probe.answers", "server.http", "server.grpc"}
    assert list((own / "tmp").iterdir()) == []
