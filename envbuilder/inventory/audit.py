"""An archive against a database of advisories that lies on this machine: nothing is asked of a network."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from envbuilder.archive.reader import BoundedTar
from envbuilder.archive.stream import TarStream, compression_of, other_filter
from envbuilder.archive.zipdir import ZipDirectory
from envbuilder.errors import AssembleError, IntegrityError, RecipeError
from envbuilder.inventory.components import Component, Inventory
from envbuilder.inventory.osv import Advisory, fixed_by, parse_advisory, projects
from envbuilder.progress import SILENT
from envbuilder.util.documents import DOCUMENT, DocumentError, parse_json
from envbuilder.util.files import kind_of_file, open_regular, read_regular
from envbuilder.util.text import human

_TARS: Final = (".tar", ".tar.gz", ".tgz", ".tar.xz", ".tar.bz2", ".tar.zst")
_MOST: Final = 8 * 2**30
"""Bytes of all records: those that OSV has of every ecosystem are 2 GB."""
_FETCH: Final = "a database that is not whole says nothing: fetch it again"


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """An advisory that is about a component of an archive."""

    component: Component
    id: str
    aliases: tuple[str, ...]
    """Other names of the same thing, those of other records that say the same among them."""
    summary: str
    severity: str
    fixed: tuple[str, ...]
    """Versions in which it is mended; empty where none is known."""
    ignored: bool
    """Whether a person said that it does not count here."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Audit:
    """What a database knows against an archive."""

    archive: str
    advisories: int
    """Records that were read."""
    newest: str
    """When the newest of them was last changed: how old the database is."""
    findings: tuple[Finding, ...]

    @property
    def counting(self) -> tuple[Finding, ...]:
        """Findings that nobody said to ignore."""
        return tuple(finding for finding in self.findings if not finding.ignored)


def audit(inventory: Inventory, database: Path, *, ignore: Sequence[str] = ()) -> Audit:
    """Look for what *database* knows against the components of an archive.

    *database* is a folder of OSV records (``.json``, and archives of them), an archive of them as OSV publishes it
    (``all.zip``), or one record. *ignore* names advisories, by any of their names, that do not count.

    Raises:
        RecipeError: there is no such database, or no record in it.
        IntegrityError: a record cannot be read, or a version in it cannot be compared.
    """
    by_project: dict[str, list[Component]] = {}
    for component in inventory.components:
        name = "cpython" if component.kind == "interpreter" else component.project
        if name is not None:
            by_project.setdefault(name, []).append(component)
    count, newest = 0, ""
    found: dict[tuple[str, str], list[tuple[Advisory, tuple[str, ...], Component]]] = {}
    for where, content in _records(database):
        try:
            advisory = parse_advisory(parse_json(content, where=where))
            count += 1
            newest = max(newest, advisory.modified)
            for component in (one for name in projects(advisory) for one in by_project.get(name, ())):
                hit, fixed = fixed_by(advisory, component)
                if hit:
                    key = (component.purl, component.place or "")
                    found.setdefault(key, []).append((advisory, fixed, component))
        except DocumentError as error:
            raise IntegrityError(error.message, hint=_FETCH) from error
        except ValueError as error:
            raise IntegrityError(f"{where}: {error}", hint=_FETCH) from error
    if not count:
        raise RecipeError(
            f"{database}: there is no advisory in it",
            hint="a folder or an archive of OSV records, for instance OSV's PyPI/all.zip",
        )
    findings = [finding for hits in found.values() for finding in _merged(hits, set(ignore))]
    return Audit(
        archive=inventory.archive,
        advisories=count,
        newest=newest,
        findings=tuple(sorted(findings, key=lambda one: (one.component.name, one.id))),
    )


def _merged(
    hits: Sequence[tuple[Advisory, tuple[str, ...], Component]], ignore: set[str]
) -> Iterator[Finding]:
    """Make one finding of records that are aliases of each other: GHSA's, PyPA's and the CVE of one thing."""
    groups: list[tuple[set[str], list[tuple[Advisory, tuple[str, ...], Component]]]] = []
    for hit in hits:
        names, members = {hit[0].id, *hit[0].aliases}, [hit]
        for group in [group for group in groups if group[0] & names]:
            names |= group[0]
            members = [*group[1], *members]
            groups.remove(group)
        groups.append((names, members))
    for names, members in groups:
        first = min(members, key=lambda one: (one[0].id.split("-")[0] != "GHSA", one[0].id))
        advisory, _, component = first
        yield Finding(
            component=component,
            id=advisory.id,
            aliases=tuple(sorted(names - {advisory.id})),
            summary=advisory.summary,
            severity=advisory.severity,
            fixed=tuple(dict.fromkeys(version for one in members for version in one[1])),
            ignored=bool(names & ignore),
        )


def _records(database: Path) -> Iterator[tuple[str, bytes]]:
    if database.exists() and not (database.is_dir() or database.is_file()):
        raise RecipeError(f"{database}: is {kind_of_file(database.stat().st_mode)}, not a file")
    if not database.exists():
        raise RecipeError(
            f"{database}: there is no such database of advisories",
            hint="a folder or an archive of OSV records, for instance OSV's PyPI/all.zip",
        )
    paths = (
        sorted(path for path in database.rglob("*") if not path.is_dir()) if database.is_dir() else [database]
    )
    left = _MOST
    for path in paths:
        try:
            for where, content in _of_file(path):
                left -= len(content)
                if left < 0:
                    raise ValueError(f"the records take more than {human(_MOST)}")
                yield where, content
        except (OSError, EOFError, ValueError, AssembleError) as error:
            said = getattr(error, "strerror", None) or error
            raise IntegrityError(f"{path} cannot be read: {said}", hint=_FETCH) from error


def _of_file(path: Path) -> Iterator[tuple[str, bytes]]:
    """Yield the records in a file, each up to a byte more than any may have, with words for where it is."""
    if path.name.endswith(".zip"):
        with open_regular(path) as file:
            directory = ZipDirectory(file, path)
            for name, member in directory.members.items():
                if name.endswith(".json"):
                    yield f"{path}: {name}", directory.read(member, most=DOCUMENT.size + 1)
    elif path.name.endswith(_TARS):
        with open_regular(path) as file:
            head = file.read(512)
        if other_filter(head) is not None:
            raise ValueError("a database is a .zip, a .tar or a .tar.gz")
        with TarStream(path, compression_of(head), SILENT) as stream:
            tar = BoundedTar(stream)
            for info in tar:
                if info.isreg() and info.name.endswith(".json"):
                    yield f"{path}: {info.name}", tar.content(info, DOCUMENT.size + 1)
    elif path.name.endswith(".json"):
        yield str(path), read_regular(path, most=DOCUMENT.size + 1)
