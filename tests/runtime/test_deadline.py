"""Compiling has an end, whoever it waits for."""

from __future__ import annotations

import contextlib
import subprocess
import threading
import time
from typing import Any

import pytest

from tests.helpers.runtime import load_runtime


def deadline_module() -> Any:
    return load_runtime().runtime_module("deadline")


def sleep_in_python() -> None:
    until = time.monotonic() + 30
    while time.monotonic() < until:
        time.sleep(0.01)


def swallow() -> None:
    until = time.monotonic() + 30
    while time.monotonic() < until:
        with contextlib.suppress(Exception):
            time.sleep(30)


@pytest.mark.parametrize(
    "work",
    [sleep_in_python, swallow, lambda: subprocess.run(["sleep", "30"], check=True), threading.Event().wait],
    ids=["python", "handlers", "child", "lock"],
)
def test_work_ends_when_the_time_is_over(work: Any) -> None:
    module = deadline_module()
    began = time.monotonic()
    with pytest.raises(module.OutOfTimeError), module.Deadline(0.2, lambda seconds: None):
        work()
    assert time.monotonic() - began < 10


def test_on_another_thread_work_ends_too() -> None:
    module = deadline_module()
    ended = []

    def run() -> None:
        try:
            with module.Deadline(0.2, lambda seconds: None):
                sleep_in_python()
        except module.OutOfTimeError:
            ended.append(True)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(20)
    assert ended == [True]


def test_what_is_done_in_time_goes_on_and_progress_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    module = deadline_module()
    monkeypatch.setattr(module, "TICK", 0.1)
    told: list[float] = []
    with module.Deadline(60, told.append):
        time.sleep(0.5)
    assert len(told) >= 2
    assert told == sorted(told)
    time.sleep(0.3)  # nothing comes afterwards


def test_work_ends_when_it_is_too_much() -> None:
    module = deadline_module()
    began = time.monotonic()
    with (
        pytest.raises(module.OutOfTimeError),
        module.Deadline(60, print, lambda: time.monotonic() > began + 0.1),
    ):
        sleep_in_python()
    assert time.monotonic() - began < 10


@pytest.mark.parametrize("thread", [False, True])
def test_what_makes_another_error_of_it_is_out_of_time_too(thread: bool) -> None:
    """As Dynamo does, whose guards are evaluated in C++ and are false if they raise."""
    module, caught = deadline_module(), []

    def work() -> None:
        try:
            with module.Deadline(0.1, print):
                try:
                    sleep_in_python()
                except module.OutOfTimeError:
                    raise AssertionError("Guard failed") from None
        except BaseException as error:
            caught.append((type(error), str(error.__cause__)))

    if thread:
        worker = threading.Thread(target=work)
        worker.start()
        worker.join()
    else:
        work()
    assert caught == [(module.OutOfTimeError, "Guard failed")]


def test_an_error_before_the_time_is_up_stays_what_it_is() -> None:
    with pytest.raises(ValueError, match="wrong"), deadline_module().Deadline(60, print):
        raise ValueError("wrong")
