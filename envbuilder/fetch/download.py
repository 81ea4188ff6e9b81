"""Download artifacts into the store: in parallel, each hashed while it is written."""

from __future__ import annotations

import os
import queue
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx2

from envbuilder.config.channels import Channel
from envbuilder.errors import FetchError, IntegrityError
from envbuilder.fetch.candidate import Candidate
from envbuilder.fetch.http import RETRIES, Unavailable, check_status, open_client, reason
from envbuilder.fetch.sources import Sources
from envbuilder.fetch.stream import open_stream
from envbuilder.lockfile.model import Artifact
from envbuilder.progress import Reporter, Task
from envbuilder.store.local import ArtifactWriter, Store
from envbuilder.store.session import Session

STREAMS = 6
"""Simultaneous downloads: enough to hide the latency of each start."""
_COPY_BYTES = 2**20
_PATIENCE_SECONDS = 2.0
"""How long a run that ends early waits for its threads to notice and clean up."""


def download(
    missing: list[Artifact],
    cuda: str,
    channels: Sequence[Channel],
    session: Session,
    task: Task,
) -> Iterator[tuple[Artifact, Path]]:
    """Download *missing* into the store; yield each with its path as it arrives.

    Raises:
        FetchError, IntegrityError: as :func:`envbuilder.fetch.artifacts.fetch`.
    """
    waiting: queue.SimpleQueue[Artifact] = queue.SimpleQueue()
    for artifact in sorted(missing, key=lambda artifact: -artifact.size):
        waiting.put(artifact)  # the longest download starts first, as it determines the total time
    arrived: queue.SimpleQueue[tuple[Artifact, Path | BaseException]] = queue.SimpleQueue()
    settings, store = session.settings, session.store
    with open_client(settings) as client:
        found = Sources(client=client, settings=settings, cuda=cuda, remote=store.remote, channels=channels)
        run = _Run(sources=found, store=store, task=task, reporter=session.reporter)
        # Daemons: Ctrl-C must not wait for a silent server.
        threads = [
            threading.Thread(target=run.work, args=(waiting, arrived), name=f"fetch-{number}", daemon=True)
            for number in range(min(STREAMS, len(missing)))
        ]
        for thread in threads:
            thread.start()
        try:
            for _ in missing:
                artifact, result = arrived.get()
                if isinstance(result, BaseException):
                    raise result
                yield artifact, result
        finally:  # reached by a failure, by Ctrl-C, and by a caller that wants no more, too
            found.stop.set()
            deadline = time.monotonic() + _PATIENCE_SECONDS
            for thread in threads:
                thread.join(timeout=max(0.0, deadline - time.monotonic()))


