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


@dataclass(frozen=True, kw_only=True)  # without slots, for what is found out when a check first asks
class Archive:
    """An archive that was read and extracted, with everything that the checks ask."""

    path: Path
    contents: Contents
    environment: Path
    """The folder it was extracted into."""
    manifest: Manifest | None
    manifest_error: str | None
    places: Callable[[], Sequence[Path]] = field(repr=False, compare=False)
    """Gives the folders of this machine that no file may name."""
    folder: Path | None = None
    """The folder that was packed to be looked at, where it is none that was packed: a server uses it in place."""

    @functools.cached_property
    def linking(self) -> Linking:
        """What its ELF files ask."""
        return read_linking(self.environment, self.contents.members)

    @functools.cached_property
    def build_paths(self) -> BuildPaths:
        """What it tells of the machine that it was built on."""
        return find_build_paths(self.environment, self.contents, self.places())

    @functools.cached_property
    def is_foreign(self) -> bool:
        """Whether another tool made it: nothing in it or beside it says that ``envbuilder build`` did."""
        if self.manifest is not None or manifest_beside(self.path).exists():
            return False
        if self.contents.damage is not None and ARCHIVE.fullmatch(self.path.name):
            return False  # its manifest may be in what is lost
        own = f"{MANIFEST_PATH.rpartition('/')[0]}/"
        return not any(path.startswith(own) for path in self.contents.members)

    @functools.cached_property
    def around(self) -> str:
        """The folder that everything in it lies in; empty where nothing is around."""
        return folder_around([*self.contents.members, *self.contents.folders])

    @functools.cached_property
    def survey(self) -> Survey:
        """What it is made of, as it says itself."""
        return survey_of_folder(
            self.environment,
            self.contents.members,
            self.linking.files,
            libstdcxx=self.linking.libstdcxx,
            source=(self.path, self.contents.sha256, self.contents.size),
        )

    @functools.cached_property
    def found_packages(self) -> Packages:
        """What conda and pip wrote down in it."""
        return find_packages(self.survey.texts)

    @functools.cached_property
    def measured(self) -> MeasuredManifest:
        """What a manifest would say of it.

        Raises:
            IntegrityError: it is no Python environment.
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
        """Return the package that *path* belongs to; None: it is part of the base, or nobody's."""
        return next((name for name, package in self.installed.items() if path in package.files), None)

    @property
    def same_tool(self) -> bool:
        """Whether this version of envbuilder built it."""
        return self.manifest is not None and self.manifest.tools.get("envbuilder") == VERSION

    def is_as_built(self, path: str) -> bool | None:
        """Say whether the file *path* is what the manifest says that the build wrote; None: there is no manifest."""
        if self.manifest is None:
            return None
        listed = next((file for file in self.manifest.files if file.path == path), None)
        member = self.contents.members.get(path)
        return listed is not None and member is not None and member.sha256 == listed.sha256

    @property
    def libpythons(self) -> list[str]:
        """Minor versions whose libpython the archive has."""
        found = (_LIBPYTHON.fullmatch(path) for path in self.contents.members)
        return sorted(match["minor"] for match in found if match)

    @property
    def compiler(self) -> str | None:
        """The path of the C++ compiler that the environment brings along, as it says itself."""
        path = self.file(ENVIRONMENT_PATH)
        if path is None:
            return None
        try:
            variables = load_json(path).record("variables")
            return variables.text("CXX").removeprefix("{prefix}/")
        except (DocumentError, OSError):
            return None

    def file(self, path: str) -> Path | None:
        """Return where the file lies that *path* is, or leads to by links inside; None: there is none."""
        found = self.contents.tree.resolve(path)
        if found.end != "file" or found.path not in self.contents.members:
            return None
        return self.environment / found.path

    def holds(self, path: str) -> bool:
        """Say whether *path* is a file of the archive, or a link to one inside."""
        return self.file(path) is not None


def open_archive(
    path: Path, environment: Path, places: Callable[[Manifest | None], Sequence[Path]], reporter: Reporter
) -> Archive:
    """Extract the archive *path* into *environment* and read what the checks ask.

    *places* gives the folders of this machine that no file may name.

    Raises:
        VerifyError: no such file, or no disk to extract it on.
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
