"""Bytes that are hashed while they pass."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

from envbuilder.errors import IntegrityError
from envbuilder.registry.documents import Descriptor


def checked(chunks: Iterator[bytes], wanted: Descriptor, place: str, hint: str) -> Iterator[bytes]:
    """Yield *chunks*, and look at their size and sha256 while they pass; *hint* says what mends a damaged blob.

    Raises:
        IntegrityError: they are not those of *wanted*.
    """
    digest, size = hashlib.sha256(), 0
    for chunk in chunks:
        size += len(chunk)
        if size > wanted.size:
            break
        digest.update(chunk)
        yield chunk
    if size != wanted.size or digest.hexdigest() != wanted.sha256:
        what = f"{size} bytes" if size <= wanted.size else "more bytes"
        raise IntegrityError(
            f"{place}: the blob {wanted.digest[:19]} does not match its name: "
            f"{what} of sha256 {digest.hexdigest()[:12]}, {wanted.size} were announced",
            hint=hint,
        )