@dataclass(kw_only=True, slots=True)
class _Run:
    """The state that the threads of one call share."""

    sources: Sources
    store: Store
    task: Task
    reporter: Reporter

    def work(
        self,
        waiting: queue.SimpleQueue[Artifact],
        arrived: queue.SimpleQueue[tuple[Artifact, Path | BaseException]],
    ) -> None:
        """Fetch *waiting* artifacts until there are none, or the run is over."""
        while not self.sources.stop.is_set():
            try:
                artifact = waiting.get_nowait()
            except queue.Empty:
                return
            try:
                arrived.put((artifact, self.fetch_one(artifact)))
            except BaseException as error:  # raised again by the caller's thread
                arrived.put((artifact, error))

    def fetch_one(self, artifact: Artifact) -> Path:
        """Fetch one artifact into the store from the first source with the right bytes.

        Raises:
            FetchError, IntegrityError: as :func:`envbuilder.fetch.artifacts.fetch`.
        """
        absent: list[str] = []
        wrong: list[str] = []
        try:
            with self.store.artifact_writer(artifact.sha256, artifact.size) as writer:
                for candidate in self.sources.find(artifact, absent):
                    try:
                        self._write(candidate, artifact, writer)
                        break
                    except Unavailable as error:
                        absent.append(f"{candidate.place}: {error}")
                    except _WrongBytes as error:
                        wrong.append(f"{error} in {candidate.place}")
                    self._restart(writer)
                else:
                    raise _failure(artifact, absent, wrong)
        except OSError as error:
            raise FetchError(
                f"{artifact.filename} cannot be written to the store {self.store.writable}: "
                f"{error.strerror or error}",
                hint=f"it takes {artifact.size} bytes; ENVBUILDER_CACHE names another folder",
            ) from error
        for line in wrong:
            self.reporter.note(f"{artifact.filename}: passed over {line}, the lock names other bytes")
        return self.store.artifact_path(artifact.sha256)

    def _write(self, candidate: Candidate, artifact: Artifact, writer: ArtifactWriter) -> None:
        """Write the content of *candidate*.

        Raises:
            Unavailable: it cannot be downloaded.
            _WrongBytes: its sha256 differs.
        """
        if candidate.sha256 not in (None, artifact.sha256):
            raise _WrongBytes(f"sha256 {candidate.sha256}")
        if candidate.read is not None:
            for chunk in candidate.read():
                self._add(writer, chunk, artifact)
        elif candidate.path is not None:
            for chunk in _chunks(candidate.path, artifact):
                self._add(writer, chunk, artifact)
        else:
            in_pieces = self._download(candidate.url, artifact, writer)
            if (
                in_pieces and writer.digest != artifact.sha256
            ):  # two responses may have been of different files
                self._restart(writer)
                self._download(candidate.url, artifact, writer)
        if writer.digest != artifact.sha256:
            raise _WrongBytes(f"sha256 {writer.digest}")

    def _download(self, url: str, artifact: Artifact, writer: ArtifactWriter) -> bool:
        """Download *url*, resuming after an interruption; return whether it was resumed."""
        failures = 0
        resumed = False
        while True:
            before = writer.written
            try:
                self._stream(url, artifact, writer)
                return resumed
            except Unavailable as error:
                failure = error
            except (httpx2.HTTPError, httpx2.InvalidURL) as error:
                failure = reason(error)
            failures = 1 if writer.written > before else failures + 1
            if failures > failure.retries:
                done = f" after {writer.written} of {artifact.size} bytes" if writer.written else ""
                raise Unavailable(f"{failure}{done}")
            resumed = resumed or writer.written > 0
            self.sources.pause(failures - 1)

    def _stream(self, url: str, artifact: Artifact, writer: ArtifactWriter) -> None:
        """Write the bytes of *url* from the position of *writer*."""
        headers = {"Accept-Encoding": "identity"}  # the lock's sha256 is that of the file itself
        if writer.written:
            headers["Range"] = f"bytes={writer.written}-"
        with open_stream(self.sources.client, url, headers) as stream:
            response = stream.response
            if response.status_code == 416:
                self._restart(writer)
            check_status(response)
            if response.status_code == 200:
                if writer.written:
                    self._restart(writer)  # a server without support for Range starts at the beginning
                if length := response.headers.get("Content-Length"):
                    _check_size(int(length) if length.isdigit() else -1, artifact)
            elif not response.headers.get("Content-Range", "").startswith(f"bytes {writer.written}-"):
                self._restart(writer)
                raise Unavailable("answered with another range of bytes", retries=RETRIES)
            for chunk in stream.chunks():
                self._add(writer, chunk, artifact)
        if writer.written < artifact.size and "Content-Length" not in response.headers:
            raise Unavailable("broke off", retries=RETRIES)

    def _add(self, writer: ArtifactWriter, chunk: bytes, artifact: Artifact) -> None:
        if self.sources.stop.is_set():
            raise Unavailable("stopped")
        if writer.written + len(chunk) > artifact.size:
            raise _WrongBytes(f"more than {artifact.size} bytes")
        writer.write(chunk)
        self.task.advance(len(chunk))

    def _restart(self, writer: ArtifactWriter) -> None:
        self.task.advance(-writer.written)
        writer.restart()


class _WrongBytes(Exception):
    """A source has a file of that name with other bytes; the text names it."""


def _chunks(path: Path, artifact: Artifact) -> Iterator[bytes]:
    """Read a file of a source; a read error there is not an error of the store."""
    try:
        with path.open("rb", buffering=0) as file:
            _check_size(os.fstat(file.fileno()).st_size, artifact)
            while chunk := file.read(_COPY_BYTES):
                yield chunk
    except OSError as error:
        raise Unavailable(f"cannot be read: {error.strerror}") from error


def _check_size(size: int, artifact: Artifact) -> None:
    if size != artifact.size:
        raise _WrongBytes(f"{size} bytes")


def _failure(artifact: Artifact, absent: list[str], wrong: list[str]) -> FetchError | IntegrityError:
    said = "".join(f"\n  {line}" for line in absent)
    if wrong:
        found = "".join(f"\n  found {line}" for line in wrong)
        return IntegrityError(
            f"{artifact.filename}: no source has the locked content\n"
            f"  expected sha256 {artifact.sha256}, {artifact.size} bytes{found}{said}",
            hint="if the change is intended, lock again: envbuilder lock",
        )
    return FetchError(
        f"{artifact.filename} (sha256 {artifact.sha256}) could not be downloaded:{said or ' no source is configured'}",
        hint="run `envbuilder doctor` to see which sources respond",
    )
