"""What every verb works with: where artifacts come from, where they are kept, and who is told."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from envbuilder.config.settings import Settings, load_settings
from envbuilder.errors import RecipeError
from envbuilder.progress import SILENT, Reporter
from envbuilder.store.local import Store
from envbuilder.store.remote import RemoteStore, open_remote


@dataclass(frozen=True, kw_only=True, slots=True)
class Session:
    """Settings, store and reporter of one piece of work. Immutable, and safe to share between threads.

    ``Session(settings=…, store=…)`` holds as it is in every folder. One from :meth:`open` follows the configuration
    of the folder that a verb works in, as the command line does.
    """

    settings: Settings = field(default_factory=Settings)
    """Sources of artifacts."""
    store: Store = field(default_factory=Store.open)
    reporter: Reporter = SILENT
    """Who is told what is being done."""
    find_links: tuple[str, ...] | None = None
    """Wheelhouses that count in every folder, beside those configured there; None: *settings* hold in every folder."""

    @classmethod
    def open(
        cls,
        folder: Path | None = None,
        *,
        find_links: Sequence[str] = (),
        store: Store | None = None,
        reporter: Reporter = SILENT,
    ) -> Session:
        """Open a session that follows the configuration of the folder it works in.

        Args:
            folder: whose settings hold; None: none are read until a verb knows its recipe.
            find_links: wheelhouses that count before any index, in every folder.
            store: where artifacts and segments are kept; default: this machine's store.
            reporter: who is told what is being done.

        Raises:
            RecipeError: the configuration of *folder*, or a variable that names the store, has an impossible value.
        """
        session = cls(store=store or Store.open(), reporter=reporter, find_links=tuple(find_links))
        return session if folder is None else session.at(folder)

    def at(self, folder: Path, *, remote: bool = True) -> Session:
        """Return the session for work in *folder*: with the settings that hold there, if this one follows them.

        With *remote* the remote store that those settings name stands behind this machine's.

        Raises:
            RecipeError: the configuration of *folder* has an unknown key or an impossible value.
        """
        if self.find_links is None:
            return self
        settings = load_settings(folder, find_links=self.find_links)
        session = replace(self, settings=settings)
        return session.with_remote() if remote else session

    def with_remote(self, *, sharing: bool = False, key: str | None = None) -> Session:
        """Return the session with the remote store of its settings, if they name one, behind this machine's store.

        With *sharing* segments are uploaded to it as they are made. *key* is the private key (PEM) that signs what goes
        there, in place of the one that the environment names.

        Raises:
            RecipeError: the library for that kind of store is not installed.
        """
        url = self.settings.store
        if url is None:
            return self
        remote = self.store.remote
        if remote is None or remote.url != url:
            remote = open_remote(self.settings, key=key)
        return replace(self, store=replace(self.store, remote=remote, sharing=sharing or self.store.sharing))

    def remote_store(self) -> RemoteStore:
        """Return the remote store.

        Raises:
            RecipeError: no store is named.
        """
        if self.store.remote is None:
            raise RecipeError(
                "no store elsewhere is named", hint='envbuilder.toml names one: store = "s3://bucket/folder"'
            )
        return self.store.remote
