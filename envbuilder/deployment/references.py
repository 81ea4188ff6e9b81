"""Find which environments the models of a repository reference."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from envbuilder.deployment.config import CONFIG, MODEL_DIRECTORY, ModelConfig, read_config_file
from envbuilder.errors import DeployError

CHOSEN: Final = "configs"
"""The folder of a model in which ``tritonserver --model-config-name`` looks for alternatives to config.pbtxt."""
_ROOTS_OWN: Final = "lost+found"
"""A file system's folder, where a repository is a volume: only root may read it, and it contains no model."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Reference:
    """What one configuration of a repository references."""

    config: Path
    environment: str | None
    """``EXECUTION_ENV_PATH``."""
    text: str

    @property
    def is_relative(self) -> bool:
        """Whether its environment is in the model's folder."""
        return (self.environment or "").startswith(f"{MODEL_DIRECTORY}/")

    def mentions(self, name: str) -> bool:
        """Whether *name*, which contains an environment's digest, occurs anywhere in it."""
        return name in self.text or name in (self.environment or "").split("/")

    def names(self, environment: Path, *, shared: bool) -> bool:
        """Whether it names *environment*, which lies in a folder for many models (*shared*) or in one model's.

        A container may see a folder for many models under another path, and what is unpacked there has the files of
        what lies in models' folders: so the name alone counts as a reference.
        """
        if (shared or not self.is_relative) and self.mentions(environment.name):
            return True
        if self.environment is None:
            return False
        real, named = os.path.realpath(environment), os.path.realpath(self._path(self.environment))
        return named == real or named.startswith(f"{real}/")

    def _path(self, environment: str) -> str:
        path = environment.replace("\0", "")
        if path.startswith(MODEL_DIRECTORY):
            model = self.config.parent.parent if self.config.parent.name == CHOSEN else self.config.parent
            path = f"{model}{path[len(MODEL_DIRECTORY) :]}"
        return path


def read_references(repository: Path) -> dict[Path, list[Reference]]:
    """Return the references of each model's folder of *repository*, from each of its configurations.

    Raises:
        DeployError: one cannot be read.
    """
    return {model: list(_references(model)) for model in _model_folders(repository)}


def _model_folders(repository: Path) -> list[Path]:
    try:
        with os.scandir(repository) as entries:
            return sorted(
                repository / entry.name for entry in entries if entry.is_dir() and entry.name != _ROOTS_OWN
            )
    except OSError as error:
        raise DeployError(f"the repository {repository} cannot be read: {error.strerror}") from error


def without_configuration(repository: Path, *, but: Path) -> Path | None:
    """Return a model's folder of *repository* that is a dangling link, or has no configuration.

    The folder *but* is skipped.

    It may be a volume that is not mounted at the moment, and its model may name any environment.

    Raises:
        DeployError: a folder cannot be read.
    """
    try:
        with os.scandir(repository) as entries:
            links = [entry.name for entry in entries if entry.is_symlink() and not os.path.exists(entry.path)]
    except OSError as error:
        raise DeployError(f"the repository {repository} cannot be read: {error.strerror}") from error
    folders = [*_model_folders(repository), *(repository / name for name in links)]
    return next(
        (
            folder
            for folder in sorted(folders)
            if folder != but
            and not folder.name.startswith(".")
            and not (folder.is_dir() and any(_references(folder)))
        ),
        None,
    )


def _references(model: Path) -> Iterator[Reference]:
    try:
        has_config = CONFIG in os.listdir(model)
    except OSError as error:
        raise DeployError(f"{model} cannot be read: {error.strerror}") from error
    if has_config:
        yield reference(read_config_file(model / CONFIG))
    yield from chosen_references(model)


def chosen_references(model: Path) -> Iterator[Reference]:
    """Yield the references of the configurations that a server may use instead of config.pbtxt.

    Raises:
        DeployError: one cannot be read.
    """
    chosen = model / CHOSEN
    try:
        paths = sorted(chosen / name for name in os.listdir(chosen) if name.endswith(".pbtxt"))
    except (FileNotFoundError, NotADirectoryError):
        return
    except OSError as error:
        raise DeployError(f"{chosen} cannot be read: {error.strerror}") from error
    for path in paths:
        yield reference(read_config_file(path))


def reference(config: ModelConfig) -> Reference:
    """Return the references of *config*."""
    return Reference(config=config.path, environment=config.environment, text=config.text)
