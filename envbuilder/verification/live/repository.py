"""Deploy a user's model repository into a sandbox: each model with its own environment, or with the archive."""

from __future__ import annotations

import ast
import os
import re
import shutil
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from tritonclient.grpc import model_config_pb2

from envbuilder.deployment.config import (
    CONFIG,
    ENVIRONMENT,
    MODEL_DIRECTORY,
    ModelConfig,
    completes_itself,
    read_config,
)
from envbuilder.deployment.pbtxt import set_parameter
from envbuilder.errors import DeployError, VerifyError
from envbuilder.util.files import file_sha256
from envbuilder.util.text import listed
from envbuilder.verification.live.deployed import (
    DeployedModel,
    find_obstacle,
    find_other_name,
    latest_version,
    other_backend,
)
from envbuilder.verification.live.described import find_fault
from envbuilder.verification.live.launch import Sandbox

_MOST_SOURCE: Final = 2**20
"""How much of a Python file is searched for names of models, in bytes."""
_STRING: Final = re.compile(r"""["']([\w.-]+)["']""")

Prepare = Callable[[Path], DeployedModel]
"""Deploys a model directory with the archive; raises DeployError if that is not possible."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Wanted:
    """Which models to verify, and which others they may call."""

    models: tuple[Path, ...]
    """Model directories."""
    others: tuple[Path, ...] = ()


def wanted_models(repository: Path, names: Sequence[str]) -> Wanted:
    """Return the models *names* of *repository*, or all, and the rest as models that they may call.

    Raises:
        VerifyError: it is not a repository, or has no such model.
    """
    found = models_in(repository)
    if not found:
        raise VerifyError(
            f"{repository} contains no model",
            hint=f"a repository contains folders with a {CONFIG} and version folders",
        )
    for name in names:
        if name not in found:
            hint = f"it has {listed(sorted(found), 'and')}" if len(found) < 20 else None
            raise VerifyError(f"{repository} contains no model {name!r}", hint=hint)
    chosen = tuple(found[name] for name in names or found)
    return Wanted(models=chosen, others=tuple(path for path in found.values() if path not in chosen))


def with_those_it_names(model: Path) -> Wanted:
    """Return *model*, and those models beside it that it names, directly or through others.

    An ensemble names its steps; a model that calls others has their names as strings in its Python files or values
    of its parameters. A model that composes names at run time needs ``--repository``.
    """
    beside = models_in(model.absolute().parent)
    taken: dict[str, Path] = {}
    left = [model]
    while left:
        for name in names_in(left.pop()) & set(beside):
            path = beside[name]
            if name not in taken and path.resolve() != model.resolve():
                taken[name] = path
                left.append(path)
    return Wanted(models=(model,), others=tuple(taken.values()))


def models_in(folder: Path) -> dict[str, Path]:
    """Return the model directories in *folder* by name: those with a configuration, or a model that needs none."""
    try:
        entries = sorted(folder.iterdir())
    except OSError as error:
        raise VerifyError(f"{folder} cannot be read: {error.strerror}") from None
    return {
        path.name: path
        for path in entries
        if path.is_dir() and ((path / CONFIG).is_file() or completes_itself(path))
    }


def names_in(model: Path) -> set[str]:
    """Return strings of a model directory that may be names of models."""
    names: set[str] = set()
    try:
        config = read_config(model).message
    except DeployError:
        config = model_config_pb2.ModelConfig()
    names |= {step.model_name for step in config.ensemble_scheduling.step}
    names |= {value.string_value for value in config.parameters.values()}
    for path in sorted(model.rglob("*.py")):
        if path.is_file() and path.stat().st_size <= _MOST_SOURCE:
            names |= _texts(path.read_bytes())
    return names


def _texts(source: bytes) -> set[str]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the model's own Python warns, too
            nodes = list(ast.walk(ast.parse(source)))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return set(_STRING.findall(source.decode(errors="replace")))
    return {node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)}


@dataclass(frozen=True, kw_only=True, slots=True)
class Deployed:
    """Models in a sandbox."""

    models: list[DeployedModel]
    """Those to be verified, with all as neighbours."""
    others: list[DeployedModel]
    """Those that they may call, as far as these can run here."""
    refused: dict[str, DeployError]
    """By name, why models to be verified cannot be deployed."""


def deploy_models(
    wanted: Wanted, archive: Path, sandbox: Sandbox, prepare: Prepare, *, keep_environments: bool
) -> Deployed:
    """Deploy the *wanted* models into *sandbox*.

    With *keep_environments* a model that names its own environment keeps it.
    """
    made: dict[str, DeployedModel] = {}
    others: dict[str, DeployedModel] = {}
    known: dict[str, dict[str, Any]] = {}
    refused: dict[str, DeployError] = {}
    for path in (*wanted.models, *wanted.others):
        judged = path in wanted.models
        try:
            if keep_environments:
                _check_name(path)
            deployed, entry = _deploy(path, archive, sandbox, prepare, keep=keep_environments or not judged)
        except _NotDeployedError as error:
            known[path.name] = {"reason": error.reason}
            if judged:
                refused[path.name] = error.cause
            else:
                _copy(path, sandbox)
            continue
        obstacle = find_obstacle(deployed)
        if obstacle is not None:
            shutil.rmtree(deployed.folder)  # a server may wait for it forever
            known[deployed.name] = {"reason": f"which no server can load: {obstacle[0]}"}
            if judged:
                refused[deployed.name] = DeployError(obstacle[0], hint=obstacle[1])
            continue
        if judged:
            made[deployed.name] = deployed
        elif deployed.apart is None:
            others[deployed.name] = deployed
        known[deployed.name] = entry
    _mark_decoupled(made, known)
    models = [replace(deployed, neighbours=known) for deployed in made.values()]
    return Deployed(models=models, others=list(others.values()), refused=refused)


def knowing_each_other(
    models: Sequence[DeployedModel], others: Sequence[DeployedModel]
) -> list[DeployedModel]:
    """Return *models* with updated descriptions of each other and of the *others*.

    Their configurations were completed. Each model stands before its own older versions.
    """
    jobs: dict[str, dict[str, Any]] = {}
    for one in (*models, *others):
        if one.apart is not None:
            continue
        unsure = {"reason": "whose configuration only a server can complete"} if is_unsure(one) else {}
        entry = {**one.job(), **unsure}
        if one.older:
            jobs[one.name].setdefault("versions", {})[one.version] = entry
        else:
            jobs[one.name] = entry
    known = {**{name: entry for one in models for name, entry in one.neighbours.items()}, **jobs}
    _mark_decoupled({one.name: one for one in models if not one.older}, known)
    return [replace(one, neighbours=known) for one in models]


def is_unsure(deployed: DeployedModel) -> bool:
    """Return whether what a model takes is not known, because its configuration could not be completed here."""
    config = deployed.config
    if not deployed.own or config.HasField("ensemble_scheduling"):
        return False
    return not config.input or find_fault(config, deployed.folder) is not None


def _mark_decoupled(made: Mapping[str, DeployedModel], known: Mapping[str, Mapping[str, Any]]) -> None:
    """Mark ensembles with a decoupled step as decoupled, as Triton does (``ensemble_utils.cc``), nested ones too.

    Args:
        made: the models whose configurations may change.
        known: all models by name; the entries of those change, too.
    """
    configs = {name: entry["config"] for name, entry in known.items() if "config" in entry}

    def is_decoupled(name: str, above: frozenset[str] = frozenset()) -> bool:
        config = configs.get(name, {})
        steps = [step["model_name"] for step in (config.get("ensemble_scheduling") or {}).get("step", ())]
        policy = config.get("model_transaction_policy") or {}
        inside = (is_decoupled(step, above | {name}) for step in steps if step not in above)
        return bool(policy.get("decoupled")) or any(inside)

    for name, config in configs.items():
        if is_decoupled(name):
            config["model_transaction_policy"] = {"decoupled": True}
            if name in made:
                made[name].config.model_transaction_policy.decoupled = True


class _NotDeployedError(Exception):
    """A model cannot be deployed; *reason* is shown to models that call it."""

    def __init__(self, cause: DeployError, reason: str) -> None:
        super().__init__(cause.message)
        self.cause, self.reason = cause, reason


def _check_name(path: Path) -> None:
    """Refuse a model whose name differs from its folder's, if that folder is served as it is."""
    try:
        misnamed = find_other_name(read_config(path).message, path)
    except DeployError:
        return  # deploying it reports that
    if misnamed is not None:
        cause = DeployError(misnamed[0], hint=misnamed[1])
        raise _NotDeployedError(cause, f"which no server can load: {misnamed[0]}")


