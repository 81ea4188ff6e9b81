"""Blobs and manifests of a repository: verified by digest, uploaded only if missing, resumed."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator
from typing import Final
from urllib.parse import quote

import httpx2

from envbuilder.config.settings import Settings
from envbuilder.errors import IntegrityError, StoreError
from envbuilder.registry import connection
from envbuilder.registry.checked import checked
from envbuilder.registry.connection import PASSING, PULL, PUSH, TRIES, Connection, MissingError, RefusedError
from envbuilder.registry.documents import (
    DOCKER_INDEX,
    DOCKER_MANIFEST,
    INDEX,
    LONGEST,
    MANIFEST,
    Descriptor,
    digest_of,
    parse_manifest,
)
from envbuilder.registry.reference import Reference
from envbuilder.registry.upload import upload
from envbuilder.util.documents import parse_json
from envbuilder.util.printable import printable_line
from envbuilder.util.text import human

_ACCEPT: Final = ", ".join((MANIFEST, INDEX, DOCKER_MANIFEST, DOCKER_INDEX))
_PART: Final = re.compile(r"bytes ([0-9]{1,18})-")
_MOUNTS: Final = (201, 202, 400, 401, 403, 404, 405)
"""Status codes of a request to mount a blob: after all but the first it has to be uploaded."""
_MOST_PAGES: Final = 100
"""Most pages of one listing that are read."""
_DAMAGED: Final = (
    "try again; if it persists, the registry's storage is damaged: its owner must delete the blob, then push again "
    "(a push does not replace what the registry has)"
)


class Repository:
    """A repository. Thread-safe."""

    def __init__(self, reference: Reference, settings: Settings, *, access: str = PULL) -> None:
        """Create it without a request. *access* is the scope requested for reads; use PUSH for pushes.

        A token for reading may be refused where there is no such repository yet, or to who may only write.

        Raises:
            RecipeError: the settings' certificates cannot be used.
        """
        self.reference = reference
        self._connection = Connection(reference, settings)
        self._access = access

    def __enter__(self) -> Repository:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    @property
    def place(self) -> str:
        """Its name in errors."""
        return self._connection.place

    # -- blobs -----------------------------------------------------------------------------------------

    def holds(self, digest: str, *, access: str | None = None) -> bool:
        """Whether there is such a blob.

        Raises:
            StoreError: the registry does not answer, or refuses.
        """
        with contextlib.suppress(MissingError):
            self._connection.ask("HEAD", f"blobs/{digest}", expect=(200,), access=access or self._access)
            return True
        return False

    def read(self, wanted: Descriptor) -> Iterator[bytes]:
        """Yield the bytes of a blob; where the connection breaks, it goes on from there.

        Raises:
            IntegrityError: they are not those of its digest; known at the end.
            StoreError: it is not there, or does not come whole.
        """
        return checked(self._chunks(wanted), wanted, self.place, _DAMAGED)

    def _chunks(self, wanted: Descriptor) -> Iterator[bytes]:
        path, done, failures, ranges = f"blobs/{wanted.digest}", 0, 0, True
        patience = self._connection.patience()
        while done < wanted.size:
            before, error, pause = done, "it ended early", min(0.5 * 2**failures, 5.0)
            headers = {"Accept-Encoding": "identity"}
            if done and ranges:
                headers["Range"] = f"bytes={done}-"
            try:
                with self._connection.stream(path, headers) as answer:
                    if answer.status_code == 416 and ranges:  # it knows no ranges: all of it once more
                        ranges, error = False, "answered 416"
                    elif answer.status_code not in (200, 206):
                        pause = self._passing(answer, path, failures)
                        error = f"answered {answer.status_code}"
                    elif answer.status_code == 206 and not _begins_at(answer, done):
                        ranges, error = False, "answered with another range than was asked for"
                    else:
                        # With 200 it gives all of it, and not the rest.
                        skip = done if answer.status_code == 200 else 0
                        for chunk in answer.iter_raw():
                            rest = chunk[skip:]
                            skip -= len(chunk) - len(rest)
                            done += len(rest)
                            if rest:
                                yield rest
            except httpx2.HTTPError as broken:
                error = printable_line(str(broken) or type(broken).__name__)[:200]
            if done >= wanted.size:
                return
            failures = 1 if done > before else failures + 1
            if not patience.left(done):
                failures, error = TRIES, str(patience.over(done))
            if failures >= TRIES:
                raise StoreError(
                    f"{self.place}: the blob {wanted.digest[:19]} broke off after {human(done)} "
                    f"of {human(wanted.size)}: {error}",
                    hint="try again: what was received in full is kept",
                )
            connection.sleep(pause)
            patience.extend(pause)

    def read_range(self, blob: Descriptor, start: int, end: int) -> bytes:
        """Return the bytes from *start* to *end* of a blob; whether they are right is not known.

        Raises:
            StoreError: they cannot be downloaded.
        """
        headers = {"Range": f"bytes={start}-{end - 1}", "Accept-Encoding": "identity"}
        answer = self._connection.ask("GET", f"blobs/{blob.digest}", expect=(200, 206), headers=headers)
        data = answer.content
        return data[start:end] if answer.status_code == 200 else data[: end - start]

    def _passing(self, answer: httpx2.Response, path: str, failures: int) -> float:
        """Raise what an answer means, or return after how many seconds it may be another one."""
        if answer.status_code not in PASSING or failures >= TRIES - 1:
            raise self._connection.refused(self._connection.whole(answer), path)
        return self._connection.wait(answer, failures + 1)

    def mount(self, digest: str, source: str) -> bool:
        """Have a blob of the repository *source* of the same registry here, too; return whether that was done.

        Raises:
            StoreError: the registry does not answer.
        """
        path = f"blobs/uploads/?mount={digest}&from={quote(source, safe='/')}"
        try:
            answer = self._connection.ask("POST", path, expect=_MOUNTS, access=f"{PUSH} {source}")
        except RefusedError:  # no token for two repositories: what may be written is seen by the upload
            return False
        if answer.status_code == 202:  # an upload was begun instead
            with contextlib.suppress(StoreError):
                location = answer.headers.get("Location", "")
                self._connection.ask("DELETE", location, expect=(200, 202, 204, 404, 405), access=PUSH)
        return answer.status_code == 201

    def upload(
        self,
        described: Descriptor,
        read: Callable[[int, int], bytes],
        advance: Callable[[int], object] = lambda _: None,
    ) -> None:
        """Send a blob in chunks, see :func:`envbuilder.registry.upload.upload`.

        Raises:
            StoreError: it cannot be written.
            IntegrityError: the registry got other bytes than the digest's, or *read* ends early.
        """
        upload(self._connection, described, read, advance)

    # -- manifests -------------------------------------------------------------------------------------

    def resolve(self, wanted: str) -> Descriptor | None:
        """Return what a tag or digest stands for now, without reading it if the registry says it; None: nothing.

        Raises:
            StoreError: the registry does not answer, or refuses.
            IntegrityError: it is too large, or not what its digest says.
        """
        found = self.manifest(wanted)
        return None if found is None else found[0]

    def manifest(self, wanted: str) -> tuple[Descriptor, bytes] | None:
        """Return the manifest that a tag or digest stands for, and its bytes; None: there is none.

        Raises:
            StoreError: the registry does not answer, or refuses.
            IntegrityError: it is too large, or not what its digest says.
        """
        try:
            answer = self._connection.ask(
                "GET",
                f"manifests/{wanted}",
                expect=(200,),
                headers={"Accept": _ACCEPT},
                access=self._access,
            )
        except MissingError:
            return None
        data = answer.content
        where = f"{self.place}: the manifest {wanted[:19] if ':' in wanted else wanted}"
        if len(data) > LONGEST.size:
            raise IntegrityError(f"{where} is larger than {human(LONGEST.size)}")
        digest = digest_of(data)
        said = answer.headers.get("Docker-Content-Digest", digest)
        if digest != (wanted if ":" in wanted else said):
            raise IntegrityError(
                f"{where} has sha256 {digest[7:19]}, not what its name says",
                hint="try again; if it persists, something on the way changes bytes, or the registry's storage is "
                "damaged: its owner must delete the manifest, then push again",
            )
        kind = answer.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        kind = kind or parse_manifest(data, where=where).media_type
        return Descriptor(media_type=kind, digest=digest, size=len(data)), data

    def put_manifest(self, data: bytes, media_type: str, name: str | None = None) -> httpx2.Response:
        """Write a manifest under its digest, or under the tag *name*, in one step.

        Raises:
            StoreError: it cannot be written.
        """
        return self._connection.ask(
            "PUT",
            f"manifests/{name or digest_of(data)}",
            expect=(201,),
            headers={"Content-Type": media_type},
            content=data,
            access=PUSH,
        )

    def delete_manifest(self, name: str) -> bool:
        """Remove a tag or a manifest; return whether the registry did.

        Raises:
            StoreError: the registry does not answer, or refuses.
        """
        answer = self._connection.ask(
            "DELETE", f"manifests/{name}", expect=(200, 202, 400, 404, 405), access="pull,push,delete"
        )
        return answer.status_code in (200, 202)

    def pages(self, path: str) -> Iterator[bytes]:
        """Yield the pages of an answer to a question that registries may not know; none: this one does not.

        Raises:
            StoreError: the registry does not answer, or refuses.
        """
        following: str | None = path
        for _ in range(_MOST_PAGES):
            if following is None:
                return
            answer = self._connection.ask(
                "GET",
                following,
                expect=(200, 400, 404, 405, 501),
                headers={"Accept": INDEX},
                access=self._access,
            )
            if answer.status_code != 200:
                return
            yield answer.content
            following = answer.links.get("next", {}).get("url")

    def tags(self, prefix: str = "") -> list[str]:
        """List the tags that begin with *prefix*, sorted.

        Raises:
            StoreError: the registry does not answer, or refuses.
            IntegrityError: it answers with something else.
        """
        found: set[str] = set()
        path: str | None = "tags/list?n=1000"
        for _ in range(1000):
            if path is None:
                break
            try:
                answer = self._connection.ask("GET", path, expect=(200,))
            except MissingError:
                break
            body = parse_json(answer.content, where=f"{self.place}: tags")
            found.update(
                one for one in (body.texts("tags") if "tags" in body else ()) if one.startswith(prefix)
            )
            path = answer.links.get("next", {}).get("url")
        return sorted(found)


def _begins_at(answer: httpx2.Response, offset: int) -> bool:
    """Return whether a partial response begins at the requested *offset*; not all registries send its range."""
    found = _PART.match(answer.headers.get("Content-Range", ""))
    return int(found[1]) == offset if found else offset > 0
