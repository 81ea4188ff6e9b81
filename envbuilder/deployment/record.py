"""The record beside an environment that a deployment placed, which allows a later deployment to delete it.

``environments/cpu-<digest>.tar.gz.deployed.json`` says what the environment is, and which model repositories use it. It
holds no date and no address of this machine beyond those repositories: the same deployment writes the same bytes. An
environment without such a record was not put there by a deployment.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from envbuilder.archive.names import ARCHIVE
from envbuilder.errors import DeployError
from envbuilder.util.documents import LINE, Cap, DocumentError, Grammar, parse_json
from envbuilder.util.files import read_regular

SUFFIX: Final = ".deployed.json"
FORMAT: Final = 1
CAP: Final = Cap(size=2**20, containers=8, depth=4)
"""Largest record that is read, in bytes: ten times one with a thousand long paths."""
_REPOSITORY: Final = Grammar(pattern=re.compile(r"/.*"), expected="an absolute path")


@dataclass(frozen=True, kw_only=True, slots=True)
class Record:
    """An environment that a deployment placed."""

    environment: str
    """The name of the archive, or of the folder into which it is unpacked."""
    sha256: str
    """SHA-256 of the archive."""
    recipe: str
    release: str
    repositories: tuple[str, ...] = ()
    """Canonical paths of the model repositories that use it, sorted. None where it lies inside a model's folder:
    that folder may be moved, together with the model that uses it."""

    def text(self) -> bytes:
        """Return the JSON."""
        data = {
            "format": FORMAT,
            "placed-by": "envbuilder deploy",
            "environment": self.environment,
            "sha256": self.sha256,
            "recipe": self.recipe,
            "release": self.release,
            "repositories": list(self.repositories),
        }
        return f"{json.dumps(data, indent=1)}\n".encode()

    def used_by(self, repositories: Iterable[str]) -> Record:
        """Return the record with *repositories* added to its users."""
        return replace(self, repositories=tuple(sorted({*self.repositories, *repositories})))

    def without(self, repository: str) -> Record:
        """Return the record with *repository* removed from its users."""
        return replace(self, repositories=tuple(other for other in self.repositories if other != repository))


def record_beside(environment: Path) -> Path:
    """Return the path of the record of *environment*, an archive or a folder."""
    return environment.with_name(environment.name + SUFFIX)


def read_record(environment: Path) -> Record | None:
    """Return the record beside *environment*; None: no deployment is known to have placed it.

    Anything but a record of this environment is ignored: then nothing is deleted.
    """
    path = record_beside(environment)
    try:
        return (
            None
            if path.is_symlink()
            else parse_record(read_regular(path, most=CAP.size + 1), environment.name)
        )
    except OSError:
        return None


def parse_record(data: bytes, environment: str) -> Record | None:
    """Parse *data* as the record of the environment called *environment*; None if it is not."""
    try:
        found = parse_json(data, where=environment, cap=CAP)
        found.only("format", "placed-by", "environment", "sha256", "recipe", "release", "repositories")
        found.integer("format", FORMAT, FORMAT)
        record = Record(
            environment=found.text("environment"),
            sha256=found.digest("sha256"),
            recipe=found.text("recipe", LINE),
            release=found.text("release", LINE),
            repositories=tuple(sorted(set(found.texts("repositories", _REPOSITORY)))),
        )
    except DocumentError:
        return None
    named = ARCHIVE.fullmatch(environment)
    if named is None or record.environment != environment or not record.sha256.startswith(named["digest"]):
        return None
    return record


def placed_environments(folder: Path) -> dict[Path, Record]:
    """Return the environments in *folder* that deployments placed, with their records, by name.

    Raises:
        DeployError: the folder cannot be read.
    """
    try:
        names = sorted(os.listdir(folder))
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as error:
        raise DeployError(f"{folder} cannot be read: {error.strerror}") from error
    found = {}
    for name in names:
        environment = folder / name.removesuffix(SUFFIX)
        if name.endswith(SUFFIX) and _is_environment(environment):
            record = read_record(environment)
            if record is not None:
                found[environment] = record
    return found


def remove_orphans(folder: Path) -> None:
    """Remove records in *folder* whose environment is missing: a killed deployment leaves them."""
    for path in folder.glob(f"*{SUFFIX}"):
        environment = path.with_name(path.name.removesuffix(SUFFIX))
        if not os.path.lexists(environment) and read_record(environment) is not None:
            path.unlink(missing_ok=True)


def _is_environment(path: Path) -> bool:
    return not path.is_symlink() and (path.is_file() or path.is_dir())
