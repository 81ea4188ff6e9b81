"""A Dask cluster on loopback: a scheduler and workers, each a process of its own with a store of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from envbuilder.store.local import CACHE_VARIABLE

_SCHEDULER = """
import asyncio, sys
from pathlib import Path
from distributed import Scheduler

async def main():
    async with Scheduler(host="127.0.0.1", port=0, dashboard=False) as scheduler:
        Path(sys.argv[1]).write_text(scheduler.address)
        await scheduler.finished()

asyncio.run(main())
"""
_WORKER = """
import asyncio, sys
{first}
from distributed import Worker

async def main():
    options = dict(nthreads=1, host="127.0.0.1", dashboard=False)
    async with Worker(sys.argv[1], local_directory=sys.argv[2], **options) as worker:
        await worker.finished()

asyncio.run(main())
"""


class Cluster:
    """A scheduler and its workers."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.workers: list[subprocess.Popen[bytes]] = []
        self._processes: list[subprocess.Popen[bytes]] = []
        place = folder / "address"
        self.scheduler = self._start(_SCHEDULER, [str(place)])
        deadline = time.monotonic() + 60
        while not (place.is_file() and place.read_text()):
            assert self.scheduler.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
        self.address = place.read_text()

    def add_worker(self, *, first: str = "", env: Mapping[str, str] | None = None) -> Path:
        """Start a worker that runs *first*; return the folder of its store."""
        name = f"worker-{len(self.workers)}"
        store = self.folder / name / "store"
        variables = {CACHE_VARIABLE: str(store), **(env or {})}
        code = _WORKER.format(first=first)
        self.workers.append(self._start(code, [self.address, str(self.folder / name)], variables))
        return store

    def _start(
        self, code: str, args: list[str], env: Mapping[str, str] | None = None
    ) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            [sys.executable, "-c", code, *args],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            # Dask's own scratch, which would stay in /tmp when it is killed.
            env={**os.environ, "DASK_TEMPORARY_DIRECTORY": str(self.folder), **(env or {})},
        )
        self._processes.append(process)
        return process

    def end(self) -> None:
        """Kill all of it."""
        for process in self._processes:
            process.kill()
        for process in self._processes:
            process.wait()


@contextmanager
def cluster_in(folder: Path) -> Iterator[Cluster]:
    """Run a scheduler."""
    cluster = Cluster(folder)
    try:
        yield cluster
    finally:
        cluster.end()
