"""A user's model directory: its name, and which of its files are deployed."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Collection, Iterator
from pathlib import Path

from envbuilder.deployment import lint
from envbuilder.deployment.compiled import COMPILED
from envbuilder.deployment.config import ModelConfig, migrated_from, read_config
from envbuilder.deployment.mark import MARK
from envbuilder.deployment.record import placed_environments, record_beside
from envbuilder.deployment.versions import loaded_versions
from envbuilder.errors import DeployError

_PYCACHE = "__pycache__"
_SKIPPED = (_PYCACHE, ".git", ".ipynb_checkpoints")


def read_model(model: Path, repository: Path, name: str | None) -> tuple[ModelConfig, str]:
    """Return the configuration of a model directory, and the model's name in the repository."""
    if not model.is_dir():
        raise DeployError(
            f"model directory {model} does not exist" if not model.exists() else f"{model} is not a directory"
        )
    config = read_config(model)
    migrated_from(config)
    own = config.message.name or real(model).name
    lint.check_name(own, str(config.path if config.message.name else model))
    if name is not None:
        lint.check_name(name, "name")
    if real(repository).is_relative_to(real(model)):
        raise DeployError(f"repository {repository} lies inside the model directory {model}")
    return config, name or own


def model_folder(model: Path, repository: Path, name: str | None = None) -> Path:
    """Return where :func:`deploy` puts the model directory *model*.

    Raises:
        DeployError: it has no config.pbtxt, or its name is not valid for a folder.
    """
    return absolute(repository) / read_model(absolute(model), absolute(repository), name)[1]


def model_files(model: Path) -> Iterator[str]:
    """List a model directory's files, without compiled code and environments that deployments put there.

    Links are followed: a repository must be self-contained.

    Raises:
        DeployError: something in it cannot be copied.
    """
    placed = placed_environments(model)
    left = {MARK} | {name for path in placed for name in (path.name, record_beside(path).name)}
    stack = [(model, {real(model)})]
    while stack:
        folder, above = stack.pop()
        try:
            found = sorted(folder.iterdir())
        except OSError as error:
            raise DeployError(f"{folder} cannot be read: {error.strerror}") from error
        for path in found:
            if path.name in _SKIPPED or COMPILED.fullmatch(path.name):
                continue
            if folder == model and path.name in left:
                continue
            if path.is_dir():
                if real(path) in above:
                    raise DeployError(f"{path} is a symlink to a folder that contains it")
                stack.append((path, above | {real(path)}))
            elif path.is_file():
                yield path.relative_to(model).as_posix()
            else:
                what = "is a dangling symlink" if path.is_symlink() else "is neither a file nor a folder"
                raise DeployError(f"{path} {what}")


def skipped_files(model: Path, left: Collection[str]) -> Iterator[str]:
    """List what :func:`model_files` leaves out: compiled code, and foreign folders as a whole.

    Neither *left* nor environments that deployments put there are searched.

    Raises:
        DeployError: a folder cannot be read.
    """
    left = {*left, *(path.name for path in placed_environments(model))}
    folders = [model]
    while folders:
        folder = folders.pop()
        try:
            found = sorted(folder.iterdir())
        except OSError as error:
            raise DeployError(f"{folder} cannot be read: {error.strerror}") from error
        for path in found:
            relative = path.relative_to(model).as_posix()
            if path.name == _PYCACHE or relative in left:
                continue  # Python creates these again
            if path.name in _SKIPPED or COMPILED.fullmatch(path.name):
                yield relative
            elif path.is_dir() and not path.is_symlink():
                folders.append(path)


def brings_runtime(model: Path, config: ModelConfig) -> bool:
    """Whether the model needs no runtime."""
    plain = {
        lint.is_plain_python_model(version, config) for version in loaded_versions(model, config.message)
    }
    if len(plain) > 1:
        raise DeployError(
            f"{model}: some versions have their own TritonPythonModel and some do not",
            hint="default_model_filename applies to all versions: deploy them as two models, or let version_policy "
            "serve only one kind",
        )
    return plain == {True}


def absolute(path: Path) -> Path:
    """Return *path* below the root, as it is named."""
    return Path(os.path.abspath(path))


def real(path: Path) -> Path:
    """Return *path* with its links followed."""
    return Path(os.path.realpath(path))


@contextlib.contextmanager
def os_errors_as_deploy_errors(where: Path) -> Iterator[None]:
    """Turn system errors into DeployError; *where* is named if the system names no file.

    Raises:
        DeployError: the system refused.
    """
    try:
        yield
    except OSError as error:
        raise DeployError(f"{error.filename or where}: {error.strerror or error}") from error
