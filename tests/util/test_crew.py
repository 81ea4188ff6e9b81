"""Jobs beside the main thread, and their end."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from pathlib import Path

import pytest

from envbuilder.util.crew import Crew, JobStoppedError, ended_by
from envbuilder.util.process import Completed, run

SLEEP = ["/bin/sleep", "300"]


def sleep(begun: threading.Event) -> Completed:
    begun.set()
    return run(SLEEP, env={}, check=False)


def test_a_result_and_an_error() -> None:
    with Crew() as crew:
        for beside in (True, False):
            assert crew.start(lambda: 3, beside=beside).result() == 3
            failing = crew.start(lambda: 1 // 0, beside=beside)
            with pytest.raises(ZeroDivisionError):
                failing.result()


def test_beside_is_another_thread_and_yields() -> None:
    before = os.getpriority(os.PRIO_PROCESS, 0)
    with Crew() as crew:
        nice = crew.start(lambda: os.getpriority(os.PRIO_PROCESS, threading.get_native_id()), nice=3)
        at_once = crew.start(threading.get_ident, beside=False, nice=3)
    assert nice.result() == 3
    assert at_once.result() == threading.get_ident()
    assert os.getpriority(os.PRIO_PROCESS, 0) == before


def test_a_stopped_job_ends_its_programs_and_starts_no_others() -> None:
    begun = threading.Event()

    def work() -> None:
        with contextlib.suppress(JobStoppedError):  # stopped between its start and its being noted
            ended.append(sleep(begun).returncode)
        with pytest.raises(JobStoppedError):
            run(SLEEP, env={})

    ended: list[int] = []
    began = time.monotonic()
    with Crew() as crew:
        job = crew.start(work)
        other = crew.start(lambda: run(["/bin/true"], env={}).returncode)
        begun.wait()
        while not children(os.getpid()):
            time.sleep(0.01)
        job.stop()
        job.result()
        assert ended in ([], [-9])
        assert other.result() == 0
    assert children(os.getpid()) == []
    assert time.monotonic() - began < 60


def test_an_error_stops_all_jobs() -> None:
    begun = threading.Event()
    ended: list[str] = []

    def work() -> None:
        try:
            ended.append(str(sleep(begun).returncode))
        except JobStoppedError:  # it had not come to start it
            ended.append("stopped")

    began = time.monotonic()
    with pytest.raises(KeyError), Crew() as crew:  # noqa: PT012  # the block is what is tested
        crew.start(work)
        begun.wait()
        raise KeyError
    assert ended in (["-9"], ["stopped"])
    assert time.monotonic() - began < 60


def test_whoever_is_no_job_is_not_ended() -> None:
    with ended_by(lambda: pytest.fail("it was called")):
        pass


def children(pid: int) -> list[Path]:
    """Return the sleeping children of *pid*."""
    return [path for path in Path("/proc").glob("[0-9]*/stat") if is_child(path, pid)]


def is_child(stat: Path, pid: int) -> bool:
    try:
        name, _, rest = stat.read_text().rpartition(")")
    except OSError:
        return False
    return name.endswith("(sleep") and rest.split()[1] == str(pid)
