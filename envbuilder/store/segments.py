"""Segments in a remote store: one signed object each, whose blob has the segment's facts and its own bytes in one."""

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
"""Of the length of the facts, which begins a blob: facts of a terabyte there are not."""


def send_segment(key: str, folder: Path, store: Store, remote: RemoteStore) -> bool:
    """Sign and upload the segment *key*, which lies in *folder*; return whether it was not there.

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
    """Upload a segment as :func:`send_segment` does, unless somebody who is trusted did."""
    return not remote.vouched("segments", key) and send_segment(key, folder, store, remote)


def bring_segment(key: str, store: Store, reporter: Reporter) -> Path | None:
    """Bring the segment *key* from the remote store, if there is one and a trusted key signed it there, into *store*.

    A segment can always be made: what goes wrong is told, and no error. Returns: the segment's folder.

    Raises:
        RecipeError: the trusted keys cannot be used.
    """
    remote = store.remote
    if remote is None:
        return None
    if not remote.trust:
        if remote.first_time("nobody is trusted"):
            reporter.note(
                f"{remote.url}: artifacts alone are taken from it, and everything else is made here, for no key is "
                f"trusted; store-trust in envbuilder.toml names the public keys of those who push"
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
                reporter.note(f"{error.message}: what is signed like that is made here")
            return None
        except (StoreError, IntegrityError) as error:
            reporter.note(f"{error.message}: the segment is made here")
            return None
        place.parent.mkdir(parents=True, exist_ok=True)
        try:
            folder.rename(place)
        except OSError:  # another build was faster; loading it says whether it is sound
            if not place.is_dir():
                raise
    return place


def _write(chunks: Iterator[bytes], folder: Path, where: str) -> None:
    """Write facts and literals of a blob into files of their own; they are believed only when it came whole."""
    head = b""
    for chunk in chunks:
        head += chunk
        if b"\n" in head[: _DIGITS + 1] or len(head) > _DIGITS:
            break
    digits, newline, rest = head.partition(b"\n")
    if not newline or len(digits) > _DIGITS or not digits.isdigit():
        raise IntegrityError(
            f"{where} is no segment: expected the length of its facts, found {digits[:20]!r}"
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
        raise IntegrityError(f"{where} is no segment: its facts end {left} bytes early")
