"""Rebuild an archive from scratch, to check that it is byte-identical."""

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
    """Build the archive of *report* again with *make*, in a store that holds only its artifacts.

    Raises:
        IntegrityError: the archive is not byte-identical.
    """
    session.reporter.step("Rebuilding from scratch to compare")
    with session.store.scratch("check") as scratch:
        fresh = replace(session, store=artifacts_only(session.store, scratch / "store"))
        again = make(fresh, scratch / "envs")
    if again.sha256 != report.sha256:
        raise IntegrityError(
            f"{report.archive}: sha256 {report.sha256}, rebuilt from scratch {again.sha256}",
            hint="`envbuilder store clear` and build again; if that differs too, please report it",
        )


def artifacts_only(store: Store, root: Path) -> Store:
    """Return a store at *root* that holds only the artifacts of *store*, each verified by its sha256."""
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
