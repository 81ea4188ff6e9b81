"""A remote store: what it keeps is named by digest, and there is one way in and one way out.

Artifacts, archives and *blobs* are named by the sha256 of their bytes. Everything else is a signed object (see
:mod:`envbuilder.store.signed`), which counts only where somebody signed it whom this machine trusts: a segment, a
manifest, a report and a provenance name their blob, a build's record and an alias's move stand in it. What is uploaded
is read back; what is read is believed only for its signature and its hashes.
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
from envbuilder.store.objects import Elsewhere
from envbuilder.store.signed import OBJECT, SignedKind, Statement, open_object, state
from envbuilder.store.trust import Trust, open_trust
from envbuilder.util.text import human

RawKind = Literal["artifacts", "archives", "blobs"]
Kind = RawKind | SignedKind
_OTHERS: Final = 15
"""Signatures of others that are kept when one is added to an object: a reader takes 32 at most."""
_TRIES: Final = 4
"""Of two who sign the same object at once, the second begins again."""


class RemoteStore:
    """The store at an address. Thread-safe."""

    def __init__(self, url: str, *, timeout: float = 60.0, trust: Trust | None = None) -> None:
        """Name the store, and whom to believe about it (default: nobody); nothing is asked yet.

        Raises:
            RecipeError: see :class:`Elsewhere`.
        """
        self._files = Elsewhere(url, timeout=timeout)
        self.trust = trust if trust is not None else Trust()
        self._seen: set[str] = set()
        """Objects that are there, for certain: they are never changed."""
        self._bad: set[str] = set()
        """Objects whose bytes are not theirs: who has the right ones replaces them."""
        self._told: set[str] = set()
        self._lock = threading.Lock()
        self.signed: list[tuple[SignedKind, str]] = []
        """Kind and name of each object that was signed here."""

    @property
    def url(self) -> str:
        """Its address."""
        return self._files.url

    def place(self, kind: Kind, name: str) -> str:
        """Name an object to a person."""
        return self._files.place(_path(kind, name))

    def first_time(self, what: str) -> bool:
        """Whether *what* is said for the first time of this store."""
        with self._lock:
            if what in self._told:
                return False
            self._told.add(what)
            return True

    # -- what is named by its bytes ----------------------------------------------------------------

    def holds(self, kind: RawKind, name: str) -> bool:
        """Whether there is such an object.

        Raises:
            StoreError: the store does not answer.
        """
        path = _path(kind, name)
        if path not in self._seen and self._files.size(path) is not None:
            self._seen.add(path)
        return path in self._seen

    def read(self, kind: RawKind, name: str, size: int | None = None) -> Iterator[bytes]:
        """Yield the bytes of an object, not more than *size* where it is said. Who takes them looks at their sha256.

        Raises:
            StoreError: it is not there, or does not come whole.
        """
        return self._files.read(_path(kind, name), size)

    def put(self, kind: RawKind, name: str, source: Path) -> bool:
        """Upload the file *source*, whose sha256 is *name*, if it is not there; return whether it was not.

        An object of another size under that name, which an upload that broke off may leave on some stores, is replaced;
        so is one that was read here and had other bytes.

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
            return False  # somebody else was faster
        self._check(path, name)
        self._seen.add(path)
        return True

    def _check(self, path: str, sha256: str) -> None:
        """Read an object back."""
        there = hashlib.sha256()
        for chunk in self._files.read(path):
            there.update(chunk)
        if there.hexdigest() != sha256:
            raise IntegrityError(
                f"{self._files.place(path)}: sha256 {there.hexdigest()} after the upload, {sha256} before",
                hint="remove it there, and push again",
            )

    # -- what is signed ----------------------------------------------------------------------------

    def find(self, kind: SignedKind, name: str) -> Statement | None:
        """Return what a trusted key signed under this name, or None: there is nothing.

        Raises:
            StoreError: the store does not answer.
            UntrustedError: nobody signed it who is trusted.
            IntegrityError: it is something else.
            RecipeError: nobody is trusted at all, or the keys cannot be used.
        """
        if not self.trust:
            raise RecipeError(
                f"of {self.url} artifacts alone are taken: no key is trusted to have signed anything else",
                hint='store-trust = ["KEY.pub"] in envbuilder.toml names the public keys of those who push',
            )
        text = self._text(_path(kind, name))
        if text is None:
            return None
        return open_object(text, kind, name, self.trust, place=self.place(kind, name))

    def vouched(self, kind: SignedKind, name: str) -> bool:
        """Whether a trusted key signed something under this name, as far as is known without reading it.

        Raises:
            StoreError, RecipeError: see :meth:`find`.
        """
        try:
            found = self.find(kind, name)
        except IntegrityError:
            return False
        return found is not None and _path("blobs", found.sha256) not in self._bad

    def read_body(self, found: Statement, most: int) -> bytes:
        """Return the bytes that an object stands for.

        Raises:
            StoreError: they are not there, or do not come whole.
            IntegrityError: they are not those that were signed, or more than *most*.
        """
        if found.size > most:
            raise IntegrityError(
                f"{self.place(found.kind, found.name)} has {human(found.size)}; at most {human(most)} are read"
            )
        return found.content if found.content is not None else b"".join(self.stream_body(found))

    def stream_body(self, found: Statement) -> Iterator[bytes]:
        """Yield the bytes that an object stands for; not before the end is it known that they are right.

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
                f"{self._files.place(path)} is not what its name says: sha256 {digest.hexdigest()}",
                hint="remove it there, and push again",
            )

    def names(self, kind: Kind, prefix: str) -> list[str]:
        """List the objects whose name begins with *prefix*, of two characters at least.

        Raises:
            StoreError: the store does not answer.
        """
        folder, _, begin = prefix.rpartition("/")
        folder = f"{kind}/{folder}" if folder else f"{kind}/{prefix[:2]}"
        return [name for name in self._files.names(folder) if name.startswith(begin)]

    def put_signed(
        self,
        kind: SignedKind,
        name: str,
        body: bytes | Path,
        scratch: Path,
        *,
        archive_size: int | None = None,
    ) -> bool:
        """Sign that *body*, or the file of it, is what stands under this name, and upload both.

        What others signed under that name, and is the same, keeps their signatures. *scratch* is a folder for drafts.

        Returns: whether anything was not there.

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
        """Sign and upload *body*, which is short, if nobody has that name yet; return whether that was so.

        Raises:
            StoreError, RecipeError: see :meth:`put_signed`.
        """
        envelope = Envelope(payload=state(kind, name, body).payload()).sign(self.trust.signer())
        draft = scratch / "object"
        draft.write_text(envelope.text())
        return self._files.create(_path(kind, name), draft)

    def countersign(self, kind: SignedKind, name: str, scratch: Path, *, without: str) -> None:
        """Put the own key's signature in place of that of the key *without*, on an object that a trusted key signed.

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
        raise StoreError(f"{self._files.place(path)} is written by somebody else at the same time")

    def _envelope(self, path: str) -> Envelope | None:
        """Return what is there, if it is an envelope at all."""
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
    """Return the remote store of *settings*, if they name one, and whom they trust about it.

    *key* is the private key (PEM) that signs what goes there, in place of the one that the environment names.

    Raises:
        RecipeError: see :class:`RemoteStore`.
    """
    if settings.store is None:
        return None
    trust = open_trust(settings.store_trust, key=key)
    return RemoteStore(settings.store, timeout=settings.timeout, trust=trust)


def _path(kind: Kind, name: str) -> str:
    return f"{kind}/{name}" if "/" in name else f"{kind}/{name[:2]}/{name}"
