"""``probe.packages``: every package of an archive is imported, and what fails is told by package."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from envbuilder.catalog.triton import Launch, Release
from envbuilder.progress import Reporter
from envbuilder.store.local import Store
from envbuilder.verification.live.evaluate_packages import PackageJudge, failures
from envbuilder.verification.live.launch import Place
from envbuilder.verification.live.packages import Imported, import_packages
from envbuilder.verification.live.uv_install import UvInstallation
from envbuilder.verification.report import Check
from envbuilder.verification.static.extracted import Archive
from envbuilder.verification.static.needs import settle_needs, system_of


@dataclass(kw_only=True, slots=True)
class PackageProbe:
    """Imports the packages of *archive*, extracted in *place*: once for each launch."""

    archive: Archive
    place: Place
    store: Store
    scratch: Path
    """A folder for uv's own installation, should one be needed."""
    reporter: Reporter
    _imported: dict[Launch, Imported] = field(default_factory=dict)
    _uv: UvInstallation | None = None

    def checked(self, checks: Sequence[Check], release: Release, *, hidden: Sequence[str]) -> list[Check]:
        """Return *checks*, and what is known of *release* now that packages were imported; *hidden* is not seen."""
        imported = self._imported.get(release.launch)
        if imported is None:
            self.reporter.step(f"Importing {len(self.archive.installed)} packages")
            imported = import_packages(
                self.place,
                release.launch,
                self.archive.installed,
                self.archive.contents.members,
                hidden=hidden,
            )
            self._imported[release.launch] = imported
        system = system_of(self.archive, release)
        judge = PackageJudge(archive=self.archive, release=release, system=system, uv=self._in_uv)
        made = list(judge.checks(imported))
        if imported.found is None:
            return [*checks, *made]
        failed = list(failures(imported, self.archive, system))
        met = [(one.package, one.soname) for one in failed if one.soname is not None]
        return [*settle_needs(checks, self.archive, release, met), *made]

    def _in_uv(self, package: str, module: str) -> bool | None:
        manifest = self.archive.manifest
        if manifest is None:
            return None
        if self._uv is None:
            folder = self.scratch / "uv"
            folder.mkdir()
            self._uv = UvInstallation(
                manifest=manifest, installed=self.archive.installed, store=self.store, folder=folder
            )
        self.reporter.step(f"Importing {package} in uv's own installation, to compare")
        return self._uv.imports(package, module)
