"""Gather the content of a page: an archive, its verification, advisories, and an archive to compare it with."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from envbuilder.archive.manifest import Manifest
from envbuilder.compare.diff import Difference, compare
from envbuilder.compare.sides import read_side
from envbuilder.errors import EnvbuilderError, RecipeError
from envbuilder.inventory.audit import Audit, Finding, audit
from envbuilder.inventory.components import Component, Inventory, take_inventory
from envbuilder.inventory.kept import kept_for
from envbuilder.inventory.sizes import Sizes, measure, savings
from envbuilder.progress import SILENT, Reporter
from envbuilder.verification.report import Check, Report, Status

GROUPS: Final = {
    "archive": "The archive",
    "layout": "Layout",
    "manifest": "Manifest and origin",
    "provenance": "Provenance",
    "contents": "Contents",
    "paths": "Paths of the machine that built it",
    "linking": "Linking",
    "system": "Libraries of the system",
    "contract": "The release's contract",
    "model": "The model",
    "probe": "In the packed interpreter",
    "live": "While it runs",
    "repository": "The repository",
    "server": "A real tritonserver",
    "image": "The image",
    "verification": "The verification itself",
}
"""Titles of groups of checks, by the first part of their ids, in the order of a page."""

ORDER: Final[tuple[Status, ...]] = ("failed", "warning", "unknown", "omitted", "passed")
"""The order of the checks of a group."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Sources:
    """The sources of a page, besides the archive."""

    report: Report | None = None
    """A verification of it."""
    advisories: Path | None = None
    """A database of OSV records, as :func:`envbuilder.inventory.audit.audit` takes it."""
    against: Path | None = None
    """An archive to compare it with: the previous one."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Package:
    """A row of the table of packages."""

    component: Component
    findings: tuple[Finding, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Content:
    """The content of a page."""

    archive: str
    report: Report | None
    manifest: Manifest | None = None
    sizes: Sizes | None = None
    packages: tuple[Package, ...] = ()
    audit: Audit | None = None
    difference: Difference | None = None
    unread: str | None = None
    """Why the archive could not be read, if so: then the page only has the verification."""

    @property
    def verdict(self) -> str:
        """``passed``, ``failed``, or ``unknown`` without a verification."""
        if self.report is None:
            return "unknown"
        return "passed" if self.report.passed else "failed"

    def groups(self) -> list[tuple[str, list[Check]]]:
        """Return the checks by title of their group, what failed first in each."""
        if self.report is None:
            return []
        found: dict[str, list[Check]] = {}
        for check in self.report.checks:
            found.setdefault(check.id.partition(".")[0], []).append(check)
        names = [*GROUPS, *(name for name in found if name not in GROUPS)]
        return [
            (GROUPS.get(name, name), sorted(found[name], key=lambda check: ORDER.index(check.status)))
            for name in names
            if name in found
        ]

    def timeline(self) -> list[tuple[str, float]]:
        """Return the phases of the verification in order: a title, and seconds."""
        if self.report is None:
            return []
        facts = self.report.environment
        phases = [
            (name.removesuffix("_seconds").replace("_", " "), _seconds(text))
            for name, text in facts.items()
            if name.endswith("_seconds")
        ]
        checks = [
            (f"{check.id} {check.release or ''}".strip(), check.seconds) for check in self.report.checks
        ]
        return [(name, seconds) for name, seconds in [*phases, *checks] if seconds >= _SHORTEST]

    def left_out(self) -> list[tuple[str, int, int]]:
        """Return the exclusions by rule: its name, files, bytes."""
        return savings(self.manifest.excluded) if self.manifest else []

    def kept(self) -> list[str]:
        """Return the files that were kept although a rule would exclude them, with their importers."""
        return kept_for(self.manifest.kept) if self.manifest else []


_SHORTEST: Final = 0.005
"""Shortest phase that is shown, in seconds."""


def gather(archive: Path, sources: Sources = Sources(), *, reporter: Reporter = SILENT) -> Content:
    """Read *archive* and its *sources*. An archive that cannot be read still has a page if there is a verification.

    Raises:
        IntegrityError: it cannot be read, and there is no verification.
        RecipeError: advisories, or the archive to compare with, cannot be read.
    """
    try:
        inventory, sizes = take_inventory(archive, reporter=reporter), measure(archive, reporter=reporter)
    except EnvbuilderError as error:
        if sources.report is None:
            raise
        return Content(archive=archive.name, report=sources.report, unread=error.message)
    if sources.report is not None and sources.report.sha256 not in (None, inventory.sha256):
        raise RecipeError(
            f"the verification is of another archive: sha256 {sources.report.sha256}, {archive} has {inventory.sha256}",
            hint="`envbuilder verify ARCHIVE --report FILE` makes one of this archive",
        )
    found = audit(inventory, sources.advisories) if sources.advisories else None
    return Content(
        archive=archive.name,
        report=sources.report,
        manifest=inventory.manifest,
        sizes=sizes,
        packages=_packages(inventory, found),
        audit=found,
        difference=_difference(sources.against, archive, reporter),
    )


def _packages(inventory: Inventory, found: Audit | None) -> tuple[Package, ...]:
    findings = found.findings if found else ()
    return tuple(
        Package(component=one, findings=tuple(hit for hit in findings if hit.component.purl == one.purl))
        for one in inventory.components
    )


def _difference(before: Path | None, after: Path, reporter: Reporter) -> Difference | None:
    if before is None:
        return None
    here = Path.cwd()
    return compare(
        read_side(str(before.absolute()), here, reporter=reporter),
        read_side(str(after.absolute()), here, reporter=reporter),
    )


def _seconds(text: str) -> float:
    try:
        return max(float(text), 0.0)
    except ValueError:
        return 0.0
