"""Find the environments that no model uses any more, which ``deploy --prune`` deletes.

An environment is deleted only where a deployment put it there and its record says so; where every repository that the
records of its folder name was read, and none names it; no build's manifest is next to it; and never the archive
that is being deployed.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from envbuilder.archive.manifest import manifest_beside
from envbuilder.deployment.record import Record, placed_environments
from envbuilder.deployment.references import Reference, read_references, without_configuration
from envbuilder.errors import DeployError
from envbuilder.util.files import file_sha256


@dataclass(frozen=True, kw_only=True, slots=True)
class Kept:
    """An unused environment that is kept, and why."""

    environment: Path
    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Unused:
    """The unused environments of some folders."""

    environments: tuple[Path, ...] = ()
    """Environments that can be deleted, by name."""
    kept: tuple[Kept, ...] = ()
    released: Mapping[Path, Record] = field(default_factory=dict)
    """New records of environments that this repository no longer uses."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Outlook:
    """A repository as it will be once the deployment is done."""

    repository: Path
    model: Path
    """The folder of the model that is deployed."""
    says: Sequence[Reference]
    """The references of its new configurations."""


def find_unused(
    folders: Iterable[Path],
    outlook: Outlook,
    *,
    archive: Path,
    spare: Collection[Path],
    links: Collection[Path] = (),
    hashed: bool = True,
) -> Unused:
    """Find the environments in *folders* that nothing needs once the deployment is done.

    Args:
        folders: where environments lie.
        outlook: the repository that is deployed into.
        archive: what is being deployed.
        spare: environments that the deployment uses.
        links: symbolic links that the deployment recreates, whatever they point to now.
        hashed: whether to compare an archive's bytes with its record; not worth it for a mere listing.

    Raises:
        DeployError: a repository or a configuration cannot be read.
    """
    placed = {path: record for folder in folders for path, record in placed_environments(folder).items()}
    own = os.path.realpath(outlook.repository)
    readings: dict[str, list[Reference] | None] = {own: _read_own(outlook)}
    for repository in sorted({name for record in placed.values() for name in record.repositories} - {own}):
        readings[repository] = _read_other(Path(repository))
    silent = {
        name: _silent(outlook.repository if name == own else Path(name), outlook.model)
        for name, found in readings.items()
        if found is not None
    }
    unused, kept, released = [], [], {}
    for path, record in placed.items():
        if path in spare:
            continue
        shared = path.parent != outlook.model
        users = {
            name
            for name, found in readings.items()
            if any(one.names(path, shared=shared) for one in found or ())
        }
        if own in record.repositories and own not in users and silent[own] is None:
            released[path] = record.without(own)
        if users:
            continue
        reason = (
            _reason_of_repositories(record, readings, silent)
            or _reason_to_keep(path, archive, links)
            or (_reason_of_content(path, record) if hashed else None)
        )
        if reason is None:
            unused.append(path)
        else:
            kept.append(Kept(environment=path, reason=reason))
    return Unused(environments=tuple(unused), kept=tuple(kept), released=released)


def _read_own(outlook: Outlook) -> list[Reference]:
    if not os.path.lexists(outlook.repository):
        return list(outlook.says)
    found = read_references(outlook.repository)
    found[outlook.model] = [
        # The present config.pbtxt is about to be replaced; the rest of the folder is searched as it is.
        *(one for one in found.get(outlook.model, ()) if one.config.parent != outlook.model),
        *outlook.says,
    ]
    return [reference for references in found.values() for reference in references]


def _read_other(repository: Path) -> list[Reference] | None:
    """Read a repository that a record names; None: it is missing or empty.

    An empty folder may be a volume that is not mounted at the moment.
    """
    try:
        if not stat.S_ISDIR(os.stat(repository).st_mode):
            return None
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise DeployError(f"the repository {repository} cannot be read: {error.strerror}") from error
    return [one for references in read_references(repository).values() for one in references] or None


def _silent(repository: Path, deployed: Path) -> Path | None:
    """Return a model's folder without a configuration, other than the one that is being deployed."""
    if not os.path.lexists(repository):
        return None
    return without_configuration(repository, but=deployed)


def _reason_of_repositories(
    record: Record, readings: Mapping[str, list[Reference] | None], silent: Mapping[str, Path | None]
) -> str | None:
    for repository in record.repositories:
        if readings[repository] is None:
            return f"{repository}, which used it, contains no models: check that this repository is mounted"
        folder = silent[repository]
        if folder is not None:
            what = (
                "links to nothing" if folder.is_symlink() and not folder.exists() else "has no configuration"
            )
            return (
                f"{folder} {what}, in a repository that used it: mount what belongs there, or move it out of the "
                "repository"
            )
    return None


def _reason_of_content(path: Path, record: Record) -> str | None:
    """Return why what has an environment's name is not the environment of its record."""
    try:
        same = (path / "bin").is_dir() if path.is_dir() else file_sha256(path) == record.sha256
    except OSError as error:
        raise DeployError(f"{path} cannot be read: {error.strerror}") from error
    return None if same else "it does not match its record: something else was put under its name"


def _reason_to_keep(path: Path, archive: Path, links: Collection[Path]) -> str | None:
    if os.path.lexists(manifest_beside(path)):
        return f"a build's manifest is next to it: {manifest_beside(path).name}"
    if _holds(path, archive):
        return "it is being deployed now"
    link = next((name for name in _links_to(path) if path.with_name(name) not in links), None)
    return f"{link} links to it" if link is not None else None


def _links_to(path: Path) -> list[str]:
    real = os.path.realpath(path)
    try:
        with os.scandir(path.parent) as entries:
            return [
                entry.name for entry in entries if entry.is_symlink() and os.path.realpath(entry.path) == real
            ]
    except OSError as error:
        raise DeployError(f"{path.parent} cannot be read: {error.strerror}") from error


def _holds(path: Path, archive: Path) -> bool:
    if os.path.realpath(archive).startswith(f"{os.path.realpath(path)}/"):
        return True
    try:
        return path.samefile(archive)
    except OSError:
        return False
