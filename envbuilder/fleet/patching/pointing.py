"""Aliases and images: which of them stand for an archive that holds it, of whatever lock."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from envbuilder.errors import EnvbuilderError
from envbuilder.fleet.patching.holdings import Held, Pointing, held_in
from envbuilder.fleet.patching.images import Found, images_in_registry
from envbuilder.fleet.patching.subject import Subject
from envbuilder.fleet.repository.environments import Inventories, inventory_said
from envbuilder.images.local import find_archive
from envbuilder.registry.reference import Reference, is_reference, parse_reference
from envbuilder.store.remote import RemoteStore
from envbuilder.store.session import Session
from envbuilder.transfer.aliases import aliases_of
from envbuilder.transfer.archives import read_remote_manifest


@dataclass(frozen=True, kw_only=True, slots=True)
class Unanswered:
    """A repository of a registry that does not say what it has."""

    name: str
    error: EnvbuilderError


class Targets:
    """Archives by their sha256, and what each holds: those on this machine whole, others by their manifests."""

    def __init__(self, subject: Subject, inventories: Inventories, archives: Path) -> None:
        self._subject, self._inventories, self._archives = subject, inventories, archives
        self._known: dict[str, tuple[str, tuple[Held, ...], bool]] = {}
        self._failed: dict[str, EnvbuilderError] = {}

    def look(self, sha256: str, remote: RemoteStore | None) -> tuple[str, tuple[Held, ...], bool]:
        """Return the digest of an archive's lock, what it holds, and whether it was looked into.

        Raises:
            StoreError, UntrustedError, IntegrityError: it is not here, and its manifest cannot be had.
        """
        if sha256 not in self._known:
            archive = find_archive(self._archives, sha256)
            found = None if archive is None else self._inventories.of(archive)
            if found is not None and found.sha256 == sha256:
                inventory, whole = found, True
            elif remote is not None:
                manifest = read_remote_manifest(remote, sha256)[0]
                inventory, whole = inventory_said(manifest, sha256, f"{manifest.recipe}-{sha256[:12]}"), False
            else:
                return "", (), False
            digest = inventory.manifest.lock_digest
            self._known[sha256] = digest, held_in(self._subject, inventory), whole
        return self._known[sha256]

    def aliases(self, recipe: str, session: Session) -> tuple[list[Pointing], list[str]]:
        """Return the aliases of *recipe* whose archive holds it, and where that could not be told."""
        remote = session.store.remote
        if remote is None:
            return [], []
        found, notes = [], []
        try:
            if remote.url in self._failed:
                raise self._failed[remote.url]
            for alias in aliases_of(recipe, remote, session.store):
                if alias.sha256 is None:
                    continue
                digest, held, whole = self.look(alias.sha256, remote)
                if held:
                    found.append(
                        Pointing(name=alias.name, sha256=alias.sha256, lock_digest=digest, held=held)
                    )
                elif not whole:
                    notes.append(f"{alias.name}: its archive is not here, only its manifest was searched")
        except EnvbuilderError as error:
            self._failed.setdefault(remote.url, error)  # sixty recipes do not wait for it sixty times
            notes.append(f"its aliases were not searched: {error.message}")
        return found, notes

    def image(self, found: Found, session: Session) -> tuple[Pointing | None, str | None]:
        """Return an image if its archive holds it, or why that cannot be told."""
        try:
            digest, held, whole = self.look(found.sha256, session.store.remote)
        except EnvbuilderError:
            digest, held, whole = "", (), False
        pointing = Pointing(
            name=found.name, sha256=found.sha256, lock_digest=digest or found.lock_digest, held=held
        )
        if held or whole:
            return (pointing if held else None), None
        return pointing, f"the archive of {found.name} is not here: what is inside was not searched"


def images_of(
    references: Sequence[str], sessions: Iterable[Session], fallback: Session
) -> Iterator[Found | Unanswered]:
    """Yield the images of *references*, and those in the repositories of stores that are registries."""
    wanted: dict[Reference, Session] = {parse_reference(one): fallback for one in references}
    for session in sessions:
        url = session.settings.store
        if url is not None and is_reference(url):
            wanted.setdefault(parse_reference(url), session)
    for reference, session in wanted.items():
        try:
            yield from images_in_registry(reference, session.settings)
        except EnvbuilderError as error:
            yield Unanswered(name=str(reference), error=error)
