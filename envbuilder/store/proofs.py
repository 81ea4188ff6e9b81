"""Records of what this machine has verified; they are valid only on this machine.

A record is signed with a secret of this store and the identity of this machine. Records are neither uploaded to nor
downloaded from a remote store, and a record copied into the store from elsewhere is ignored.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import json
import os
import secrets
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Final

from envbuilder.store.local import Store
from envbuilder.util.code_digest import code_digest
from envbuilder.util.documents import LISTING, DocumentError, parse_json
from envbuilder.util.files import read_regular

KIND: Final = "proofs"
_SECRET: Final = "proofs.secret"
_SECRET_BYTES: Final = 32
MACHINE: Final = (Path("/etc/machine-id"), Path("/var/lib/dbus/machine-id"))


@dataclass(frozen=True, kw_only=True, slots=True)
class Proof:
    """One record."""

    value: Any
    """The result, as a JSON value."""
    at: str
    """Time of the record: ISO 8601, UTC."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Proofs:
    """The records of *store*. A key covers the claim, the bytes it is about, and the code that verified it."""

    store: Store
    believe: bool = True
    """Whether existing records are used; otherwise everything is verified again and recorded."""

    def find(self, *parts: str) -> Proof | None:
        """Return the record for *parts*, or None without a valid one."""
        secret = self._secret(create=False) if self.believe else None
        if secret is None:
            return None
        name = _name(parts)
        path = self.store.find(KIND, name)
        if path is None:
            return None
        with contextlib.suppress(OSError, DocumentError, KeyError, TypeError):  # evicted, or damaged
            signature, _, body = read_regular(path, most=LISTING.size + 1).partition(b"\n")
            if hmac.compare_digest(signature, _sign(secret, name, body)):
                found = parse_json(body, where=str(path), cap=LISTING).value
                return Proof(value=found["value"], at=str(found["at"]))
        return None

    def record(self, value: object, *parts: str) -> None:
        """Record the result *value* (JSON) for *parts*."""
        secret = self._secret(create=True)
        if secret is None:
            return
        name = _name(parts)
        at = datetime.now(timezone.utc).isoformat(timespec="seconds")
        body = json.dumps({"at": at, "value": value}, separators=(",", ":")).encode()
        with contextlib.suppress(OSError):  # the disk is full: it will be verified again
            self.store.write_entry(KIND, name, _sign(secret, name, body) + b"\n" + body)

    def _secret(self, *, create: bool) -> bytes | None:
        """Return the secret; None if there is none, or if other users could have written it."""
        path = self.store.writable / _SECRET
        try:
            if create and not path.exists():
                with self.store.scratch("secret") as folder:
                    draft = folder / "secret"
                    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
                    with open(descriptor, "wb") as file:
                        file.write(secrets.token_bytes(_SECRET_BYTES))
                    with contextlib.suppress(FileExistsError):  # another process was faster
                        os.link(draft, path)
            found = read_regular(path, most=_SECRET_BYTES + 1)
            status = path.lstat()
        except OSError:
            return None
        own = status.st_uid == os.geteuid() and not status.st_mode & 0o077
        return found if own and len(found) == _SECRET_BYTES else None


def _name(parts: tuple[str, ...]) -> str:
    digest = hashlib.sha256()
    for part in (code_digest(), *parts):
        data = part.encode("utf-8", "surrogateescape")
        digest.update(b"%d:" % len(data) + data)
    return digest.hexdigest()


def _sign(secret: bytes, name: str, body: bytes) -> bytes:
    machine = b""
    for path in MACHINE:
        with contextlib.suppress(OSError):
            machine += path.read_bytes()
    return hmac.new(secret, b"\0".join((machine, name.encode(), body)), "sha256").hexdigest().encode()
