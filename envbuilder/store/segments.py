"""Segments in a remote store: one signed object each; its blob contains the facts, then the bytes."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from envbuilder.errors import IntegrityError, StoreError
from envbuilder.progress import Reporter
from envbuilder.store.local import Store
from envbuilder.store.remote import RemoteStore
from envbuilder.store.signed import UntrustedError

_FACTS: Final = "segment.json"
_LITERALS: Final = "literals"
_DIGITS: Final = 12
"""Digits of the length of the facts at the start of a blob."""


def upload_segment(key: str, folder: Path, store: Store, remote: RemoteStore) -> bool:
    """Sign and upload the segment *key* in *folder*; return whether anything was uploaded.

    Raises:
        StoreError: it cannot be written.
        RecipeError: there is no key to sign with.
    """
    with store.scratch("send") as scratch:
        draft = scratch / "segment"
        with draft.open("wb") as file:
            file.write(b"%d\n" % (folder / _FACTS).stat().st_size)
            for name in (_FACTS, _LITERALS):
                with (folder / name).open("rb") as part:
                    shutil.copyfileobj(part, file, 2**20)
        return remote.put_signed("segments", key, draft, scratch)


def share_segment(key: str, folder: Path, store: Store, remote: RemoteStore) -> bool:
    """Upload a segment like :func:`upload_segment`, unless one with a trusted signature exists."""
    return not remote.is_signed("segments", key) and upload_segment(key, folder, store, remote)


def download_segment(key: str, store: Store, reporter: Reporter) -> Path | None:
    """Download the segment *key* from the remote store into *store*, if it exists there with a trusted signature.

    Failures are only reported, as a segment can always be built. Returns: the segment's folder.

    Raises:
        RecipeError: the trusted keys are not usable.
    """
    remote = store.remote
    if remote is None:
        return None
    if not remote.trust:
        if remote.first_time("nobody is trusted"):
            reporter.note(
                f"{remote.url}: only artifacts are downloaded from it; everything else is built here, because no key "
                f"is trusted; store-trust in envbuilder.toml names the public keys of those who push"
            )
        return None
    place = store.entry_path("segments", key)
    with store.scratch("bring") as scratch:
        folder = scratch / "segment"
        try:
            found = remote.find("segments", key)
            if found is None:
                return None
            folder.mkdir()
            _write(remote.stream_body(found), folder, remote.place("segments", key))
        except UntrustedError as error:
            if remote.first_time("untrusted"):
                reporter.note(f"{error.message}: segments with that signature are built here")
            return None
        except (StoreError, IntegrityError) as error:
            reporter.note(f"{error.message}: the segment is built here")
            return None
        place.parent.mkdir(parents=True, exist_ok=True)
        try:
            folder.rename(place)
        except OSError:  # another build was faster; the segment is checked when it is loaded
            if not place.is_dir():
                raise
    return place


def _write(chunks: Iterator[bytes], folder: Path, where: str) -> None:
    """Write the facts and literals of a blob into separate files; trusted only after the whole blob arrived."""
    head = b""
    for chunk in chunks:
        head += chunk
        if b"\n" in head[: _DIGITS + 1] or len(head) > _DIGITS:
            break
    digits, newline, rest = head.partition(b"\n")
    if not newline or len(digits) > _DIGITS or not digits.isdigit():
        raise IntegrityError(
            f"{where} is not a segment: expected the length of its facts, found {digits[:20]!r}"
        )
    left = int(digits)
    with (folder / _FACTS).open("wb") as facts, (folder / _LITERALS).open("wb") as literals:
        while True:
            facts.write(rest[:left])
            literals.write(rest[left:])
            left = max(0, left - len(rest))
            following = next(chunks, None)
            if following is None:
                break
            rest = following
    if left:
        raise IntegrityError(f"{where} is not a segment: its facts end {left} bytes early")
