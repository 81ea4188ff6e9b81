"""Keys by which workers of one run trust each other, and a later run trusts their results.

The client of a run on a cluster creates a key for it and sends it to the workers with their tasks. They sign shared
objects in the remote store with it, and trust objects that it signed. It is temporary; as tasks finish, its
signatures are replaced by those of the client's own key, if there is one, which never leaves the client's machine.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from typing import Final

from envbuilder.config.settings import Settings
from envbuilder.config.values import StoreKey
from envbuilder.errors import EnvbuilderError
from envbuilder.progress import Reporter
from envbuilder.signing.keys import keyid, new_signer, private_pem, public_pem
from envbuilder.store.local import Store
from envbuilder.store.remote import RemoteStore
from envbuilder.store.signed import SignedKind
from envbuilder.store.trust import KEY_VARIABLE, open_trust
from envbuilder.util.text import counted

_THREADS: Final = 8
"""Number of threads, which mostly wait for the store: an object is read, signed, and written again."""


class Sharing:
    """The client's side of one run. A context manager: at the end it waits for pending signatures."""

    def __init__(self, reporter: Reporter) -> None:
        """Make the key of the run.

        Raises:
            RecipeError: ``cryptography`` is not installed.
        """
        signer = new_signer("a cluster")
        self.key = private_pem(signer)
        """The private key of the run (PEM), for its workers."""
        self._id = keyid(signer.public_key())
        self._public = StoreKey(origin="the key of this run", pem=public_pem(signer))
        self._reporter = reporter
        self._remotes: dict[str, RemoteStore] = {}
        self._executor = ThreadPoolExecutor(_THREADS)
        self._under_way: list[Future[str | None]] = []
        self._store = Store.open()

    def __enter__(self) -> Sharing:
        return self

    def __exit__(self, *_: object) -> None:
        self._executor.shutdown(wait=True, cancel_futures=True)
        done = [future.result() for future in self._under_way if not future.cancelled()]
        problems = [problem for problem in done if problem is not None]
        if problems:
            self._reporter.note(
                f"{counted(len(problems), 'object')} did not get the signature of the key that lasts: {problems[0]}"
            )

    def remote(self, settings: Settings) -> RemoteStore:
        """Return the client's remote store of *settings*, which also trusts the run's key."""
        assert settings.store is not None
        if settings.store not in self._remotes:
            trust = open_trust((*settings.store_trust, self._public))
            remote = RemoteStore(settings.store, timeout=settings.timeout, trust=trust)
            if not trust.can_sign:
                self._reporter.note(
                    f"{remote.url}: what this run makes there is signed by a key that ends with it, so that a later "
                    f"run takes artifacts alone from there; {KEY_VARIABLE} names the file of a private key that lasts"
                )
            self._remotes[settings.store] = remote
        return self._remotes[settings.store]

    def trusts_anyone(self, settings: Settings) -> bool:
        """Whether any earlier object in the remote store of *settings* could be trusted."""
        return bool(settings.store_trust) or self.remote(settings).trust.can_sign

    def for_workers(self, settings: Settings) -> Settings:
        """Return *settings* for workers, which also trust the client's own key."""
        trust = self.remote(settings).trust
        if not trust.can_sign:
            return settings
        own = StoreKey(origin="the key of who asked", pem=public_pem(trust.signer()))
        return replace(settings, store_trust=(*settings.store_trust, own))

    def countersign(self, settings: Settings, signed: Sequence[tuple[SignedKind, str]]) -> None:
        """Start to sign the objects of a task with the client's own key, if there is one."""
        remote = self.remote(settings)
        if remote.trust.can_sign:
            self._under_way += [
                self._executor.submit(self._countersign, remote, kind, name) for kind, name in signed
            ]

    def _countersign(self, remote: RemoteStore, kind: SignedKind, name: str) -> str | None:
        try:
            with self._store.scratch("sign") as scratch:
                remote.countersign(kind, name, scratch, without=self._id)
        except (EnvbuilderError, OSError) as error:
            return str(error)
        return None
