"""Sessions of tests that move things between this machine and a remote store."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from envbuilder.config.settings import Settings
from envbuilder.progress import SILENT, Reporter
from envbuilder.store.local import Store
from envbuilder.store.remote import RemoteStore
from envbuilder.store.session import Session

_NOWHERE = Store(root=Path("/nonexistent"))


def with_remote(
    remote: RemoteStore,
    store: Store = _NOWHERE,
    *,
    settings: Settings | None = None,
    reporter: Reporter = SILENT,
) -> Session:
    """Return a session whose store, which is not written where none is given, has *remote* behind it."""
    return Session(
        settings=settings or Settings(), store=dataclasses.replace(store, remote=remote), reporter=reporter
    )
