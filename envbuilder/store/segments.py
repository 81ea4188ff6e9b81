"""Segments in a store elsewhere: one object each, its facts and its own bytes in one."""

from __future__ import annotations

from pathlib import Path

from envbuilder.errors import IntegrityError, StoreError
from envbuilder.progress import Reporter
from envbuilder.store.local import Store
from envbuilder.store.remote import RemoteStore, seal

_FILES = ("segment.json", "literals")


def send_segment(key: str, folder: Path, store: Store, remote: RemoteStore) -> bool:
    """Upload the segment *key*, which lies in *folder*, if it is not there; return whether it was not.

    Raises:
        StoreError: it cannot be written.
    """
    if remote.holds("segments", key):
        return False
    facts, literals = ((folder / name).read_bytes() for name in _FILES)
    body = b"%d\n" % len(facts) + facts + literals
    with store.scratch("send") as scratch:
        draft = scratch / "object"
        draft.write_bytes(seal("segments", key, body) + body)
        return remote.put("segments", key, draft)


def bring_segment(key: str, store: Store, reporter: Reporter) -> Path | None:
    """Bring the segment *key* from the store elsewhere, if there is one and it has it, into *store*.

    A segment can always be made: what goes wrong is told, and no error. Returns: the segment's folder.
    """
    if store.remote is None:
        return None
    try:
        body = store.remote.read_sealed("segments", key)
    except (StoreError, IntegrityError) as error:
        reporter.note(f"{error.message}: the segment is made here")
        return None
    if body is None:
        return None
    length, _, rest = body.partition(b"\n")
    place = store.entry_path("segments", key)
    with store.scratch("bring") as scratch:
        folder = scratch / "segment"
        folder.mkdir()
        for name, data in zip(_FILES, (rest[: int(length)], rest[int(length) :]), strict=True):
            (folder / name).write_bytes(data)
        place.parent.mkdir(parents=True, exist_ok=True)
        try:
            folder.rename(place)
        except OSError:  # another build was faster; loading it says whether it is sound
            if not place.is_dir():
                raise
    return place
