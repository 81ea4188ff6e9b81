"""The session of every command: artifact sources, the store, and the progress reporter."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from envbuilder.config.settings import Settings, load_settings
from envbuilder.errors import RecipeError
from envbuilder.progress import SILENT, Reporter
from envbuilder.store.local import Store

if TYPE_CHECKING:
    from envbuilder.store.remote import RemoteStore


@dataclass(frozen=True, kw_only=True, slots=True)
class Session:
    """Settings, store and reporter. Immutable, and safe to share between threads.

    ``Session(settings=…, store=…)`` has the same settings in every folder. One from :meth:`open` follows the
    configuration of the folder that a command works in, like the command line.
    """

    settings: Settings = field(default_factory=Settings)
    """Sources of artifacts."""
    store: Store = field(default_factory=Store.open)
    reporter: Reporter = SILENT
    """Receives progress messages."""
    find_links: tuple[str, ...] | None = None
    """Wheelhouses used in every folder, besides those configured there; None: *settings* apply in every folder."""

    @classmethod
    def open(
        cls,
        folder: Path | None = None,
        *,
        find_links: Sequence[str] = (),
        store: Store | None = None,
        reporter: Reporter = SILENT,
    ) -> Session:
        """Open a session that follows the configuration of the folder a command works in.

        Args:
            folder: the folder whose configuration applies; None: read it when the recipe is known.
            find_links: wheelhouses searched before any index, in every folder.
            store: the store of artifacts and segments; default: this machine's store.
            reporter: receives progress messages.

        Raises:
            RecipeError: the configuration of *folder*, or an environment variable for the store, has an invalid value.
        """
        session = cls(store=store or Store.open(), reporter=reporter, find_links=tuple(find_links))
        return session if folder is None else session.at(folder)

    def at(self, folder: Path, *, remote: bool = True) -> Session:
        """Return a copy with the settings of *folder*, or itself where the settings were given and are fixed.

        With *remote* it also has the remote store of those settings.

        Raises:
            RecipeError: the configuration of *folder* has an unknown key or an invalid value.
        """
        if self.find_links is None:
            return self
        settings = load_settings(folder, find_links=self.find_links)
        session = replace(self, settings=settings)
        return session.with_remote() if remote else session

    def with_remote(self, *, sharing: bool = False, key: str | None = None) -> Session:
        """Return the session with the remote store of its settings, if one is configured.

        With *sharing*, segments are uploaded as they are built. *key* is the private key (PEM) for signing uploads,
        instead of the one from the environment.

        Raises:
            RecipeError: the library for that kind of store is not installed.
        """
        url = self.settings.store
        if url is None:
            return self
        remote = self.store.remote
        if remote is None or remote.url != url:
            from envbuilder.store.remote import open_remote

            remote = open_remote(self.settings, key=key)
        return replace(self, store=replace(self.store, remote=remote, sharing=sharing or self.store.sharing))

    def remote_store(self) -> RemoteStore:
        """Return the remote store.

        Raises:
            RecipeError: no remote store is configured.
        """
        if self.store.remote is None:
            raise RecipeError(
                "no remote store is configured",
                hint='set store = "s3://bucket/folder" in envbuilder.toml',
            )
        return self.store.remote
