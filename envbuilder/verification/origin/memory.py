"""A cache of this check: contributions of bases, and bytecode of sources.

Both take seconds to compute, and never change. It is kept only in this machine's store, never in a remote store.
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
    """The versions of the tools that determine bytes."""
    believe: bool = True
    """Whether to reuse remembered results."""

    def key(self, *parts: str) -> str:
        """Return the key of a result computed from *parts*."""
        text = "\0".join((_FORMAT, self.tools, *parts))
        return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()

    def recall(self, key: str) -> Any:
        """Return the remembered value; None if there is none, or it is damaged."""
        path = self.store.find(KIND, key) if self.believe else None
        if path is None:
            return None
        with suppress(OSError):  # evicted just now
            check, _, body = path.read_bytes().partition(b"\n")
            if check.decode(errors="replace") == _checksum(key, body):
                return json.loads(body)
        return None

    def remember(self, key: str, value: object) -> None:
        """Remember *value*, which must be JSON."""
        body = json.dumps(value, separators=(",", ":")).encode()
        with suppress(OSError):  # a full disk: it is computed again
            self.store.write_entry(KIND, key, _checksum(key, body).encode() + b"\n" + body)


def _checksum(key: str, body: bytes) -> str:
    return hashlib.sha256(key.encode() + body).hexdigest()
