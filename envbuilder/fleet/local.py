"""Runs a graph on this machine's cores: processes, each of which does one task at a time."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Generator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool

from envbuilder.errors import ClusterError
from envbuilder.fleet.plan import Node
from envbuilder.fleet.tasks import Done


def run_here(nodes: Mapping[str, Node], workers: int | None = None) -> Generator[tuple[str, Done]]:
    """Do every task of *nodes* after those it needs; yield each with its key as it is done.

    Raises:
        ClusterError: a process died, for instance for lack of memory.
    """
    count = min(workers or os.cpu_count() or 1, len(nodes))
    results: dict[str, Done] = {}
    waiting = list(nodes.values())
    running: dict[Future[Done], str] = {}
    executor = ProcessPoolExecutor(
        count, mp_context=multiprocessing.get_context("spawn"), initializer=_leave_interrupts_to_the_parent
    )
    try:
        while waiting or running:
            ready = [node for node in waiting if all(key in results for key in node.after)]
            for node in ready[: 2 * count - len(running)]:
                waiting.remove(node)
                made = (results[key] for key in node.after)
                running[executor.submit(node.work, *node.args, *made)] = node.key
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                key = running.pop(future)
                results[key] = future.result()
                yield key, results[key]
    except BrokenProcessPool as error:
        raise ClusterError(
            "a process that built died", hint="is there memory enough? --threads 1 needs less"
        ) from error
    finally:
        # Whoever wants no more, or is interrupted, does not wait for a task under way.
        for process in list((executor._processes or {}).values()) if running else ():
            process.terminate()
        executor.shutdown(wait=True, cancel_futures=True)


def _leave_interrupts_to_the_parent() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
