from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest

from envbuilder.errors import VerifyError
from envbuilder.verification.server import cleanup as remains_module
from envbuilder.verification.server import process as process_module
from envbuilder.verification.server.servers import StartOptions
from envbuilder.verification.server.tritonserver import TritonServer
from tests.verification.server.conftest import (
    SERVING,
    STUBBORN,
    program,
    repository,
    wait_until_dead,
)


def test_a_stubborn_server_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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
    tmp_path: Path, server: TritonServer, cpu_environment: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has made a folder that only its memory names, and others may be making theirs."""
    monkeypatch.setattr(remains_module, "_other_servers", lambda _: True)
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
