"""A build made again from nothing, to see that its bytes are the same."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from envbuilder.building.record import BuildReport
from envbuilder.errors import IntegrityError
from envbuilder.store.local import Store
from envbuilder.store.session import Session


def check_rebuild(
    report: BuildReport, session: Session, make: Callable[[Session, Path], BuildReport]
) -> None:
    """Build what *report* is of again, by *make*, in a store that has its artifacts and nothing else.

    Raises:
        IntegrityError: the bytes are others.
    """
    session.reporter.step("Building again from nothing, to compare")
    with session.store.scratch("check") as scratch:
        fresh = replace(session, store=artifacts_only(session.store, scratch / "store"))
        again = make(fresh, scratch / "envs")
    if again.sha256 != report.sha256:
        raise IntegrityError(
            f"{report.archive}: sha256 {report.sha256}, built again from nothing {again.sha256}",
            hint="`envbuilder store clear` and build again; if that differs too, please report it",
        )


def artifacts_only(store: Store, root: Path) -> Store:
    """Return a store at *root* that has the artifacts of *store*, each read again, and nothing else."""
    made = Store(root=root, limit=None)
    for entry in store.entries():
        if entry.kind == "artifacts" and store.check_artifact(entry.key):
            place = made.entry_path("artifacts", entry.key)
            place.parent.mkdir(parents=True, exist_ok=True)
            try:
                os.link(entry.paths[0], place)
            except OSError:  # another file system, or another user's file
                shutil.copyfile(entry.paths[0], place)
    return made
