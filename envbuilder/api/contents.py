"""Inspect archives: sizes, SBOM, licences, advisories."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from envbuilder.progress import SILENT, Reporter
from envbuilder.util.files import StrPath, optional_path

if TYPE_CHECKING:
    from envbuilder.inventory.audit import Audit
    from envbuilder.inventory.policy import Evaluation, Policy
    from envbuilder.inventory.sizes import Sizes


def size(archive: StrPath, *, reporter: Reporter = SILENT) -> Sizes:
    """Return the sizes of what is in an archive, see :func:`envbuilder.inventory.sizes.measure`."""
    from envbuilder.inventory.sizes import measure

    return measure(Path(archive), reporter=reporter)


def plot_sizes(sizes: Sizes, path: StrPath) -> None:
    """Draw sizes, see :func:`envbuilder.inventory.treemap.plot`."""
    from envbuilder.inventory.treemap import plot

    plot(sizes, Path(path))


def sbom(archive: StrPath, *, reporter: Reporter = SILENT) -> str:
    """Return the CycloneDX document of an archive, see :func:`envbuilder.inventory.sbom.sbom`."""
    from envbuilder.inventory.components import take_inventory
    from envbuilder.inventory.sbom import sbom as document

    return document(take_inventory(Path(archive), reporter=reporter))


def licences(archive: StrPath, policy: Policy, *, reporter: Reporter = SILENT) -> tuple[Evaluation, ...]:
    """Return the licences in an archive and those that *policy* refuses.

    See :func:`envbuilder.inventory.policy.evaluate`.
    """
    from envbuilder.inventory.components import take_inventory
    from envbuilder.inventory.policy import evaluate

    return evaluate(take_inventory(Path(archive), reporter=reporter).components, policy)


def audit(
    archive: StrPath, advisories: StrPath, *, ignore: Sequence[str] = (), reporter: Reporter = SILENT
) -> Audit:
    """Check an archive against known advisories, see :func:`envbuilder.inventory.audit.audit`."""
    from envbuilder.inventory.audit import audit as audit_inventory
    from envbuilder.inventory.components import take_inventory

    return audit_inventory(take_inventory(Path(archive), reporter=reporter), Path(advisories), ignore=ignore)


def report(
    archive: StrPath,
    *,
    verification: StrPath | None = None,
    advisories: StrPath | None = None,
    against: StrPath | None = None,
    reporter: Reporter = SILENT,
) -> str:
    """Return a page about an archive as HTML.

    *verification* is the JSON report of its verification, *advisories* a database of OSV records, *against* the archive
    to compare it with. See :func:`envbuilder.html_report.content.gather`.
    """
    from envbuilder.html_report.content import Sources
    from envbuilder.html_report.render import html_report
    from envbuilder.verification.read_report import read_report

    sources = Sources(
        report=read_report(Path(verification)) if verification is not None else None,
        advisories=optional_path(advisories),
        against=optional_path(against),
    )
    return html_report(Path(archive), sources, reporter=reporter)
