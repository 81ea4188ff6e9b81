"""Segments in the archive's order, each as soon as it can be had: while others are still assembled or arrive."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

from envbuilder.archive.segment import Segment
from envbuilder.assemble.assembler import Assembler
from envbuilder.assemble.shared_paths import SharedPaths, expect_shared
from envbuilder.errors import AssembleError
from envbuilder.fetch.download import fetch
from envbuilder.lockfile.model import Artifact, Lock
from envbuilder.store.session import Session

_AT_A_TIME = 2
"""Segments under way at a time: one's small files fill the gaps of another's large ones."""


class Pipeline:
    """Fetches the artifacts of *lock* and assembles them, in threads of its own. Use :func:`open_pipeline`."""

    def __init__(self, lock: Lock, assembler: Assembler, session: Session) -> None:
        self._lock = lock
        self._assembler = assembler
        self._session = session
        self._workers = ThreadPoolExecutor(_AT_A_TIME)
        self._base = self._workers.submit(assembler.base)
        self._made: dict[str, Future[Segment]] = {artifact.name: Future() for artifact in lock.artifacts}
        self._paths: dict[str, Path] = {}
        self._listings: dict[str, frozenset[str]] = {}
        self._stopped = False
        self._feeder = threading.Thread(target=self._feed, name="fetch")
        self._feeder.start()

    def segments(self) -> Iterator[Segment]:
        """Yield the base, the wheels by name, and the activation.

        Raises:
            AssembleError: two artifacts have different bytes for one path, or one cannot be assembled.
            FetchError, IntegrityError: an artifact cannot be had.
        """
        shared = SharedPaths()
        base, activation = self._base.result()
        shared.settle(base)
        shared.settle(activation)
        yield base
        for artifact in self._lock.artifacts:
            segment = self._made[artifact.name].result()
            omit = shared.settle(segment)
            if omit is not None:
                segment = self._assembler.wheel(artifact, self._paths[artifact.sha256], omit)
            yield segment
        yield activation

    def artifact(self, sha256: str) -> Path:
        """Return where an artifact lies that a segment was made of."""
        return self._paths[sha256]

    def close(self) -> None:
        """Stop what is under way."""
        self._stopped = True
        self._workers.shutdown(wait=True, cancel_futures=True)
        self._feeder.join()

    def _feed(self) -> None:
        try:
            for artifact, path in fetch(self._wanted(), self._lock.cuda, self._session):
                if self._stopped:
                    return
                self._paths[artifact.sha256] = path
                for same in self._lock.artifacts:  # two names may stand for the same bytes, which come once
                    if same.sha256 == artifact.sha256:
                        self._workers.submit(self._assemble, same, path)
        except BaseException as error:  # whatever it is, it is raised where the segments are waited for
            for future in self._made.values():
                if not future.done():
                    future.set_exception(error)

    def _wanted(self) -> list[Artifact]:
        """Order artifacts: what is at hand as the archive needs it, then downloads, the longest first."""
        with ThreadPoolExecutor(_AT_A_TIME) as listers:  # reading them whole, as trust demands, takes seconds
            at_hand = dict(
                zip(self._lock.artifacts, listers.map(self._list, self._lock.artifacts), strict=True)
            )
        missing = [artifact for artifact, here in at_hand.items() if not here]
        return [
            *(artifact for artifact, here in at_hand.items() if here),
            *sorted(missing, key=lambda artifact: -artifact.size),
        ]

    def _list(self, artifact: Artifact) -> bool:
        """Say whether an artifact is at hand, and note what it contributes."""
        path = self._session.store.find_artifact(artifact.sha256, artifact.size)
        if path is not None:
            with suppress(AssembleError):  # said again where it is assembled
                self._listings[artifact.name] = self._assembler.list_wheel(artifact, path)
        return path is not None

    def _assemble(self, artifact: Artifact, path: Path) -> None:
        future = self._made[artifact.name]
        try:
            names = [other.name for other in self._lock.artifacts]
            self._listings[artifact.name] = self._assembler.list_wheel(artifact, path)
            omit = expect_shared(dict(self._listings), names, artifact.name)
            segment = self._assembler.wheel(artifact, path, omit)
        except BaseException as error:  # as above
            if not future.done():
                future.set_exception(error)
        else:
            if not future.done():
                future.set_result(segment)


@contextmanager
def open_pipeline(lock: Lock, assembler: Assembler, session: Session) -> Iterator[Pipeline]:
    """Begin to fetch and assemble; stop it at the end, whatever happens."""
    pipeline = Pipeline(lock, assembler, session)
    try:
        yield pipeline
    finally:
        pipeline.close()
