"""An archive that was read and extracted, ready to be checked."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from packaging.utils import canonicalize_name

from envbuilder.archive.extract import Contents, extract
from envbuilder.archive.manifest import (
    ENVIRONMENT_PATH,
    MANIFEST_PATH,
    Manifest,
    manifest_beside,
    parse_manifest,
)
from envbuilder.archive.names import ARCHIVE
from envbuilder.errors import IntegrityError
from envbuilder.foreign.measured import MeasuredManifest, measure
from envbuilder.foreign.packages import Packages, find_packages
from envbuilder.foreign.survey import Survey, folder_around, survey_of_folder
from envbuilder.progress import Reporter
from envbuilder.util.documents import LISTING, DocumentError, load_json
from envbuilder.util.files import read_regular
from envbuilder.util.version import VERSION
from envbuilder.verification.static.build_paths import BuildPaths, find_build_paths
from envbuilder.verification.static.linking import Linking, read_linking
from envbuilder.verification.static.packages import Installed, installed_packages, with_recorded

_LIBPYTHON: Final = re.compile(r"lib/libpython(?P<minor>3\.\d+)\.so\.1\.0")
_DIST_INFO: Final = re.compile(
    r"lib/python3\.\d+/site-packages/(?P<name>[^/]+)-(?P<version>[^/-]+)\.dist-info/METADATA"
)


@dataclass(frozen=True, kw_only=True)  # without slots, for cached properties
class Archive:
    """An archive that was read and extracted, with the facts for the checks."""

    path: Path
    contents: Contents
    environment: Path
    """The folder it was extracted into."""
    manifest: Manifest | None
    manifest_error: str | None
    places: Callable[[], Sequence[Path]] = field(repr=False, compare=False)
    """Returns the folders of this machine that no file may name."""
    folder: Path | None = None
    """The original folder, if the environment was not an archive: a server uses it in place."""

    @functools.cached_property
    def linking(self) -> Linking:
        """The requirements of its ELF files."""
        return read_linking(self.environment, self.contents.members)

    @functools.cached_property
    def build_paths(self) -> BuildPaths:
        """Paths of the build machine in it."""
        return find_build_paths(self.environment, self.contents, self.places())

    @property
    def is_unread(self) -> bool:
        """Whether so little of it could be read that nothing else can be said of it."""
        contents = self.contents
        nothing = not contents.members and not contents.folders
        return contents.damage is not None and (nothing or self.is_foreign)

    @functools.cached_property
    def is_foreign(self) -> bool:
        """Whether another tool made it: no manifest in it or beside it is from ``envbuilder build``."""
        if self.manifest is not None or manifest_beside(self.path).exists():
            return False
        if self.contents.damage is not None and ARCHIVE.fullmatch(self.path.name):
            return False  # its manifest may be in the missing part
        own = f"{MANIFEST_PATH.rpartition('/')[0]}/"
        return not any(path.startswith(own) for path in self.contents.members)

    @functools.cached_property
    def around(self) -> str:
        """The folder that contains everything in it; empty if there is none."""
        return folder_around([*self.contents.members, *self.contents.folders])

    @functools.cached_property
    def survey(self) -> Survey:
        """Its components, from its own metadata."""
        return survey_of_folder(
            self.environment,
            self.contents.members,
            self.linking.files,
            libstdcxx=self.linking.libstdcxx,
            source=(self.path, self.contents.sha256, self.contents.size),
        )

    @functools.cached_property
    def found_packages(self) -> Packages:
        """The records of conda and pip in it."""
        return find_packages(self.survey.texts)

    @functools.cached_property
    def measured(self) -> MeasuredManifest:
        """A manifest derived from its content.

        Raises:
            IntegrityError: it is not a Python environment.
        """
        return measure(self.survey, where=self.path.name)

    @functools.cached_property
    def installed(self) -> Mapping[str, Installed]:
        """The Python packages in it, by normalized name."""
        found = installed_packages(self.environment, self.contents.members)
        return with_recorded(found, self.environment, self.found_packages) if self.is_foreign else found

    @property
    def packages(self) -> dict[str, str]:
        """Version of each package that is installed, by normalized name."""
        if self.is_foreign:
            return self.found_packages.versions
        matches = map(_DIST_INFO.fullmatch, self.contents.members)
        return {canonicalize_name(match["name"]): match["version"] for match in matches if match}

    def owner(self, path: str) -> str | None:
        """Return the package that *path* belongs to; None: it is part of the base, or of no package."""
        return next((name for name, package in self.installed.items() if path in package.files), None)

    @property
    def same_tool(self) -> bool:
        """Whether this version of envbuilder built it."""
        return self.manifest is not None and self.manifest.tools.get("envbuilder") == VERSION

    def is_as_built(self, path: str) -> bool | None:
        """Return whether the file *path* matches the manifest; None: there is no manifest."""
        if self.manifest is None:
            return None
        listed = next((file for file in self.manifest.files if file.path == path), None)
        member = self.contents.members.get(path)
        return listed is not None and member is not None and member.sha256 == listed.sha256

    @property
    def libpythons(self) -> list[str]:
        """Minor versions of Python whose libpython the archive contains."""
        found = (_LIBPYTHON.fullmatch(path) for path in self.contents.members)
        return sorted(match["minor"] for match in found if match)

    @property
    def compiler(self) -> str | None:
        """The path of the environment's own C++ compiler, from its metadata."""
        path = self.file(ENVIRONMENT_PATH)
        if path is None:
            return None
        try:
            variables = load_json(path).record("variables")
            return variables.text("CXX").removeprefix("{prefix}/")
        except (DocumentError, OSError):
            return None

    def file(self, path: str) -> Path | None:
        """Return the path of the file *path*, with links inside followed; None: there is none."""
        found = self.contents.tree.resolve(path)
        if found.end != "file" or found.path not in self.contents.members:
            return None
        return self.environment / found.path

    def holds(self, path: str) -> bool:
        """Return whether *path* is a file of the archive, or a link to one inside."""
        return self.file(path) is not None


def open_archive(
    path: Path, environment: Path, places: Callable[[Manifest | None], Sequence[Path]], reporter: Reporter
) -> Archive:
    """Extract the archive *path* into *environment*, and read the facts for the checks.

    *places* returns the folders of this machine that no file may name.

    Raises:
        VerifyError: the file does not exist, or it cannot be extracted.
    """
    contents = extract(path, environment, reporter=reporter)
    manifest, error = _read_manifest(contents, environment)
    return Archive(
        path=path,
        contents=contents,
        environment=environment,
        manifest=manifest,
        manifest_error=error,
        places=lambda: places(manifest),
    )


def _read_manifest(contents: Contents, environment: Path) -> tuple[Manifest | None, str | None]:
    """Return the manifest inside an archive, or why there is none."""
    member = contents.members.get(MANIFEST_PATH)
    if member is None:
        return None, f"the archive has no {MANIFEST_PATH}"
    if member.link is not None:
        return None, f"{MANIFEST_PATH} is a link, to {member.link}"
    try:
        return parse_manifest(
            read_regular(environment / MANIFEST_PATH, most=LISTING.size + 1), where=MANIFEST_PATH
        ), None
    except (IntegrityError, OSError) as error:
        return None, str(error)
