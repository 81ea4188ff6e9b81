"""A server process until it is ready: with programs that behave as servers do at their worst."""

from __future__ import annotations

from pathlib import Path

import pytest

from envbuilder.errors import VerifyError
from envbuilder.verification.server.servers import StartOptions
from tests.verification.server.conftest import (
    SERVING,
    is_alive,
    program,
)


def test_a_server_that_dies(tmp_path: Path) -> None:
    fake = program(
        tmp_path,
        """
        print("E0101 00:00:00.000000 1 first.cc:1] the cause")
        for number in range(30):
            print("I0101 00:00:00.000000 1 more.cc:1] line", number)
        print("+----+\\n| table |")
        sys.exit(3)
        """,
    )
    with pytest.raises(VerifyError) as caught, fake.start(tmp_path, python="3.11", log=tmp_path / "log"):
        pass
    lines = "\n".join(f"  | I0101 00:00:00.000000 1 more.cc:1] line {number}" for number in range(10, 30))
    assert str(caught.value) == (
        f"{fake.binary} exited with 3 before it was ready; the last lines of its log ({tmp_path}/log):\n"
        f"  | E0101 00:00:00.000000 1 first.cc:1] the cause\n{lines}\n"
        "  hint: see the first error in the log: usually a model that does not load, or a missing library"
    )
    assert caught.value.exit_code == 7


def test_a_stub_that_the_server_takes_for_dead(tmp_path: Path) -> None:
    fake = program(
        tmp_path,
        """
        print("E0101 00:00:00.000000 1 x.cc:1] failed to load 'm': Stub process 'm_0_0' is not healthy.")
        sys.exit(1)
        """,
    )
    with pytest.raises(VerifyError) as caught, fake.start(tmp_path, python="3.11", log=tmp_path / "log"):
        pass
    assert caught.value.hint == (
        "a stub died, or got no CPU time for a second while it loaded, and the server considered it dead: "
        "try again, on a less busy machine"
    )


def test_a_server_that_is_killed(tmp_path: Path) -> None:
    fake = program(tmp_path, "os.kill(os.getpid(), signal.SIGKILL)")
    with pytest.raises(VerifyError) as caught, fake.start(tmp_path, python="3.11", log=tmp_path / "log"):
        pass
    assert caught.value.message == (
        f"{fake.binary} was killed by signal 9 before it was ready; the last lines of its log "
        f"({tmp_path}/log):\n  | (nothing)"
    )


def test_a_server_that_never_gets_ready(tmp_path: Path) -> None:
    fake = program(tmp_path, 'print(os.getpid(), flush=True)\nprint("loading", flush=True)\ntime.sleep(600)')
    log = tmp_path / "log"
    with (
        pytest.raises(VerifyError) as caught,
        fake.start(tmp_path, python="3.11", log=log, options=StartOptions(ready_timeout=2)),
    ):
        pass
    pid = int(log.read_text().splitlines()[0])
    assert str(caught.value) == (
        f"{fake.binary} was not ready after 2 s; the last lines of its log ({log}):\n  | {pid}\n  | loading\n"
        "  hint: increase the timeout if a model loads slowly; the log shows where one hangs"
    )
    assert not is_alive(pid)


def test_the_answer_of_another_server_does_not_count(tmp_path: Path) -> None:
    fake = program(tmp_path, 'NAME = "somebody else"' + SERVING)
    with (
        pytest.raises(VerifyError, match=r"was not ready after 1\.5 s"),
        fake.start(tmp_path, python="3.11", log=tmp_path / "log", options=StartOptions(ready_timeout=1.5)),
    ):
        pass
