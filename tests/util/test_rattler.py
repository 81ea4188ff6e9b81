from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
import time

import pytest

from envbuilder.errors import ResolveError
from envbuilder.util.extras import installing
from envbuilder.util.rattler import error_text, rattler, rattler_version, wait


def test_where_it_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rattler.networking", None)
    with pytest.raises(ResolveError) as caught:
        rattler()
    assert caught.value.message.startswith("`provider: conda` requires py-rattler, which is not installed (")
    assert (caught.value.hint, caught.value.exit_code) == (installing("conda"), 4)


def test_its_version_is_known() -> None:
    assert rattler().__version__ == rattler_version()


async def answer(value: int) -> int:
    await asyncio.sleep(0)
    return value


def test_waiting_with_and_without_an_event_loop_of_the_caller() -> None:
    async def notebook() -> int:
        return wait(answer(7))

    assert wait(answer(6)) == 6
    assert asyncio.run(notebook()) == 7


def test_what_fails_while_waiting_is_raised() -> None:
    async def fail() -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        wait(fail())


def test_ctrl_c_ends_what_is_waited_for() -> None:
    ended: list[str] = []

    async def sleep() -> None:
        threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            ended.append("cancelled")
            raise

    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        wait(sleep())
    assert ended == ["cancelled"]
    assert time.monotonic() - began < 30


def test_what_an_error_says_keeps_its_tree_and_no_credentials() -> None:
    error = Exception(
        "cannot solve\n\n  Caused by: https://me:secret@example.org/t/ab-12/our is gone\n"
        "└─ a 1.0 would require\n   └─ b >=2\n   └─ b >=2\n"
    )
    assert error_text(error) == (
        "cannot solve\n  https://example.org/our is gone\n  └─ a 1.0 would require\n     └─ b >=2"
    )
