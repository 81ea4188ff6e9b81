"""py-rattler, which solves and links conda packages. An extra, because it is 80 MB that most recipes do not need."""

from __future__ import annotations

import importlib
import importlib.metadata
import re
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from types import ModuleType
from typing import TYPE_CHECKING, Any, TypeVar

from envbuilder.errors import ResolveError
from envbuilder.util.extras import installing
from envbuilder.util.interruption import Interrupted
from envbuilder.util.urls import public

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop, Task

_T = TypeVar("_T")
_BRANCH = re.compile("[ │]*[├└]─")


def rattler() -> ModuleType:
    """Return the module ``rattler``.

    Raises:
        ResolveError: it is not installed.
    """
    try:
        for name in ("rattler.exceptions", "rattler.networking", "rattler.package_streaming"):
            importlib.import_module(name)
        return importlib.import_module("rattler")
    except ImportError as error:
        raise ResolveError(
            f"`provider: conda` requires py-rattler, which is not installed ({error})",
            hint=installing("conda"),
        ) from error


def rattler_version() -> str:
    """Return the version of py-rattler."""
    return importlib.metadata.version("py-rattler")


def wait(coroutine: Coroutine[Any, Any, _T]) -> _T:
    """Return the result of *coroutine*.

    It runs in its own thread, because the caller may already have an event loop, as notebooks do.
    """
    import asyncio  # not needed to build from wheels only

    running: list[tuple[AbstractEventLoop, Task[_T] | None]] = []

    async def known() -> _T:
        running.append((asyncio.get_running_loop(), asyncio.current_task()))
        return await coroutine

    with ThreadPoolExecutor(1, thread_name_prefix="rattler") as executor:
        result = executor.submit(asyncio.run, known())
        try:
            return result.result()
        except (KeyboardInterrupt, Interrupted):  # it came to this thread, not to that one
            for loop, task in running:
                if task is not None:
                    loop.call_soon_threadsafe(task.cancel)
            raise


def error_text(error: Exception) -> str:
    """Return py-rattler's error message, with one indented line per cause and without credentials."""
    lines = [re.sub(r"^\s*Caused by: ", "", line.rstrip()) for line in str(error).splitlines()]
    # A solver's reasons are a tree, whose branches are told by the spaces before them.
    lines = [line if _BRANCH.match(line) else line.strip() for line in lines if line.strip()]
    return public("\n  ".join(dict.fromkeys(lines)))
