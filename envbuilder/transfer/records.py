"""Builds in a remote store: the record of what each made, and the packages that it was made of."""

from __future__ import annotations

from envbuilder.building.record import BuildRecord, parse_record
from envbuilder.config.channels import channels_of
from envbuilder.errors import EnvbuilderError
from envbuilder.fetch.artifacts import fetch_packages
from envbuilder.lockfile.model import Lock
from envbuilder.progress import Reporter
from envbuilder.recipe.model import Recipe
from envbuilder.store.local import Store
from envbuilder.store.remote import RemoteStore
from envbuilder.store.session import Session


def upload_record(key: str, record: BuildRecord, store: Store, remote: RemoteStore) -> bool:
    """Record in the remote store what the build *key* made; return whether there was no record yet."""
    with store.scratch("send") as scratch:
        return remote.put_signed("builds", key, record.text(), scratch)


def upload_packages(recipe: Recipe, lock: Lock, session: Session) -> dict[str, bool]:
    """Upload the conda packages of *lock*, if it has any; return of each file whether it was not there.

    Raises:
        RecipeError: no remote store is configured.
        FetchError, IntegrityError: one cannot be downloaded.
        StoreError: the remote store cannot be written.
    """
    if lock.conda is None:
        return {}
    channels = channels_of(recipe)
    remote = session.remote_store()
    paths = fetch_packages(lock.conda.packages, channels, session)
    return {one.filename: remote.put("artifacts", one.sha256, path) for one, path in paths.items()}


def read_record(key: str, remote: RemoteStore) -> BuildRecord | None:
    """Return what the build *key* made, if the remote store knows it.

    Raises:
        StoreError: the store does not answer.
        UntrustedError: it has no trusted signature.
        IntegrityError: it is no record.
    """
    found = remote.find("builds", key)
    if found is None or found.content is None:
        return None
    return parse_record(found.content, where=remote.place("builds", key))


def find_record(key: str, remote: RemoteStore, reporter: Reporter) -> BuildRecord | None:
    """Return the remote store's record of the build *key*, if there is one; report why it cannot be read."""
    try:
        return read_record(key, remote)
    except EnvbuilderError as error:
        reporter.note(error.message)
        return None
