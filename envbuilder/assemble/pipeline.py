"""Yield segments in the archive's order while others are still being fetched or assembled."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

from envbuilder.archive.segment import Segment
from envbuilder.assemble.assembler import Assembler, Listing
from envbuilder.assemble.cross_imports import Names, Wanted, WantedError, settle_wanted
from envbuilder.assemble.shared_paths import SharedPaths, expect_shared
from envbuilder.errors import AssembleError
from envbuilder.fetch.artifacts import fetch
from envbuilder.lockfile.model import Artifact, Lock
from envbuilder.store.session import Session

_AT_A_TIME = 2
"""Segments in progress at a time: the small files of one fill the gaps of another's large ones."""


class Pipeline:
    """Fetches and assembles the artifacts of *lock* in background threads. Use :func:`open_pipeline`."""

    def __init__(self, lock: Lock, assembler: Assembler, session: Session, wanted: Wanted) -> None:
        self._lock = lock
        self._assembler = assembler
        self._session = session
        self._workers = ThreadPoolExecutor(_AT_A_TIME)
        self._wanted = wanted
        self._base = self._workers.submit(assembler.base, wanted.base)
        self._made: dict[str, Future[Segment]] = {artifact.name: Future() for artifact in lock.artifacts}
        self._paths: dict[str, Path] = {}
        self._listings: dict[str, Listing] = {}
        self._at_hand = threading.Event()
        """Set when the local artifacts are listed."""
        self._base_wanted = wanted.base
        self._stopped = False
        self._feeder = threading.Thread(target=self._feed, name="fetch")
        self._feeder.start()

    def segments(self) -> Iterator[Segment]:
        """Yield the base, the wheels by name, and the activation scripts.

        Raises:
            AssembleError: two artifacts have different bytes for one path, or one cannot be assembled.
            FetchError, IntegrityError: an artifact cannot be downloaded.
            WantedError: an artifact that arrived late imports modules that were excluded from others; start over with
            these.
        """
        shared = SharedPaths()
        base, activation = self._base.result()
        self._at_hand.wait()
        self._check_wanted()
        shared.settle(base)
        shared.settle(activation)
        yield base
        for artifact in self._lock.artifacts:
            segment = self._made[artifact.name].result()
            omit = shared.settle(segment)
            if omit is not None:
                wanted = self._wanted.wheels.get(artifact.name)
                segment = self._assembler.wheel(artifact, self._paths[artifact.sha256], omit, wanted)
            yield segment
        self._check_wanted()
        yield activation

    def artifact(self, sha256: str) -> Path:
        """Return the path of an artifact that a segment was made from."""
        return self._paths[sha256]

    def close(self) -> None:
        """Stop the running work."""
        self._stopped = True
        self._workers.shutdown(wait=True, cancel_futures=True)
        self._feeder.join()

    def _feed(self) -> None:
        try:
            for artifact, path in fetch(self._in_order(), self._lock.cuda, self._session):
                if self._stopped:
                    return
                self._paths[artifact.sha256] = path
                for same in self._lock.artifacts:  # two names may refer to the same bytes, which arrive once
                    if same.sha256 == artifact.sha256:
                        self._workers.submit(self._assemble, same, path)
        except BaseException as error:  # raised again where the segments are awaited
            self._at_hand.set()
            for future in self._made.values():
                if not future.done():
                    future.set_exception(error)

    def _in_order(self) -> list[Artifact]:
        """Order artifacts: local ones in archive order, then downloads, largest first."""
        with ThreadPoolExecutor(_AT_A_TIME) as listers:  # verifying them takes seconds
            at_hand = dict(
                zip(self._lock.artifacts, listers.map(self._list, self._lock.artifacts), strict=True)
            )
        missing = [artifact for artifact, here in at_hand.items() if not here]
        if not missing and len(self._listings) == len(self._lock.artifacts):
            self._wanted = self._settled()
        self._at_hand.set()
        return [
            *(artifact for artifact, here in at_hand.items() if here),
            *sorted(missing, key=lambda artifact: -artifact.size),
        ]

    def _list(self, artifact: Artifact) -> bool:
        """Return whether an artifact is local, and record what it contributes."""
        path = self._session.store.find_artifact(artifact.sha256, artifact.size)
        if path is not None:
            self._paths[artifact.sha256] = path
            with suppress(AssembleError):  # reported again when it is assembled
                self._listings[artifact.name] = self._assembler.list_wheel(artifact, path)
        return path is not None

    def _settled(self) -> Wanted:
        """Return what the artifacts need from each other, once all are listed."""
        artifacts = {artifact.name: artifact for artifact in self._lock.artifacts}

        def relist(name: str, wanted: Names) -> Listing:
            artifact = artifacts[name]
            return self._assembler.list_wheel(artifact, self._paths[artifact.sha256], wanted)

        return settle_wanted(dict(self._listings), self._lock.python, self._lock.conda is not None, relist)

    def _check_wanted(self) -> None:
        """Check that no artifact was assembled without what others need from it."""
        if len(self._listings) == len(self._lock.artifacts):
            settled = self._settled()
            if settled != replace(self._wanted, base=self._base_wanted):
                raise WantedError(settled)

    def _assemble(self, artifact: Artifact, path: Path) -> None:
        future = self._made[artifact.name]
        try:
            names = [other.name for other in self._lock.artifacts]
            self._listings[artifact.name] = self._assembler.list_wheel(artifact, path)
            listed = {name: listing.paths for name, listing in dict(self._listings).items()}
            omit = expect_shared(listed, names, artifact.name)
            segment = self._assembler.wheel(artifact, path, omit, self._wanted.wheels.get(artifact.name))
        except BaseException as error:  # as above
            if not future.done():
                future.set_exception(error)
        else:
            if not future.done():
                future.set_result(segment)


@contextmanager
def open_pipeline(
    lock: Lock, assembler: Assembler, session: Session, wanted: Wanted | None = None
) -> Iterator[Pipeline]:
    """Start fetching and assembling; stop on exit.

    *wanted* comes from a :class:`~envbuilder.assemble.cross_imports.WantedError`.
    """
    pipeline = Pipeline(lock, assembler, session, wanted or Wanted())
    try:
        yield pipeline
    finally:
        pipeline.close()


def assembled(lock: Lock, assembler: Assembler, session: Session) -> list[tuple[Segment, Path | None]]:
    """Return all segments of *lock*, each with the artifact that it is spliced from.

    Raises:
        FetchError, IntegrityError, AssembleError: see :meth:`Pipeline.segments`.
    """
    wanted: Wanted | None = None
    while True:
        try:
            with open_pipeline(lock, assembler, session, wanted) as pipeline:
                return [
                    (segment, pipeline.artifact(segment.artifact) if segment.artifact else None)
                    for segment in pipeline.segments()
                ]
        except WantedError as more:
            wanted = more.wanted
