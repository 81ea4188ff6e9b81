"""A remote store: objects are named by digest, with a single code path each for upload and download.

Artifacts, archives and *blobs* are named by their sha256. Everything else is a signed object (see
:mod:`envbuilder.store.signed`), which is accepted only with a signature this machine trusts: segments, manifests,
reports and provenance refer to a blob; build records and alias moves are stored in the object. Uploads are read back;
downloads are verified by signature and hash.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Final, Literal

from envbuilder.config.settings import Settings
from envbuilder.errors import IntegrityError, RecipeError, StoreError, VerifyError
from envbuilder.signing.dsse import Envelope, parse_envelope
from envbuilder.store.objects import RemoteObjects
from envbuilder.store.signed import OBJECT, SignedKind, Statement, open_object, state
from envbuilder.store.trust import Trust, open_trust
from envbuilder.util.text import human

RawKind = Literal["artifacts", "archives", "blobs"]
Kind = RawKind | SignedKind
_OTHERS: Final = 15
"""Signatures of others that are kept when one is added to an object; a reader accepts at most 32."""
_TRIES: Final = 4
"""Attempts to sign an object; of two concurrent signers, the second retries."""


class RemoteStore:
    """The store at a URL. Thread-safe."""

    def __init__(
        self,
        url: str,
        *,
        timeout: float = 60.0,
        trust: Trust | None = None,
        settings: Settings | None = None,
    ) -> None:
        """Open the store with the trusted keys (default: none), without contacting it.

        Raises:
            RecipeError: see :class:`RemoteObjects`.
        """
        self._files = RemoteObjects(url, timeout=timeout, settings=settings)
        self.trust = trust if trust is not None else Trust()
        self._seen: set[str] = set()
        """Objects known to exist; objects are never changed."""
        self._bad: set[str] = set()
        """Damaged objects, to be replaced by anyone who has the right bytes."""
        self._told: set[str] = set()
        self._lock = threading.Lock()
        self.signed: list[tuple[SignedKind, str]] = []
        """Kind and name of each object signed by this process."""

    @property
    def url(self) -> str:
        """Its address."""
        return self._files.url

    def place(self, kind: Kind, name: str) -> str:
        """Return an object's name for messages."""
        return self._files.place(_path(kind, name))

    def first_time(self, what: str) -> bool:
        """Whether the notice *what* about this store is given for the first time."""
        with self._lock:
            if what in self._told:
                return False
            self._told.add(what)
            return True

    # -- objects named by digest ----------------------------------------------------------------

    def holds(self, kind: RawKind, name: str) -> bool:
        """Whether the object exists.

        Raises:
            StoreError: the store does not answer.
        """
        path = _path(kind, name)
        if path not in self._seen and self._files.size(path) is not None:
            self._seen.add(path)
        return path in self._seen

    def read(self, kind: RawKind, name: str, size: int | None = None) -> Iterator[bytes]:
        """Yield the content of an object, at most *size* bytes if given. The caller checks the sha256.

        Raises:
            StoreError: it does not exist or is truncated.
        """
        return self._files.read(_path(kind, name), size)

    def put(self, kind: RawKind, name: str, source: Path) -> bool:
        """Upload the file *source*, whose sha256 is *name*, if it does not exist; return whether it was uploaded.

        An existing object with another size, as some stores keep after an aborted upload, is replaced; so is one that
        was read here and found damaged.

        Raises:
            StoreError: it cannot be written.
            IntegrityError: what is there afterwards is something else.
        """
        path = _path(kind, name)
        if path in self._seen:
            return False
        size = source.stat().st_size
        found = self._files.size(path)
        if found == size and path not in self._bad:
            self._seen.add(path)
            return False
        if found is not None:
            self._files.replace(path, source)
        elif not self._files.create(path, source) and self._files.size(path) == size:
            self._seen.add(path)
            return False  # another process was faster
        self._check(path, name)
        self._seen.add(path)
        return True

    def _check(self, path: str, sha256: str) -> None:
        """Read an uploaded object back and check it."""
        there = hashlib.sha256()
        for chunk in self._files.read(path):
            there.update(chunk)
        if there.hexdigest() != sha256:
            raise IntegrityError(
                f"{self._files.place(path)}: sha256 {there.hexdigest()} after the upload; expected {sha256}",
                hint="remove it from the store and push again",
            )

    # -- signed objects ----------------------------------------------------------------------------

    def find(self, kind: SignedKind, name: str) -> Statement | None:
        """Return the object of this name, signed by a trusted key, or None if there is none.

        Raises:
            StoreError: the store does not answer.
            UntrustedError: it has no trusted signature.
            IntegrityError: it is invalid or has another name.
            RecipeError: no key is trusted, or the keys are not usable.
        """
        if not self.trust:
            raise RecipeError(
                f"only artifacts are accepted from {self.url}: no key is trusted for anything else",
                hint='store-trust = ["KEY.pub"] in envbuilder.toml names the public keys of those who push',
            )
        text = self._text(_path(kind, name))
        if text is None:
            return None
        return open_object(text, kind, name, self.trust, place=self.place(kind, name))

    def is_signed(self, kind: SignedKind, name: str) -> bool:
        """Whether an object of this name exists, as far as is known without reading it.

        Raises:
            StoreError, RecipeError: see :meth:`find`.
        """
        try:
            found = self.find(kind, name)
        except IntegrityError:
            return False
        return found is not None and _path("blobs", found.sha256) not in self._bad

    def read_body(self, found: Statement, most: int) -> bytes:
        """Return the content of an object.

        Raises:
            StoreError: it does not exist or is truncated.
            IntegrityError: it does not match the signed sha256, or exceeds *most* bytes.
        """
        if found.size > most:
            raise IntegrityError(
                f"{self.place(found.kind, found.name)} has {human(found.size)}; at most {human(most)} are read"
            )
        return found.content if found.content is not None else b"".join(self.stream_body(found))

    def stream_body(self, found: Statement) -> Iterator[bytes]:
        """Yield the content of an object; it is verified only at the end.

        Raises:
            StoreError, IntegrityError: see :meth:`read_body`.
        """
        path = _path("blobs", found.sha256)
        digest = hashlib.sha256()
        for chunk in self._files.read(path, found.size):
            digest.update(chunk)
            yield chunk
        if digest.hexdigest() != found.sha256:
            self._bad.add(path)
            raise IntegrityError(
                f"{self._files.place(path)} does not match its name: sha256 {digest.hexdigest()}",
                hint="remove it from the store and push again",
            )

    def names(self, kind: Kind, prefix: str) -> list[str]:
        """List the objects whose name begins with *prefix* (at least two characters).

        Raises:
            StoreError: the store does not answer.
        """
        folder, _, begin = prefix.rpartition("/")
        folder = f"{kind}/{folder}" if folder else f"{kind}/{prefix[:2]}"
        return [name for name in self._files.names(folder) if name.startswith(begin)]

    def below(self, kind: Kind, folder: str) -> list[str]:
        """List the objects in *folder* and the folders in it, relative to *folder*, sorted.

        Raises:
            StoreError: the store does not answer.
        """
        return sorted(self._files.walk(f"{kind}/{folder}"))

    def put_signed(
        self,
        kind: SignedKind,
        name: str,
        body: bytes | Path,
        scratch: Path,
        *,
        archive_size: int | None = None,
    ) -> bool:
        """Sign *body*, or the file of it, as the content of this name, and upload both.

        If the same content is already signed by others, their signatures are kept. *scratch* is a temporary folder.

        Returns: whether anything was uploaded.

        Raises:
            StoreError: it cannot be written.
            IntegrityError: what is there afterwards is something else.
            RecipeError: there is no key to sign with.
        """
        self.trust.signer()
        if _path(kind, name) in self._seen:
            return False
        statement = state(kind, name, body, archive_size=archive_size)
        uploaded = False
        if statement.content is None:
            draft = body if isinstance(body, Path) else scratch / "blob"
            if isinstance(body, bytes):
                draft.write_bytes(body)
            uploaded = self.put("blobs", statement.sha256, draft)
        return self._sign(statement, scratch) or uploaded

    def create_signed(self, kind: SignedKind, name: str, body: bytes, scratch: Path) -> bool:
        """Sign and upload the short *body* if the name is not taken; return whether it was uploaded.

        Raises:
            StoreError, RecipeError: see :meth:`put_signed`.
        """
        envelope = Envelope(payload=state(kind, name, body).payload()).sign(self.trust.signer())
        draft = scratch / "object"
        draft.write_text(envelope.text())
        return self._files.create(_path(kind, name), draft)

    def countersign(self, kind: SignedKind, name: str, scratch: Path, *, without: str) -> None:
        """Replace the signature of the key *without* on a trusted object by one of the own key.

        Raises:
            StoreError, IntegrityError, RecipeError: see :meth:`find`.
        """
        found = self.find(kind, name)
        if found is not None:
            self._sign(found, scratch, without)

    def _sign(self, statement: Statement, scratch: Path, without: str = "") -> bool:
        path = _path(statement.kind, statement.name)
        key, payload = self.trust.signer(), statement.payload()
        for _ in range(_TRIES):
            there = self._envelope(path)
            same = there is not None and there.payload == payload
            if there is not None and same and self.trust.is_enough(there):
                self._seen.add(path)
                return False
            others = [one for one in there.signatures if one.keyid != without] if there and same else []
            draft = scratch / "object"
            draft.write_text(Envelope(payload=payload, signatures=tuple(others[-_OTHERS:])).sign(key).text())
            if self._files.size(path) is None:
                self._files.create(path, draft)
            else:
                self._files.replace(path, draft)
            if self._text(path) == draft.read_bytes():
                self._seen.add(path)
                self.signed.append((statement.kind, statement.name))
                return True
        raise StoreError(f"{self._files.place(path)} is being written by another process")

    def _envelope(self, path: str) -> Envelope | None:
        """Return the existing envelope, if it is valid."""
        text = self._text(path)
        if text is None:
            return None
        try:
            return parse_envelope(text, cap=OBJECT)
        except VerifyError:
            return None

    def _text(self, path: str) -> bytes | None:
        return self._files.read_small(path, OBJECT.size + 1)


def open_remote(settings: Settings, *, key: str | None = None) -> RemoteStore | None:
    """Return the remote store of *settings* with its trusted keys, if one is configured.

    *key* is the private key (PEM) for signing uploads, instead of the one from the environment.

    Raises:
        RecipeError: see :class:`RemoteStore`.
    """
    if settings.store is None:
        return None
    trust = open_trust(settings.store_trust, key=key)
    return RemoteStore(settings.store, timeout=settings.timeout, trust=trust, settings=settings)


def _path(kind: Kind, name: str) -> str:
    return f"{kind}/{name}" if "/" in name else f"{kind}/{name[:2]}/{name}"
