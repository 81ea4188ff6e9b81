"""The upload of one blob: in chunks, resumed where the registry says that it is."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable
from typing import Final
from urllib.parse import quote, urljoin

import httpx2

from envbuilder.errors import IntegrityError, StoreError
from envbuilder.registry import connection
from envbuilder.registry.connection import PUSH, TRIES, Connection, MissingError
from envbuilder.registry.documents import Descriptor
from envbuilder.util.text import human

CHUNK: Final = 8 * 2**20
"""Bytes sent at a time: what is lost where a connection breaks."""
_RANGE: Final = re.compile(r"(?:bytes=)?0-([0-9]{1,18})")
_NUMBER: Final = re.compile(r"[0-9]{1,18}")
_BUSY: Final = (429, 503)
_MOST_CHUNK: Final = 2**28
_OCTETS: Final = {"Content-Type": "application/octet-stream"}


def upload(
    registry: Connection,
    described: Descriptor,
    read: Callable[[int, int], bytes],
    advance: Callable[[int], object] = lambda _: None,
) -> None:
    """Send a blob in chunks; where one fails, go on from what the registry has.

    *read* gives bytes of it by offset and count; *advance* is told how many more there are.

    Raises:
        StoreError: it cannot be written.
        IntegrityError: the registry got other bytes than the digest's, or *read* ends early.
    """
    location, size = _begin(registry)
    done, furthest, failures = 0, 0, 0
    while done < described.size:
        data = read(done, min(size, described.size - done))
        if not data:
            raise IntegrityError(
                f"{registry.place}: the blob {described.digest[:19]} ends after {human(done)} of "
                f"{human(described.size)}: its file has changed while it was sent",
                hint="push again",
            )
        answer, pause = _patch(registry, location, done, data, failures)
        if not isinstance(answer, StoreError):
            location, done = _location(answer, registry.place), done + len(data)
        else:
            failures += 1
            if failures >= TRIES:
                raise answer
            connection.sleep(pause)
            location, done = _resume(registry, location, described, answer)
        if done > furthest:
            advance(done - furthest)
            furthest, failures = done, 0
    _finish(registry, location, described)


def _patch(
    registry: Connection, location: str, offset: int, data: bytes, failures: int
) -> tuple[httpx2.Response | StoreError, float]:
    """Send a chunk; return the answer, or what went wrong, and how many seconds to wait after that."""
    headers = {**_OCTETS, "Content-Range": f"{offset}-{offset + len(data) - 1}"}
    try:
        answer = registry.ask(
            "PATCH",
            location,
            expect=(202, 204, *_BUSY),
            headers=headers,
            content=data,
            access=PUSH,
            tries=1,
        )
    except StoreError as error:
        return error, min(0.5 * 2**failures, 5.0)
    if answer.status_code in _BUSY:
        return registry.refused(answer, location), registry.wait(answer, failures + 1)
    return answer, 0.0


def _begin(registry: Connection) -> tuple[str, int]:
    """Begin an upload; return where it goes on, and how many bytes to send at a time."""
    begun = registry.ask("POST", "blobs/uploads/", expect=(202,), content=b"", access=PUSH)
    least = begun.headers.get("OCI-Chunk-Min-Length", "")
    wanted = int(least) if _NUMBER.fullmatch(least) else 0
    if wanted > _MOST_CHUNK:
        raise StoreError(
            f"{registry.place}: the registry wants chunks of {human(wanted)} at least", hint="ask its owner"
        )
    return _location(begun, registry.place), max(CHUNK, wanted)


def _resume(registry: Connection, location: str, described: Descriptor, error: StoreError) -> tuple[str, int]:
    """Return where an upload goes on that failed with *error*, and how far it is; it may have to start over."""
    try:
        location, done = _progress(registry, location)
    except MissingError:  # the registry was started again, or has thrown it away
        return _begin(registry)[0], 0
    if done > described.size:
        raise error
    return location, done


def _progress(registry: Connection, location: str) -> tuple[str, int]:
    """Return how far an upload has come."""
    answer = registry.ask("GET", location, expect=(204,), access=PUSH)
    found = _RANGE.fullmatch(answer.headers.get("Range", ""))
    count = int(found[1]) + 1 if found else 0
    return _location(answer, registry.place, location), 0 if count == 1 else count


def _finish(registry: Connection, location: str, described: Descriptor) -> None:
    path = f"{location}{'&' if '?' in location else '?'}digest={quote(described.digest)}"
    answer = registry.ask("PUT", path, expect=(201, 204, 400, 404), headers=_OCTETS, content=b"", access=PUSH)
    if answer.status_code in (201, 204):
        return
    with contextlib.suppress(MissingError):
        registry.ask("HEAD", f"blobs/{described.digest}", expect=(200,), access=PUSH)
        return  # the answer to an earlier try was lost
    raise IntegrityError(
        f"{registry.place}: the registry does not take the blob {described.digest[:19]} ({answer.status_code}): "
        "the content received does not match the digest",
        hint="push again; if it persists, something between here and the registry changes bytes",
    )


def _location(answer: httpx2.Response, place: str, default: str = "") -> str:
    """Return the address at which an upload goes on; one that is relative is so to the one that was asked."""
    location = answer.headers.get("Location", default)
    if not location:
        raise StoreError(
            f"{place}: the registry started an upload without saying where", hint="ask its owner"
        )
    try:
        return urljoin(str(answer.request.url), location)
    except ValueError:
        return location  # nor is it an address for who asks next
