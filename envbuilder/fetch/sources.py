"""Find sources of a locked artifact: a remote store first, then wheelhouses, then indexes, the nearest first.

Pages of indexes are read by unearth (PEP 503 and 691), whose client supports credentials (of the URL, netrc,
keyring) and ``file://``. A source is only a candidate: the sha256 of its bytes decides.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote, urlsplit
from urllib.request import url2pathname

from unearth.fetchers import PyPIClient
from unearth.link import Link

from envbuilder.config.channels import Channel
from envbuilder.config.settings import TORCH_FAMILY, Settings
from envbuilder.errors import StoreError
from envbuilder.fetch.candidate import Candidate
from envbuilder.fetch.channels import find_in_channels
from envbuilder.fetch.http import Unavailable, read_page
from envbuilder.lockfile.model import Artifact, CondaPackage
from envbuilder.store.remote import RemoteStore
from envbuilder.util.urls import redacted

BACKOFF_SECONDS = 0.5
"""The first pause; each further one is twice as long."""
logging.getLogger("unearth").addHandler(logging.NullHandler())  # our errors contain what it would warn about


def indexes_for(name: str, cuda: str, settings: Settings) -> list[str]:
    """List the indexes of the project *name* for the CUDA variant *cuda*.

    The torch family comes from PyTorch's index of the variant only, everything else from the package index only,
    so that no build falls back to another CUDA. For the variant ``pypi`` everything comes from the package index.
    """
    if settings.no_index:
        return []
    if cuda != "pypi" and name in TORCH_FAMILY:
        return [f"{settings.pytorch_index}/{cuda}"]
    indexes = [settings.index_url, *settings.extra_index_urls]
    return sorted(indexes, key=lambda url: urlsplit(url).scheme != "file")  # what is near costs nothing


@dataclass(kw_only=True, slots=True)
class Sources:
    """The sources of one run. Thread-safe."""

    client: PyPIClient
    settings: Settings
    cuda: str
    remote: RemoteStore | None = None
    channels: Sequence[Channel] = ()
    """The channels of conda packages."""
    stop: threading.Event = field(default_factory=threading.Event)
    """Set when the run is over: pauses end."""
    _pages: dict[str, list[Link]] = field(default_factory=dict)
    _unreachable: dict[str, Unavailable] = field(default_factory=dict)

    def find(self, artifact: Artifact, absent: list[str]) -> Iterator[Candidate]:
        """Yield candidates for *artifact*, the nearest first.

        Each source without it adds a line with the reason to *absent*.
        """
        if self.remote is not None:
            yield from self._in_store(self.remote, artifact, absent)
        for location in self.settings.find_links:
            yield from self._in_wheelhouse(location, artifact, absent)
        if isinstance(artifact, CondaPackage):
            yield from find_in_channels(artifact, self.channels, absent)
            return
        for index in indexes_for(artifact.name, self.cuda, self.settings):
            url = f"{index}/{artifact.name}/"
            yield from self._on_page(url, artifact, absent)

    def _in_store(self, remote: RemoteStore, artifact: Artifact, absent: list[str]) -> Iterator[Candidate]:
        place = remote.place("artifacts", artifact.sha256)
        try:
            there = remote.holds("artifacts", artifact.sha256)
        except StoreError as error:
            absent.append(error.message)
            return
        if not there:
            absent.append(f"{place}: not found")
            return
        yield Candidate(place=place, read=lambda: _from_store(remote, artifact))

    def _in_wheelhouse(self, location: str, artifact: Artifact, absent: list[str]) -> Iterator[Candidate]:
        parts = urlsplit(location)
        if parts.scheme in ("http", "https"):
            yield from self._on_page(location, artifact, absent)
            return
        path = Path(url2pathname(parts.path)) if parts.scheme == "file" else Path(location)
        if path.suffix in (".html", ".htm"):
            yield from self._on_page(path.absolute().as_uri(), artifact, absent)
            return
        # A file saved from PyTorch's index is often named as it is in the URL, with %2B for +.
        names = dict.fromkeys((artifact.filename, quote(artifact.filename)))
        files = [path] if path.name in names else [path / name for name in names]
        there = [file for file in files if os.path.isfile(file)]  # also False without permission
        if not there:
            absent.append(f"{path}: {'not found' if path.is_dir() else 'no such folder'}")
        yield from (Candidate(place=str(file), path=file) for file in there)

    def _on_page(self, url: str, artifact: Artifact, absent: list[str]) -> Iterator[Candidate]:
        try:
            links = [link for link in self._links(url) if link.filename == artifact.filename]
        except Unavailable as error:
            absent.append(f"{redacted(url)}: {error}")
            return
        if not links:
            absent.append(f"{redacted(url)}: not found")
        for link in links:
            yield Candidate(
                place=str(link.file_path) if link.is_file else link.redacted,
                path=link.file_path if link.is_file else None,
                url="" if link.is_file else link.url_without_fragment,
                sha256=(link.hash_option or {}).get("sha256", [None])[0],
            )

    def _links(self, url: str) -> list[Link]:
        if url in self._pages:
            return self._pages[url]
        host = urlsplit(url).netloc
        if host in self._unreachable:  # one wait is enough for this source
            raise self._unreachable[host]
        failures = 0
        while True:
            try:
                self._pages[url] = read_page(self.client, url)
                return self._pages[url]
            except Unavailable as error:
                if failures >= error.retries:
                    if error.unreachable:
                        self._unreachable[host] = error
                    raise
            self.pause(failures)
            failures += 1

    def pause(self, failures: int) -> None:
        """Wait before the next try, longer after more *failures*.

        Raises:
            Unavailable: the run ended meanwhile.
        """
        if self.stop.wait(BACKOFF_SECONDS * 2**failures):
            raise Unavailable("stopped")


def _from_store(remote: RemoteStore, artifact: Artifact) -> Iterator[bytes]:
    read = 0
    try:
        for chunk in remote.read("artifacts", artifact.sha256):
            yield chunk
            read += len(chunk)
            if read > artifact.size:  # so that a file of another size does not fill the disk
                place = remote.place("artifacts", artifact.sha256)
                raise Unavailable(f"{place} has more than the {artifact.size} bytes that the lock names")
    except StoreError as error:
        raise Unavailable(error.message) from error
