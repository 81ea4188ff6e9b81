"""Runs a graph on the workers of a Dask cluster."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Generator, Mapping
from contextlib import suppress
from typing import Any

from envbuilder.assemble.packing import tools
from envbuilder.errors import ClusterError, IntegrityError, RecipeError
from envbuilder.fleet.plan import Node
from envbuilder.fleet.tasks import Done, Failure, check_tools
from envbuilder.util.extras import installing

CONNECT_SECONDS = 30.0
PATIENCE_SECONDS = 60.0
"""How long a cluster may have no workers, or not respond, before the run fails, in seconds."""
_LOOK_EVERY = 2.0


def run_on_cluster(
    nodes: Mapping[str, Node], address: str, *, patience: float = PATIENCE_SECONDS
) -> Generator[tuple[str, Done]]:
    """Do every task of *nodes* on the workers of the scheduler at *address*; yield each with its key as it is done.

    Running tasks of a lost worker are repeated by others; its finished results are in the store.

    Raises:
        RecipeError: Dask's ``distributed`` is not installed.
        ClusterError: *address* does not respond, a worker has another envbuilder, there are no workers, or the
        cluster is lost.
    """
    try:
        from distributed import Client
    except ImportError as error:
        raise RecipeError("--cluster needs Dask's distributed", hint=installing("cluster")) from error
    try:
        client: Any = _untyped(Client)(address, timeout=CONNECT_SECONDS, set_as_default=False)
    except (OSError, ValueError, TimeoutError, asyncio.TimeoutError) as error:
        raise ClusterError(
            f"no Dask scheduler answers at {address}: {error}", hint="`dask scheduler` says its address"
        ) from error
    try:
        _check_workers(client, address, patience)
        yield from _Run(client, address, patience).results(nodes)
    finally:
        with suppress(Exception):  # a lost cluster cannot be disconnected
            client.close(timeout=2)


def _check_workers(client: Any, address: str, patience: float) -> None:
    """Check that there are workers, and that each makes the same bytes as this machine.

    Raises:
        ClusterError: one does not; it names all of them.
    """
    try:
        client.wait_for_workers(1, timeout=patience)
    except (TimeoutError, asyncio.TimeoutError) as error:
        raise ClusterError(
            f"the cluster {address} has no workers", hint=f"`dask worker {address}` starts one"
        ) from error
    problems = []
    for worker, found in sorted(client.run(tools, on_error="return").items()):
        if isinstance(found, BaseException):
            problems.append(f"{worker}: no envbuilder that answers: {found}")
            continue
        try:
            check_tools(tools(), found)
        except IntegrityError as error:
            problems.append(f"{worker}: {error.message}")
    if problems:
        raise ClusterError(
            "workers are refused:" + "".join(f"\n  {line}" for line in problems),
            hint="install the same envbuilder on all of them; the bytes would be others",
        )


class _Run:
    """One graph on one cluster."""

    def __init__(self, client: Any, address: str, patience: float) -> None:
        self._client = client
        self._address = address
        self._patience = patience

    def results(self, nodes: Mapping[str, Node]) -> Generator[tuple[str, Done]]:
        """Submit every task; yield the results."""
        # A kept future would repeat its task when its worker is lost.
        waiting: dict[str, Any] = {}
        made: list[Any] = []
        for priority, node in enumerate(nodes.values()):
            made = [waiting[key] for key in node.after]
            waiting[node.key] = self._client.submit(
                node.work, *node.args, *made, key=node.key, pure=False, priority=-priority
            )
        made.clear()
        answered = time.monotonic()
        while waiting:
            before = len(waiting)
            for key in [key for key, future in waiting.items() if future.status in ("finished", "error")]:
                result = self._result(waiting[key])
                if result is not None:
                    del waiting[key]
                    yield key, result
            lost = [key for key, future in waiting.items() if future.status in ("cancelled", "lost")]
            done = len(nodes) - len(waiting)
            if lost or self._client.status not in ("running", "connecting"):
                raise self._gone(done, len(nodes))
            moved = len(waiting) < before
            answered = time.monotonic() if moved else self._look(answered, done, len(nodes))

    def _look(self, answered: float, done: int, total: int) -> float:
        """Wait a little; return when the cluster last had workers."""
        deadline = time.monotonic() + _LOOK_EVERY
        try:
            if self._client.sync(_workers, self._client, callback_timeout=self._patience / 4):
                answered = time.monotonic()
        except Exception:  # any error counts as no response
            pass
        if time.monotonic() - answered > self._patience:
            raise self._gone(done, total)
        time.sleep(max(0.0, min(0.2, deadline - time.monotonic())))
        return answered

    def _result(self, future: Any) -> Done | None:
        """Fetch a result; None: its worker does not respond, and the task is repeated."""
        try:
            result: Done = future.result(timeout=self._patience / 4)
        except (TimeoutError, asyncio.TimeoutError):
            return None
        except Exception as error:  # of Dask's, for instance when every worker that tried it was lost
            return Done(failure=Failure(message=f"{type(error).__name__}: {error}", hint=None, exit_code=1))
        return result

    def _gone(self, done: int, total: int) -> ClusterError:
        return ClusterError(
            f"the cluster {self._address} went away: {done} of {total} tasks were done",
            hint="what they made is in the store, and what a lasting key signed there counts: build again",
        )


def _untyped(made: Any) -> Any:
    """Cast *made*, whose library has no types."""
    return made


async def _workers(client: Any) -> int:
    return len((await client.scheduler.identity())["workers"])
