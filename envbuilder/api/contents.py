"""What is in an archive."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from envbuilder.progress import SILENT, Reporter
from envbuilder.util.files import StrPath

if TYPE_CHECKING:
    from envbuilder.inventory.audit import Audit
    from envbuilder.inventory.policy import Judgement, Policy
    from envbuilder.inventory.sizes import Sizes


def size(archive: StrPath, *, reporter: Reporter = SILENT) -> Sizes:
    """Say where the bytes of an archive are, see :func:`envbuilder.inventory.sizes.measure`."""
    from envbuilder.inventory.sizes import measure

    return measure(Path(archive), reporter=reporter)


def plot_sizes(sizes: Sizes, path: Path) -> None:
    """Draw sizes, see :func:`envbuilder.inventory.treemap.plot`."""
    from envbuilder.inventory.treemap import plot

    plot(sizes, path)


def sbom(archive: StrPath, *, reporter: Reporter = SILENT) -> str:
    """Return the CycloneDX document of an archive, see :func:`envbuilder.inventory.sbom.sbom`."""
    from envbuilder.inventory.components import take_inventory
    from envbuilder.inventory.sbom import sbom as document

    return document(take_inventory(Path(archive), reporter=reporter))


def licences(archive: StrPath, policy: Policy, *, reporter: Reporter = SILENT) -> tuple[Judgement, ...]:
    """Say which licences are in an archive, and which of them *policy* refuses.

    See :func:`envbuilder.inventory.policy.judge`.
    """
    from envbuilder.inventory.components import take_inventory
    from envbuilder.inventory.policy import judge

    return judge(take_inventory(Path(archive), reporter=reporter).components, policy)


def audit(
    archive: StrPath, advisories: Path, *, ignore: Sequence[str] = (), reporter: Reporter = SILENT
) -> Audit:
    """Say what is known against what is in an archive, see :func:`envbuilder.inventory.audit.audit`."""
    from envbuilder.inventory.audit import audit as audit_inventory
    from envbuilder.inventory.components import take_inventory

    return audit_inventory(take_inventory(Path(archive), reporter=reporter), advisories, ignore=ignore)
