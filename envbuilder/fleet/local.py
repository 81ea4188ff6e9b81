"""Run a graph on this machine's cores, in processes that do one task at a time."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Generator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import wait as wait_for_end
from pathlib import Path
from typing import NoReturn

from envbuilder.base.interpreter import look_once
from envbuilder.errors import ClusterError
from envbuilder.fleet.plan import Node
from envbuilder.fleet.tasks import Done
from envbuilder.util import leftovers
from envbuilder.util.interruption import shielded


def run_here(nodes: Mapping[str, Node], workers: int | None = None) -> Generator[tuple[str, Done]]:
    """Do every task of *nodes* after those it needs; yield each with its key as it is done.

    Raises:
        ClusterError: a process died, for instance for lack of memory.
    """
    count = min(workers or os.cpu_count() or 1, len(nodes))
    results: dict[str, Done] = {}
    waiting = list(nodes.values())
    running: dict[Future[Done], str] = {}
    before = set(multiprocessing.active_children())
    executor = ProcessPoolExecutor(
        count, mp_context=multiprocessing.get_context("spawn"), initializer=_prepare_worker
    )
    try:
        while waiting or running:
            ready = [node for node in waiting if all(key in results for key in node.after)]
            for node in ready[: 2 * count - len(running)]:
                waiting.remove(node)
                made = (results[key] for key in node.after)
                with shielded():  # a starting process waits for the rest of its arguments
                    running[executor.submit(node.work, *node.args, *made)] = node.key
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                key = running.pop(future)
                results[key] = future.result()
                yield key, results[key]
    except BrokenProcessPool as error:
        raise _died() from error
    finally:
        # A caller that stops early, or is interrupted, does not wait for a running task.
        for process in set(multiprocessing.active_children()) - before if running else ():
            process.terminate()
        executor.shutdown(wait=True, cancel_futures=True)


def _died() -> ClusterError:
    script = getattr(sys.modules["__main__"], "__file__", None)
    if script is not None and not _is_guarded(Path(script)):
        return ClusterError(
            "a process that was to build ended as it began",
            hint=f'put what {Path(script).name} does below `if __name__ == "__main__":`; '
            "each process that builds imports it, and would build itself",
        )
    return ClusterError("a process that built died", hint="is there memory enough? --threads 1 needs less")


def _is_guarded(script: Path) -> bool:
    """Whether *script* has the ``__main__`` guard; an unreadable one is assumed to."""
    try:
        return "__name__" in script.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return True


def _prepare_worker() -> None:
    """Ignore signals, which the parent handles, and end with the parent, even if that is killed."""
    look_once()
    # A handler and not SIG_IGN, which the programs that a task runs would inherit.
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: None)
    signal.signal(signal.SIGTERM, _end_worker)
    threading.Thread(target=_end_with_parent, name="parent", daemon=True).start()


def _end_worker(*_: object) -> NoReturn:
    leftovers.finish(128 + signal.SIGTERM)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:  # a worker has one
        wait_for_end([parent.sentinel])
        _end_worker()
