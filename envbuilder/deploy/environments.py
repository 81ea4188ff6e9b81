"""Archives, and the environments that lie in the folders of a deployment."""

from __future__ import annotations

import re
import tarfile
import zlib
from pathlib import Path

from envbuilder.deploy.config import CONFIG, MODEL_DIRECTORY, read_config
from envbuilder.errors import DeployError, IntegrityError
from envbuilder.files import file_sha256
from envbuilder.manifest import MANIFEST_PATH, Manifest, manifest_beside, parse_manifest, read_manifest

ARCHIVE = re.compile(r"(?P<stem>.+)-(?P<digest>[0-9a-f]{12})(?P<suffix>\.tar\.gz|\.tar|)")
"""What an archive is called, and (without a suffix) the folder that one is unpacked into."""


DEFAULT_ENVIRONMENT = "pb_exec_env_model.py.tar.gz"
"""What Triton core looks for in the folder of a python-based backend (``pb_exec_env_<runtime>.tar.gz``)."""


def read_archive(archive: Path) -> tuple[Manifest, str]:
    """Return the manifest of *archive* and its sha256, which its name must tell.

    Raises:
        DeployError: there is no such archive, or it is none.
        IntegrityError: its name or its content is not what it was.
    """
    if not archive.is_file():
        raise DeployError(
            f"archive {archive} does not exist" if not archive.exists() else f"{archive} is no file"
        )
    with archive.open("rb") as file:
        head = file.read(512)
    if head[:2] != b"\x1f\x8b" and head[257:262] != b"ustar":
        raise DeployError(
            f"{archive} is neither a tar archive nor one compressed by gzip: Triton extracts no other",
            hint="archives are made by `envbuilder build`",
        )
    digest = file_sha256(archive)
    named = ARCHIVE.fullmatch(archive.name)
    if named is not None and named["digest"] != digest[:12]:
        raise IntegrityError(
            f"{archive}: its sha256 begins with {digest[:12]}, its name says {named['digest']}",
            hint="build it again, or copy it again from where it was built",
        )
    return _find_manifest(archive), digest


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


def _find_manifest(archive: Path) -> Manifest:
    """Read the manifest beside *archive*, or else the one inside."""
    beside = manifest_beside(archive)
    if beside.is_file():
        return read_manifest(beside)
    try:
        with tarfile.open(archive, "r:*") as tar:
            member = next((member for member in tar if member.name == MANIFEST_PATH), None)
            file = tar.extractfile(member) if member is not None else None
            if file is not None:
                return parse_manifest(file.read(), where=f"{archive}: {MANIFEST_PATH}")
    except (tarfile.TarError, EOFError, OSError, zlib.error) as error:
        raise IntegrityError(f"{archive} cannot be read: {error}") from error
    raise DeployError(
        f"{archive} has no manifest: neither {beside.name} beside it nor {MANIFEST_PATH} inside",
        hint="archives are made by `envbuilder build`",
    )


def is_plain_tar(archive: Path) -> bool:
    """Whether *archive* is a tar without compression."""
    with archive.open("rb") as file:
        return file.read(2) != b"\x1f\x8b"


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


def named_environments(repository: Path) -> set[str]:
    """Names of the environments that the models of a repository name."""
    named = set()
    for path in sorted(repository.glob(f"*/{CONFIG}")):
        try:
            environment = read_config(path.parent).environment
        except DeployError:
            continue  # somebody else's model: not this deployment's business
        if environment:
            named.add(environment.rstrip("/").rsplit("/", 1)[-1])
    return named
