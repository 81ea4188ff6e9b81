"""Environments as archives, and as deployed: packed or unpacked in a repository's folders."""

from __future__ import annotations

import os
from pathlib import Path

from envbuilder.archive.manifest import (
    MANIFEST_PATH,
    Manifest,
    read_manifest,
)
from envbuilder.archive.names import ARCHIVE, read_archive
from envbuilder.deployment.config import MODEL_DIRECTORY, ModelConfig, read_config
from envbuilder.errors import DeployError
from envbuilder.foreign.deployable import describe_foreign
from envbuilder.foreign.measured import measure
from envbuilder.foreign.survey import is_environment, is_foreign, survey
from envbuilder.util.documents import is_inside
from envbuilder.util.files import file_sha256
from envbuilder.util.printable import shown

DEFAULT_ENVIRONMENT = "pb_exec_env_model.py.tar.gz"
"""What Triton core looks for in the folder of a python-based backend (``pb_exec_env_<runtime>.tar.gz``)."""


def read_environment(path: Path) -> tuple[Manifest, str]:
    """Return the manifest and the identity of an archive or of an unpacked environment.

    Raises:
        DeployError: it is not an environment.
        IntegrityError: it does not match its manifest.
    """
    if not path.is_dir():
        return read_archive(path, describe=describe_foreign)
    inside = path / MANIFEST_PATH
    if not inside.is_file():
        found = survey(path) if is_environment(path) else None
        if found is not None and is_foreign(found.members):
            return measure(found, where=str(path)), found.sha256
        raise DeployError(
            f"{path} is not an environment made by `envbuilder build`: it has no {MANIFEST_PATH}"
        )
    return read_manifest(inside), file_sha256(inside)


def environment_of(model: Path) -> Path:
    """Return the environment of the deployed model *model*: an archive, or a folder.

    Raises:
        DeployError: it is not where config.pbtxt says, as this machine sees it.
    """
    config = read_config(model)
    path = _named(config, model)
    if not os.path.exists(path):
        raise DeployError(
            f"{config.path}: its environment is not at {path}",
            hint="pass its path on this machine with `--environment PATH`",
        )
    return Path(os.path.realpath(path))


def _named(config: ModelConfig, model: Path) -> Path:
    named, backend = config.environment, str(config.message.backend)
    if named is None:
        if not is_inside(backend) or "/" in backend:
            raise DeployError(f"{config.path} sets no environment, and its backend is {shown(backend)}")
        folder = Path(os.path.realpath(model)).parent.parent
        return folder / "backends" / backend / DEFAULT_ENVIRONMENT
    rest = named.removeprefix(f"{MODEL_DIRECTORY}/")
    # A server refuses a path outside the model's folder; so it is refused here, too.
    if "\0" in named or (rest != named and not is_inside(rest.rstrip("/"))):
        raise DeployError(f"{config.path}: {shown(named)} is not a path where a server finds an environment")
    return model / rest if rest != named else Path(named)


def is_environment_name(name: str) -> bool:
    """Whether *name* is one that ``envbuilder build`` gives an archive."""
    named = ARCHIVE.fullmatch(name)
    return named is not None and named["suffix"] != "" and "/" not in name


def find_environments(folder: Path) -> list[Path]:
    """List the archives in *folder*, and the folders into which one is unpacked."""
    if not folder.is_dir():
        return []
    found = []
    for path in sorted(folder.iterdir()):
        name = ARCHIVE.fullmatch(path.name)
        if name is None or path.is_symlink():
            continue
        if path.is_file() if name["suffix"] else (path / "bin" / "activate").is_file():
            found.append(path)
    return found