def _deploy(
    path: Path, archive: Path, sandbox: Sandbox, prepare: Prepare, *, keep: bool
) -> tuple[DeployedModel, dict[str, Any]]:
    """Deploy one model; return it, and its description for others."""
    try:
        config = read_config(path)
    except DeployError as error:
        raise _NotDeployedError(error, f"whose {CONFIG} cannot be read") from error
    message = config.message
    environment = _own_environment(config, path, archive) if keep else None
    ensemble = message.HasField("ensemble_scheduling")
    foreign = other_backend(message)
    if environment is None and not ensemble and not (foreign and (keep or foreign != "pytorch")):
        try:
            deployed = prepare(path)
        except DeployError as error:
            raise _NotDeployedError(error, "which cannot be deployed with the archive") from error
        return deployed, deployed.job()
    deployed = _as_it_is(path, message, sandbox, environment)
    if ensemble:
        return deployed, deployed.job()
    what = f"runs in its own environment, {environment}" if environment else f"is for the backend {foreign!r}"
    return replace(deployed, apart=what), {"reason": f"which {what}", "config": deployed.job()["config"]}


def _as_it_is(
    path: Path, message: model_config_pb2.ModelConfig, sandbox: Sandbox, environment: Path | None
) -> DeployedModel:
    folder = _copy(path, sandbox)
    if environment is not None:
        text = (folder / CONFIG).read_text()
        (folder / CONFIG).write_text(set_parameter(text, ENVIRONMENT, str(environment)))
    message.name = path.name
    return DeployedModel(
        sandbox=sandbox,
        deployment=None,
        folder=folder,
        config=message,
        version=latest_version(folder, message),
    )


def _copy(path: Path, sandbox: Sandbox) -> Path:
    folder = sandbox.root / "models" / path.name
    try:
        shutil.copytree(path, folder, symlinks=False, ignore_dangling_symlinks=True)
    except (OSError, shutil.Error) as error:
        raise DeployError(f"{path} cannot be copied: {error}") from None
    return folder


def _own_environment(config: ModelConfig, model: Path, archive: Path) -> Path | None:
    """Return the environment that a model names, unless it is the archive, or missing."""
    said = config.environment
    if not said:
        return None
    if said.startswith(MODEL_DIRECTORY):
        said = str(model.absolute()) + said[len(MODEL_DIRECTORY) :]
    path = Path(os.path.abspath(said))
    if not path.exists() or path.resolve() == archive.resolve():
        return None
    if path.is_file() and path.stat().st_size == archive.stat().st_size and _same(path, archive):
        return None
    return path


def _same(*paths: Path) -> bool:
    return len({file_sha256(path) for path in paths}) == 1
