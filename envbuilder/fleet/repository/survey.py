"""The models of a repository: which of them this tool serves, and the recipe of each."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tritonclient.grpc import model_config_pb2

from envbuilder.config.models import Choice, Rules
from envbuilder.deployment.config import (
    CONFIG,
    ENVIRONMENT,
    PYTHON_BASED,
    RUNTIME_FILE,
    ModelConfig,
    read_config,
)
from envbuilder.deployment.model_directory import model_files
from envbuilder.deployment.runtime_files import is_runtime_file
from envbuilder.errors import DeployError, EnvbuilderError
from envbuilder.recipe.load import find_recipe
from envbuilder.recipe.model import Recipe
from envbuilder.util.files import file_sha256

OWN_RECIPE: Final = "recipe.yaml"
"""A model's own recipe, in its folder."""
_NO_MODEL: Final = ("lost+found",)


@dataclass(frozen=True, kw_only=True, slots=True)
class Model:
    """One folder of a repository."""

    name: str
    folder: Path
    choice: Choice
    config: ModelConfig | None = None
    recipe: Recipe | None = None
    left: str | None = None
    """Why it is left as it is."""
    error: EnvbuilderError | None = None
    """Why nothing can be done with it."""

    @property
    def environment(self) -> str:
        """What its config.pbtxt names: the last part of ``EXECUTION_ENV_PATH``, or a Python-based backend."""
        if self.config is None:
            return ""
        if self.config.environment is not None:
            return self.config.environment.rstrip("/").rpartition("/")[2]
        return f"backend {self.config.message.backend}" if self.config.message.runtime == PYTHON_BASED else ""


def survey(repository: Path, rules: Rules) -> list[Model]:
    """Return the models of *repository*, by name.

    Raises:
        DeployError: the folder cannot be read.
    """
    try:
        names = sorted(
            name for name in os.listdir(repository) if not name.startswith(".") and name not in _NO_MODEL
        )
    except OSError as error:
        raise DeployError(f"the repository {repository} cannot be read: {error.strerror}") from error
    recipes: dict[str, Recipe | EnvbuilderError] = {}
    folders = [repository / name for name in names if (repository / name).is_dir()]
    return [_model(folder, rules, recipes) for folder in folders]


def _model(folder: Path, rules: Rules, recipes: dict[str, Recipe | EnvbuilderError]) -> Model:
    choice = rules.of(folder.name)
    if not (folder / CONFIG).exists():
        return Model(name=folder.name, folder=folder, choice=choice, left=f"has no {CONFIG}")
    try:
        config = read_config(folder)
    except EnvbuilderError as error:
        return Model(name=folder.name, folder=folder, choice=choice, error=error)
    left = _not_ours(config.message)
    named = str(folder / OWN_RECIPE) if (folder / OWN_RECIPE).is_file() else choice.recipe
    if left is None and named is None:
        left = f"no recipe: its folder has no {OWN_RECIPE}, and no line of [models] in envbuilder.toml matches its name"
    if left is not None or named is None:
        return Model(name=folder.name, folder=folder, choice=choice, config=config, left=left)
    if named not in recipes:
        recipes[named] = _load(named, rules.root)
    found = recipes[named]
    if isinstance(found, EnvbuilderError):
        return Model(name=folder.name, folder=folder, choice=choice, config=config, error=found)
    return Model(name=folder.name, folder=folder, choice=choice, config=config, recipe=found)


def _not_ours(message: model_config_pb2.ModelConfig) -> str | None:
    """Say why a model is another backend's, if it is."""
    if message.WhichOneof("scheduling_choice") == "ensemble_scheduling" or message.platform == "ensemble":
        return "an ensemble: it has no environment of its own"
    if message.backend == "python" or message.runtime == PYTHON_BASED:
        return None
    if not message.backend and not message.platform and message.default_model_filename in ("", "model.py"):
        return None  # what it is for is told by its files, as `deploy` does
    return f"served by {message.backend or message.platform or message.default_model_filename}"


def _load(named: str, root: Path) -> Recipe | EnvbuilderError:
    path = named
    if not os.path.isabs(named) and (named.endswith((".yaml", ".yml")) or "/" in named):
        path = str(root / named)
    try:
        return find_recipe(path, root)
    except EnvbuilderError as error:
        return error


def model_digest(model: Model) -> str:
    """Return what tells a model from another: its files and configuration, without what a deployment adds.

    Raises:
        DeployError: a file cannot be read.
    """
    assert model.config is not None
    message = model_config_pb2.ModelConfig()
    message.CopyFrom(model.config.message)
    for key in ("name", "backend", "platform", "runtime"):
        message.ClearField(key)
    if message.default_model_filename in (RUNTIME_FILE, "model.py"):
        message.ClearField("default_model_filename")
    if ENVIRONMENT in message.parameters:
        del message.parameters[ENVIRONMENT]
    digest = hashlib.sha256(message.SerializeToString(deterministic=True))
    for path in sorted(_own_files(model.folder)):
        digest.update(f"{path}\0{file_sha256(model.folder / path)}\n".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def _own_files(folder: Path) -> Iterator[str]:
    for path in model_files(folder):
        name = path.split("/")[0]
        if (
            path != CONFIG
            and not is_runtime_file(path)
            and name != OWN_RECIPE
            and not name.startswith("pylock.")
        ):
            yield path
