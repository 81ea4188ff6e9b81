"""``probe.packages``: import every package of an archive, and report failures by package."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from envbuilder.catalog.triton import Launch, Release
from envbuilder.progress import Reporter
from envbuilder.recipe.model import Recipe
from envbuilder.store.local import Store
from envbuilder.util.text import counted
from envbuilder.verification.live.evaluate_packages import PackageEvaluator, failures, lent_libraries
from envbuilder.verification.live.launch import Sandbox
from envbuilder.verification.live.packages import Imported, import_packages
from envbuilder.verification.live.uv_install import UvInstallation
from envbuilder.verification.report import Check
from envbuilder.verification.static.extracted import Archive
from envbuilder.verification.static.needs import system_of


@dataclass(kw_only=True, slots=True)
class PackageProbe:
    """Imports the packages of *archive*, extracted in *sandbox*: once for each launch."""

    archive: Archive
    sandbox: Sandbox
    store: Store
    scratch: Path
    """A folder for uv's own installation, if one is needed."""
    reporter: Reporter
    recipe: Recipe | None = None
    """The recipe of the archive, if available."""
    _imported: dict[Launch, Imported] = field(default_factory=dict)
    _without: dict[tuple[Launch, tuple[str, ...]], Imported] = field(default_factory=dict)
    """The packages that loaded libraries of this machine, imported again without these."""
    _hidden: Sequence[str] = ()
    _uv: UvInstallation | None = None

    def imported(self, release: Release, *, hidden: Sequence[str]) -> Imported:
        """Import every package as *release* launches a stub, unless done before; files *hidden* are not visible."""
        self._hidden = hidden
        known = self._imported.get(release.launch)
        if known is None:
            self.reporter.step(f"Importing {len(self.archive.installed)} packages")
            known = self._imported[release.launch] = import_packages(
                self.sandbox,
                release.launch,
                self.archive.installed,
                self.archive.contents.members,
                hidden=hidden,
            )
        return known

    def checks(self, imported: Imported, release: Release, used: Collection[str] = ()) -> Iterator[Check]:
        """Evaluate the results of the packages for *release*; the verified models imported the modules *used*."""
        evaluator = PackageEvaluator(
            archive=self.archive,
            release=release,
            system=system_of(self.archive, release),
            uv=self._in_uv,
            wanted=self._wanted(),
            used=used,
        )
        return evaluator.checks(self._in_image(imported, release))

    def _in_image(self, imported: Imported, release: Release) -> Imported:
        """Return *imported* with the results of packages that can do without what the image of *release* lacks.

        Pillow loads libfribidi where it is found, and goes on where it is not.
        """
        lent = lent_libraries(imported, system_of(self.archive, release))
        paths = tuple(sorted({path for some in lent.values() for path in some}))
        if imported.found is None or not paths or not self.sandbox.isolated:
            return imported
        key = (release.launch, paths)
        if key not in self._without:
            self.reporter.step(f"Importing {counted(len(lent), 'package')} without libraries of this machine")
            self._without[key] = import_packages(
                self.sandbox,
                release.launch,
                {name: self.archive.installed[name] for name in lent},
                self.archive.contents.members,
                hidden=[*self._hidden, *paths],
            )
        again = self._without[key].found or {}
        works = {
            name: one
            for name, one in again.items()
            if not (one.timeout or one.signal or one.exited)
            and all(said.done for said in one.modules.values())
        }
        return replace(imported, found={**imported.found, **works})

    def _wanted(self) -> set[str] | None:
        """Return the packages that the recipe names, and torch; None if unknown, or for conda packages."""
        if self.recipe is None or self.recipe.provider == "conda":
            return None
        return {"torch", *(canonicalize_name(Requirement(one).name) for one in self.recipe.dependencies)}

    def missed(self, imported: Imported, release: Release) -> list[tuple[str, str]]:
        """Return the packages whose import failed because of a missing library, each with that library."""
        imported = self._in_image(imported, release)
        found = failures(imported, self.archive, system_of(self.archive, release))
        return [(one.package, one.soname) for one in found if one.soname is not None]

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
