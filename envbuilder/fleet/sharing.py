"""What makes the workers of one run trust each other, and a later run trust what they made.

The one who asks for a run on a cluster makes a key for it and gives that to the workers with their tasks. They sign
with it what they share in the remote store, and take from there what it signed. It ends with the run; as tasks are
done, what they signed gets the signature of the asker's own key, if there is one, in its place: the key that lasts
never leaves the asker's machine.
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
"""Each waits for the store most of the time: an object is read, signed, and written again."""


class Sharing:
    """The asker's side of one run. Use as a context: at the end it waits for the signatures that are under way."""

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
        """Return the remote store of *settings*, as the asker sees it: the run's key counts too."""
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
        """Whether anything in the remote store of *settings* could count that was there before this run."""
        return bool(settings.store_trust) or self.remote(settings).trust.can_sign

    def for_workers(self, settings: Settings) -> Settings:
        """Return *settings* as workers need them: they trust the asker's own key, too."""
        trust = self.remote(settings).trust
        if not trust.can_sign:
            return settings
        own = StoreKey(origin="the key of who asked", pem=public_pem(trust.signer()))
        return replace(settings, store_trust=(*settings.store_trust, own))

    def countersign(self, settings: Settings, signed: Sequence[tuple[SignedKind, str]]) -> None:
        """Begin to put the lasting key's signature on what a task signed, if there is such a key."""
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
