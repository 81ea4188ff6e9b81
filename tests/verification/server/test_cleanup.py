"""What is left of a server that was killed: its stubs, its shared memory, and the folders that it extracted into."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from envbuilder.errors import VerifyError
from envbuilder.verification.server import process as process_module
from envbuilder.verification.server.cleanup import Leftovers, extractions, guarded
from envbuilder.verification.server.servers import StartOptions
from envbuilder.verification.server.tritonserver import TritonServer
from tests.verification.server.conftest import (
    SERVING,
    STUBBORN,
    is_alive,
    program,
    repository,
    wait_until_dead,
)


@pytest.mark.parametrize("stubborn", [False, True])
def test_a_server_ends_with_the_process_that_started_it(tmp_path: Path, stubborn: bool) -> None:
    what = (
        STUBBORN if stubborn else 'print(os.getpid(), os.getpid(), "/none", flush=True)\nNAME = options["id"]'
    )
    program(tmp_path, "import tempfile\n" + what + SERVING)
    script = f"""
import os, pathlib, signal
from envbuilder.verification.server import cleanup
from envbuilder.verification.server.tritonserver import TritonServer
cleanup.TERMINATE_AFTER = 0.5
folder = pathlib.Path({str(tmp_path)!r})
stub = folder / "backends" / "python" / "triton_python_backend_stub"
fake = TritonServer(binary=folder / "bin" / "tritonserver", backends=folder / "backends", stubs={{"3.11": stub}})
with fake.start(folder, python="3.11", log=folder / "log"):
    os.kill(os.getpid(), signal.SIGKILL)
"""
    done = subprocess.run([sys.executable, "-c", script], check=False)
    assert done.returncode == -signal.SIGKILL
    child, server, folder = (tmp_path / "log").read_text().split()
    assert wait_until_dead(int(server))
    assert wait_until_dead(int(child))
    region = f"envbuilder-*{folder[-6:]}-region"
    deadline = time.monotonic() + 10
    while (Path(folder).exists() or any(Path("/dev/shm").glob(region))) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not Path(folder).exists()
    assert list(Path("/dev/shm").glob(region)) == []


def test_a_stubborn_server_leaves_nothing(
    tmp_path: Path, another_server: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process_module, "TERMINATE_AFTER", 0.5)
    fake = program(tmp_path, "import tempfile" + STUBBORN + SERVING)
    with tempfile.TemporaryDirectory(prefix="python_env_", dir="/tmp") as foreign:
        other = Path(foreign).rename(f"/tmp/python_env_{os.urandom(3).hex()}")
        try:
            with fake.start(tmp_path, python="3.11", log=tmp_path / "log") as running:
                child, server, folder = running.log.read_text().split()
                name = "envbuilder-*" + folder[-6:]
                assert Path(folder).is_dir()
                assert len(list(Path("/dev/shm").glob(f"{name}-region"))) == 1
            assert not Path(folder).exists()
            assert not Path(f"/tmp/torch-environment-{folder[-6:]}").is_symlink()
            assert list(Path("/dev/shm").glob(f"{name}-region")) == []
            assert other.is_dir()  # somebody else's stays
            assert wait_until_dead(int(child))
            assert wait_until_dead(int(server))
        finally:
            other.rename(foreign)


@pytest.mark.server
@pytest.mark.network
@pytest.mark.slow
def test_a_server_ended_while_it_loads_leaves_nothing(
    tmp_path: Path,
    server: TritonServer,
    cpu_environment: Path,
    another_server: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It has made a folder that only its memory names, and others may be making theirs."""
    seen: list[set[Path]] = []
    stop = process_module.ServerProcess.stop

    def spy(session: process_module.ServerProcess) -> None:
        stop(session)
        seen.append(session.leftovers.extracted - session.leftovers.before)

    monkeypatch.setattr(process_module.ServerProcess, "stop", spy)
    models = repository(tmp_path, cpu_environment, "import time\ntime.sleep(600)\n")
    with (
        pytest.raises(VerifyError, match="was not ready after 10 s"),
        server.start(models, python="3.11", log=tmp_path / "log", options=StartOptions(ready_timeout=10)),
    ):
        pass
    (folders,) = seen
    assert folders
    assert [folder for folder in folders if folder.exists()] == []


# -- what is seen of a server ----------------------------------------------------------------------


