"""The digest of a lock, by which manifests and records name it."""

from __future__ import annotations

import hashlib

from envbuilder.lockfile.model import Lock
from envbuilder.lockfile.pylock import lock_text


def lock_digest(lock: Lock) -> str:
    """Return the sha256 of a lock's text."""
    return hashlib.sha256(lock_text(lock).encode()).hexdigest()
