"""A cache of this check: what a base contributes, and the bytecode of sources.

Both take seconds, and are the same each time. It is kept in this machine's store and in no other: nothing takes it from
a remote one.
"""

from __future__ import annotations

import hashlib
import json
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

from envbuilder.store.local import Store

KIND: Final = "origins"
_FORMAT: Final = "1"


@dataclass(frozen=True, kw_only=True, slots=True)
class Memory:
    """Entries of the kind ``origins`` in *store*."""

    store: Store
    tools: str
    """The versions of what decides bytes."""
    believe: bool = True
    """Whether what was found out before counts."""

    def key(self, *parts: str) -> str:
        """Return the key of what is found out of *parts*."""
        text = "\0".join((_FORMAT, self.tools, *parts))
        return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()

    def recall(self, key: str) -> Any:
        """Return what was remembered, or None: nothing, or not what was written."""
        path = self.store.find(KIND, key) if self.believe else None
        if path is None:
            return None
        with suppress(OSError):  # evicted at this moment
            check, _, body = path.read_bytes().partition(b"\n")
            if check.decode(errors="replace") == _checksum(key, body):
                return json.loads(body)
        return None

    def remember(self, key: str, value: object) -> None:
        """Keep *value*, which JSON can say."""
        body = json.dumps(value, separators=(",", ":")).encode()
        with suppress(OSError):  # a full disk: it is found out again
            self.store.write_entry(KIND, key, _checksum(key, body).encode() + b"\n" + body)


def _checksum(key: str, body: bytes) -> str:
    return hashlib.sha256(key.encode() + body).hexdigest()