@pytest.fixture
def extracted(another_server: int) -> Iterator[Path]:
    """A folder as a server extracts an environment into.

    Beside it runs "another server", so that a test at the same time does not take it for that of a server it killed.
    """
    folder = Path(tempfile.mkdtemp(prefix="python_env_", dir="/tmp"))
    folder = folder.rename(f"/tmp/python_env_{os.urandom(3).hex()}")
    (folder / "0").mkdir()
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def running(script: str, *args: str, **options: Any) -> Iterator[subprocess.Popen[str]]:
    """A process that leads a group of its own, once it has printed a line."""
    process = subprocess.Popen(
        [sys.executable, "-c", f"{script}\nprint(flush=True)\nimport time\ntime.sleep(600)", *args],
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
        **options,
    )
    try:
        assert process.stdout is not None
        process.stdout.readline()
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def of(process: subprocess.Popen[str], *before: Path, name: str = "envbuilder-test") -> Leftovers:
    return Leftovers(name=name, pid=process.pid, before=set(before))


@pytest.mark.parametrize("how", ["its working directory", "its command", "a variable", "its child's"])
def test_the_folders_that_a_server_uses_are_its_own(extracted: Path, how: str) -> None:
    with contextlib.ExitStack() as stack:
        if how == "its working directory":
            process = stack.enter_context(running("", cwd=extracted))
        elif how == "its command":
            process = stack.enter_context(running("", str(extracted / "0")))
        elif how == "a variable":
            process = stack.enter_context(running("", env={"LD_LIBRARY_PATH": str(extracted / "0" / "lib")}))
        else:
            child = f"import subprocess\nsubprocess.Popen(['sleep', '600'], cwd={str(extracted)!r})"
            process = stack.enter_context(running(child))
        leftovers = of(process)
        leftovers.look()
        assert leftovers.extracted == {extracted}


def test_a_folder_that_only_its_memory_names(extracted: Path) -> None:
    backwards = str(extracted)[::-1]  # so that its command does not name it
    with running(f"kept = {backwards!r}[::-1] + '/0'") as process:
        leftovers = of(process)
        leftovers.look()
        assert leftovers.extracted == set()
        leftovers.remember()
        assert leftovers.extracted == {extracted}


def test_of_a_process_that_is_gone_nothing_is_seen() -> None:
    with running("") as process:
        leftovers = of(process)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        leftovers.look()
        leftovers.remember()
        leftovers.kill()
    assert leftovers.extracted == set()


def test_its_whole_group_is_killed() -> None:
    with running("import subprocess\nprint(subprocess.Popen(['sleep', '600']).pid)") as process:
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        (child,) = map(int, children.read_text().split())
        of(process).kill()
        process.wait(10)
        assert wait_until_dead(child)
        assert process.returncode == -signal.SIGKILL


def test_its_files_are_removed_and_those_of_others_stay(extracted: Path, tmp_path: Path) -> None:
    name = f"envbuilder-{os.urandom(6).hex()}"
    link = Path(tempfile.gettempdir()) / f"torch-environment-{os.urandom(4).hex()}"
    other = link.with_name(f"{link.name}-other")
    link.symlink_to(extracted / "0")
    other.symlink_to(tmp_path)
    regions = [Path(f"/dev/shm/{name}{end}") for end in ("-region", "_stub")]
    strange = Path(f"/dev/shm/other-{name}")
    for path in (*regions, strange):
        path.touch()
    leftovers = Leftovers(name=name, pid=0, before=set(), extracted={extracted, tmp_path / "gone"})
    try:
        leftovers.clear(killed=False)
        assert not extracted.exists()
        assert not link.is_symlink()
        assert [path.exists() for path in regions] == [False, False]
        assert other.is_symlink()
        assert strange.exists()
    finally:
        for path in (link, other, strange):
            path.unlink(missing_ok=True)


def test_folders_that_were_there_before_stay(extracted: Path) -> None:
    assert extracted in extractions()
    Leftovers(name="envbuilder-x", pid=0, before={extracted}, extracted={extracted}).clear(killed=False)
    assert extracted.exists()


def test_a_new_folder_of_a_killed_server_is_its_own_only_where_no_other_server_runs(
    extracted: Path, another_server: int
) -> None:
    Leftovers(name="envbuilder-x", pid=0, before=extractions() - {extracted}).clear(killed=True)
    assert extracted.exists(), "it may be the other's"


def test_the_guard_ends_with_the_block(tmp_path: Path) -> None:
    with guarded("envbuilder-none", []):
        (guard,) = children_called("envbuilder-none")
    assert not is_alive(guard)


def children_called(name: str) -> list[int]:
    """Those of this thread; a process has no command line yet in the moment in which it starts."""
    children = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children")
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        pids = children.read_text().split()
        found = [int(pid) for pid in pids if name.encode() in Path(f"/proc/{pid}/cmdline").read_bytes()]
        if found:
            return found
        time.sleep(0.01)
    return []
