"""Archives, and the environments that lie in the folders of a deployment."""

from __future__ import annotations

from pathlib import Path

from envbuilder.archive.manifest import (
    MANIFEST_PATH,
    Manifest,
    read_manifest,
)
from envbuilder.archive.names import ARCHIVE, read_archive
from envbuilder.deployment.config import MODEL_DIRECTORY, read_config
from envbuilder.errors import DeployError
from envbuilder.util.files import file_sha256

DEFAULT_ENVIRONMENT = "pb_exec_env_model.py.tar.gz"
"""What Triton core looks for in the folder of a python-based backend (``pb_exec_env_<runtime>.tar.gz``)."""


def read_environment(path: Path) -> tuple[Manifest, str]:
    """Return the manifest of an archive, or of the folder that one is unpacked into, and what tells it from others.

    Raises:
        DeployError: it is neither.
        IntegrityError: it is not what it was.
    """
    if not path.is_dir():
        return read_archive(path)
    inside = path / MANIFEST_PATH
    if not inside.is_file():
        raise DeployError(
            f"{path} holds no environment that `envbuilder build` made: it has no {MANIFEST_PATH}"
        )
    return read_manifest(inside), file_sha256(inside)


def environment_of(model: Path) -> Path:
    """Return the environment of the deployed model *model*: an archive, or a folder.

    Raises:
        DeployError: it is not where config.pbtxt says, as this machine sees it.
    """
    config = read_config(model)
    named = config.environment
    if named is None:
        backend = model.resolve().parent.parent / "backends" / str(config.message.backend)
        path = backend / DEFAULT_ENVIRONMENT
    elif named.startswith(f"{MODEL_DIRECTORY}/"):
        path = model / named[len(MODEL_DIRECTORY) + 1 :]
    else:
        path = Path(named)
    if not path.exists():
        raise DeployError(
            f"{config.path}: its environment is not at {path}",
            hint="`--environment PATH` says where this machine has it",
        )
    return path.resolve()


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
