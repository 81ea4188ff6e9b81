"""Check an archive against a local database of advisories, without network."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from envbuilder.archive.reader import BoundedTar
from envbuilder.archive.stream import TarStream, compression_of, unsupported_format
from envbuilder.archive.zipdir import ZipDirectory
from envbuilder.errors import AssembleError, IntegrityError, RecipeError
from envbuilder.inventory.components import Component, Inventory
from envbuilder.inventory.ecosystems import DISTRIBUTIONS, Key
from envbuilder.inventory.osv import Advisory, component_keys, fixed_by, named_by, parse_advisory
from envbuilder.progress import SILENT
from envbuilder.util.documents import DOCUMENT, DocumentError, parse_json
from envbuilder.util.files import kind_of_file, open_regular, read_regular
from envbuilder.util.text import human

_TARS: Final = (".tar", ".tar.gz", ".tgz", ".tar.xz", ".tar.bz2", ".tar.zst")
_MOST: Final = 8 * 2**30
"""Limit for all records, in bytes: OSV's records of all ecosystems have 2 GB."""
_FETCH: Final = "the database is incomplete: download it again"


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """An advisory that affects a component of an archive."""

    component: Component
    id: str
    aliases: tuple[str, ...]
    """Other names of the advisory, including those of equivalent records."""
    summary: str
    severity: str
    fixed: tuple[str, ...]
    """Versions in which it is fixed; empty if none is known."""
    ignored: bool
    """Whether the user ignores it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Unmatched:
    """A component that no advisory can be matched with."""

    component: Component
    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Audit:
    """The result of an audit."""

    archive: str
    advisories: int
    """How many records were read."""
    newest: str
    """When the newest of them was last changed, which is the age of the database."""
    findings: tuple[Finding, ...]
    unmatched: tuple[Unmatched, ...] = ()
    """Components that could not be matched, and why."""
    unread: tuple[str, ...] = ()
    """SBOMs in the archive in unsupported formats."""

    @property
    def counting(self) -> tuple[Finding, ...]:
        """Findings that are not ignored."""
        return tuple(finding for finding in self.findings if not finding.ignored)


def audit(inventory: Inventory, database: Path, *, ignore: Sequence[str] = ()) -> Audit:
    """Check the components of an archive against *database*.

    *database* is a folder of OSV records (``.json``, and archives of them), an archive of them as OSV publishes it
    (``all.zip``), or one record. *ignore* names advisories to ignore, by any of their names.

    Raises:
        RecipeError: there is no such database, or no record in it.
        IntegrityError: a record cannot be read, or a version in it cannot be compared.
    """
    by_key: dict[Key, list[Component]] = {}
    unmatched: dict[str, Unmatched] = {}
    for component in inventory.components:
        keys, release = component_keys(component)
        for key in keys:
            by_key.setdefault(key, []).append(component)
        why = _why_not(component, keys, release)
        if why is not None:
            unmatched.setdefault(component.purl, Unmatched(component=component, reason=why))
    count, newest = 0, ""
    found: dict[tuple[str, str], list[tuple[Advisory, tuple[str, ...], Component]]] = {}
    for advisory in read_advisories(database):
        count += 1
        newest = max(newest, advisory.modified)
        named = {id(one): one for key in named_by(advisory) for one in by_key.get(key, ()) if one.version}
        for component in named.values():
            try:
                hit, fixed = fixed_by(advisory, component)
            except ValueError as error:
                if component.project is not None or component.kind == "interpreter":
                    raise IntegrityError(f"{database}: {error}", hint=_FETCH) from error
                unmatched.setdefault(component.purl, Unmatched(component=component, reason=str(error)))
                continue
            if hit:
                place = (component.purl, component.place or "")
                found.setdefault(place, []).append((advisory, fixed, component))
    findings = [finding for hits in found.values() for finding in _merged(hits, set(ignore))]
    return Audit(
        archive=inventory.archive,
        advisories=count,
        newest=newest,
        findings=tuple(sorted(findings, key=lambda one: (one.component.name, one.id))),
        unmatched=tuple(sorted(unmatched.values(), key=lambda one: (one.component.name, one.component.purl))),
        unread=inventory.unread,
    )


def read_advisories(database: Path) -> Iterator[Advisory]:
    """Yield the advisories of *database*, as :func:`audit` reads them.

    Raises:
        RecipeError: there is no such database, or no record in it.
        IntegrityError: a record cannot be read.
    """
    count = 0
    for where, content in _records(database):
        try:
            yield parse_advisory(parse_json(content, where=where))
        except DocumentError as error:
            raise IntegrityError(error.message, hint=_FETCH) from error
        count += 1
    if not count:
        raise _empty(database)


def find_records(id: str, database: Path) -> list[Advisory]:
    """Return the advisories of *database* that have the name *id*, or are aliases of one that has.

    Raises:
        RecipeError, IntegrityError: see :func:`read_advisories`.
    """
    known = [one for one in read_advisories(database) if id == one.id or id in one.aliases]
    return [one for one in known if not one.withdrawn]


def _empty(database: Path) -> RecipeError:
    return RecipeError(
        f"{database}: it contains no advisories",
        hint="expected a folder or an archive of OSV records, for example OSV's PyPI/all.zip",
    )


def _why_not(component: Component, keys: set[Key], release: str | None) -> str | None:
    if not component.version:
        return "its version is not known"
    if not keys:
        return f"OSV has no advisories of {component.purl.partition('@')[0].rpartition('/')[0]}/"
    ecosystems = {key.ecosystem for key in keys}
    if ecosystems & DISTRIBUTIONS and release is None:
        return "the release of its distribution is not known: it is compared with all releases"
    return None


def _merged(
    hits: Sequence[tuple[Advisory, tuple[str, ...], Component]], ignore: set[str]
) -> Iterator[Finding]:
    """Merge records that are aliases of each other (GHSA, PyPA, CVE) into one finding."""
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
            f"{database}: no such database of advisories",
            hint="expected a folder or an archive of OSV records, for example OSV's PyPI/all.zip",
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
    """Yield the records in a file, each cut one byte above the limit, with its position for messages."""
    if path.name.endswith(".zip"):
        with open_regular(path) as file:
            directory = ZipDirectory(file, path)
            for name, member in directory.members.items():
                if name.endswith(".json"):
                    yield f"{path}: {name}", directory.read(member, most=DOCUMENT.size + 1)
    elif path.name.endswith(_TARS):
        with open_regular(path) as file:
            head = file.read(512)
        if unsupported_format(head) is not None:
            raise ValueError("a database is a .zip, a .tar or a .tar.gz")
        with TarStream(path, compression_of(head), SILENT) as stream:
            tar = BoundedTar(stream)
            for info in tar:
                if info.isreg() and info.name.endswith(".json"):
                    yield f"{path}: {info.name}", tar.content(info, DOCUMENT.size + 1)
    elif path.name.endswith(".json"):
        yield str(path), read_regular(path, most=DOCUMENT.size + 1)
