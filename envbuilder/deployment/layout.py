"""From a model directory and an archive to a model repository."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from envbuilder.archive.manifest import Manifest
from envbuilder.archive.names import is_plain_tar, read_archive
from envbuilder.catalog.triton import PYTRITON
from envbuilder.deployment import lint
from envbuilder.deployment.compiled import COMPILED, Compiled
from envbuilder.deployment.config import (
    CONFIG,
    MODEL_DIRECTORY,
    PYTHON_BASED,
    RUNTIME_FILE,
    ModelConfig,
    Serving,
    brought_over,
    edit_config,
    read_config,
)
from envbuilder.deployment.environments import DEFAULT_ENVIRONMENT, find_environments, named_environments
from envbuilder.deployment.options import DeployOptions
from envbuilder.deployment.runtime_files import is_runtime_file, runtime_files
from envbuilder.deployment.tree import (
    Copy,
    Entry,
    Environment,
    Keep,
    Link,
    Text,
    Tree,
    is_in_place,
    locked,
    paths,
    put,
    remove,
    replace_folder,
)
from envbuilder.errors import DeployError
from envbuilder.progress import SILENT, Reporter

Layout = Literal["model", "shared", "backend"]
FIRST_WITH_BACKENDS = "24.01"
"""The first release whose core knows ``runtime`` and a backend's default environment."""
_SKIPPED = ("__pycache__", ".git", ".ipynb_checkpoints")


@dataclass(frozen=True, kw_only=True, slots=True)
class Deployment:
    """A model in a repository, with its environment."""

    model: str
    """The model's name: what a client asks for."""
    folder: Path
    layout: Layout
    environment: Path
    """The archive, or the folder where it is unpacked, on this machine."""
    environment_path: str | None
    """``EXECUTION_ENV_PATH`` as the server reads it; None: the backend's default."""
    release: str
    """The Triton release that the environment is for."""
    backend_folder: Path | None
    changed: bool
    """False: everything was there already, and nothing was touched."""
    removed: tuple[str, ...]
    """What the model's folder held and the model directory does not, relative to the folder."""
    old_archives: tuple[Path, ...]
    """Environments beside this one that no model of the repository names any more."""
    findings: tuple[lint.Finding, ...]
    """What a server will accept, and its owner should know."""
    compiled: tuple[Compiled, ...] = ()
    """What came of compiling it ahead of time, where that was asked for."""

    def lines(self) -> list[str]:
        """Say it to a person."""
        where = (
            self.environment_path
            or f"{self.environment}, the default of backend {self.environment.parent.name!r}"
        )
        lines = [
            f"{self.model}: {self.folder}" + ("" if self.changed else " (nothing to change)"),
            f"environment: {where}",
            *(compiled.line() for compiled in self.compiled),
            *(f"removed: {path}" for path in self.removed),
            *(f"not named by any model any more: {path} (--prune deletes it)" for path in self.old_archives),
        ]
        for finding in self.findings:
            lines.append(f"{finding.level}: {finding.message}")
            lines += [f"  hint: {finding.hint}"] if finding.hint else []
        return lines


@dataclass(frozen=True, kw_only=True, slots=True)
class _Job:
    """One deployment, decided and not yet done."""

    name: str
    model: Path
    target: Path
    """The model's folder in the repository."""
    config: ModelConfig
    manifest: Manifest
    environment: Environment
    environment_name: str
    plain: bool
    """The model brings a ``TritonPythonModel`` of its own."""
    prune: bool
    compiled: tuple[Compiled, ...]


def deploy(
    archive: Path,
    model: Path,
    repository: Path,
    options: DeployOptions = DeployOptions(),
    *,
    compiled: Sequence[Compiled] = (),
    reporter: Reporter = SILENT,
) -> Deployment:
    """Put the model directory *model*, the environment *archive* and the runtime into *repository*.

    Args:
        archive: as ``envbuilder build`` wrote it.
        model: a directory with config.pbtxt and version folders; it may already lie in the repository.
        repository: what the server is given as ``--model-repository``.
        options: where the environment goes, and what is called how.
        compiled: what was compiled of the model ahead of time, see :func:`envbuilder.aot.precompile.precompile`.

    Raises:
        DeployError: the model directory, the names or the folders cannot be used. The repository is as it was.
        IntegrityError: the archive is not what its name says.
    """
    repository = _absolute(repository)
    job = _prepare(archive, model, repository, options)
    job = replace(job, compiled=tuple(compiled))
    layout = options.layout
    with ExitStack() as stack:
        if layout == "model":
            pool = _absolute(options.pool or repository.parent / "environments") if options.unpacked else None
            if pool is not None:
                _check_outside(pool, repository, "the folder of shared files")
                stack.callback(_remove_empty, pool)
                _lock(stack, pool, reporter)
            _lock(stack, repository, reporter)
            return _deploy_model(job, pool, reporter)
        if layout == "shared":
            folder = _absolute(options.shared or repository.parent / "envs")
            _check_outside(folder, repository, "the shared folder")
            _lock(stack, repository, reporter)
            _lock(stack, folder, reporter)
            return _deploy_shared(job, folder, options.shared_as or folder.as_posix(), reporter)
        called = options.backend or f"torch-{job.manifest.recipe}"
        lint.check_backend_name(called)
        folder = _absolute(options.backends or repository.parent / "backends")
        _check_outside(folder, repository, "the folder of backends")
        _lock(stack, repository, reporter)
        _lock(stack, folder, reporter)
        return _deploy_backend(job, folder / called, reporter)


def _prepare(archive: Path, model: Path, repository: Path, options: DeployOptions) -> _Job:
    """Read and check everything, and write nothing."""
    name, unpacked = options.name, options.unpacked
    model = _absolute(model)
    if not model.is_dir():
        raise DeployError(
            f"model directory {model} does not exist" if not model.exists() else f"{model} is no directory"
        )
    config = read_config(model)
    brought_over(config)
    own = config.message.name or model.resolve().name
    lint.check_name(own, str(config.path if config.message.name else model))
    if name is not None:
        lint.check_name(name, "name")
    target = repository / (name or own)
    if repository.resolve().is_relative_to(model.resolve()):
        raise DeployError(f"repository {repository} lies inside the model directory {model}")
    manifest, digest = read_archive(archive)
    suffix = "" if unpacked else ".tar" if is_plain_tar(archive) else ".tar.gz"
    return _Job(
        name=name or own,
        model=model,
        target=target,
        config=config,
        manifest=manifest,
        environment=Environment(archive=archive, unpacked=unpacked),
        environment_name=f"{manifest.recipe}-{digest[:12]}{suffix}",
        plain=_is_plain(model, config),
        prune=options.prune,
        compiled=(),
    )


def model_folder(model: Path, repository: Path, name: str | None = None) -> Path:
    """Return where :func:`deploy` puts the model directory *model*.

    Raises:
        DeployError: it has no config.pbtxt.
    """
    return _absolute(repository) / (
        name or read_config(model).message.name or _absolute(model).resolve().name
    )


# -- layouts -----------------------------------------------------------------------------------------------------


def _deploy_model(job: _Job, pool: Path | None, reporter: Reporter) -> Deployment:
    name = job.environment_name
    if job.environment.unpacked and not name[0].isalpha():
        name = f"env-{name}"  # a folder whose name starts with a digit is read as a version
    path = f"{MODEL_DIRECTORY}/{name}"
    plan = _plan(job, _python_serving(job, path), reporter)
    plan[name] = job.environment
    if pool is not None:
        if not (job.target / name).is_dir():
            put(pool / job.environment_name, job.environment, reporter)
        plan[name] = Tree(path=pool / job.environment_name)
    done = _place_model(job, "model", plan, environment=job.target / name, path=path, reporter=reporter)
    if pool is None:
        return done
    old = _unused(pool, job.target.parent)
    if job.prune:
        for unused in old:
            remove(unused)
    return replace(
        done,
        findings=(*done.findings, lint.POLLED_ENVIRONMENT),
        old_archives=(*done.old_archives, *(() if job.prune else old)),
    )


def _unused(pool: Path, repository: Path) -> list[Path]:
    """List environments of *pool* whose files no model of *repository*, and none that shares inodes, has."""
    named = {name.removeprefix("env-") for name in named_environments(repository)}
    unused = []
    for path in find_environments(pool):
        linked = (path / "bin" / "activate").stat().st_nlink > 1
        if path.name not in named and not linked:
            unused.append(path)
    return unused


def add_compiled(model: Path, compiled: Sequence[Compiled], reporter: Reporter = SILENT) -> bool:
    """Put what was compiled ahead of time into the folder *model* of a repository, at once, and nothing else.

    Returns: whether that changed anything.

    Raises:
        DeployError: it cannot be written.
    """
    model = _absolute(model)
    plan: dict[str, Entry] = {path.name: Keep() for path in find_environments(model)}
    plan |= {path: Copy(path=model / path) for path in model_files(model)}
    for one in compiled:
        if one.file is not None:
            plan[f"{one.version}/{one.file.name}"] = Copy(path=one.file)
    with locked(model.parent, reporter):
        if is_in_place(model, plan):
            return False
        replace_folder(model, plan, reporter)
    return True


def _deploy_shared(job: _Job, folder: Path, seen_as: str, reporter: Reporter) -> Deployment:
    path = f"{seen_as.rstrip('/')}/{job.environment_name}"
    lint.check_environment_path(path)
    plan = _plan(job, _python_serving(job, path), reporter)
    environment = folder / job.environment_name
    added = put(environment, job.environment, reporter)
    done = _place_model(job, "shared", plan, environment=environment, path=path, reporter=reporter)
    old = [
        path for path in find_environments(folder) if path.name not in named_environments(job.target.parent)
    ]
    if job.prune:
        for unused in old:
            remove(unused)
    return replace(
        done, changed=done.changed or added, old_archives=(*done.old_archives, *(() if job.prune else old))
    )


def _deploy_backend(job: _Job, folder: Path, reporter: Reporter) -> Deployment:
    if job.plain:
        raise DeployError(
            f"{job.model} brings a TritonPythonModel of its own, and a backend has one for all its models",
            hint="deploy it with the layout model or shared",
        )
    release = "24.10" if job.manifest.release == PYTRITON else job.manifest.release
    if release < FIRST_WITH_BACKENDS:
        raise DeployError(
            f"Triton {release} knows no default environment of a python-based backend: "
            f"{FIRST_WITH_BACKENDS} is the first",
            hint="deploy with the layout model or shared",
        )
    serving = Serving(
        name=_new_name(job),
        backend=folder.name,
        runtime=PYTHON_BASED,
        model_file="model.py",
        environment=None,
    )
    plan = _plan(job, serving, reporter)
    contents: dict[str, Entry] = {
        **_runtime(PYTHON_BASED),
        job.environment_name: job.environment,
        # The server knows an extracted environment by its canonical path: with another archive behind this link it
        # extracts that one beside, and leaves alone the one in which models are running.
        DEFAULT_ENVIRONMENT: Link(target=job.environment_name),
    }
    environments = find_environments(folder)
    ours = {*(name.split("/")[0] for name in contents), *(path.name for path in environments), "__pycache__"}
    foreign = [path for path in paths(folder, contents) if path.split("/")[0] not in ours]
    if foreign:
        raise DeployError(
            f"{folder} holds another backend: {foreign[0]}", hint="give this one a name of its own"
        )
    old = [path for path in environments if path.name != job.environment_name]
    contents |= {} if job.prune else {path.name: Keep() for path in old}
    changed = not is_in_place(folder, contents)
    if changed:
        replace_folder(folder, contents, reporter)
    environment = folder / job.environment_name
    done = _place_model(job, "backend", plan, environment=environment, path=None, reporter=reporter)
    return replace(
        done,
        backend_folder=folder,
        changed=done.changed or changed,
        old_archives=(*done.old_archives, *(() if job.prune else old)),
    )


def _python_serving(job: _Job, environment: str) -> Serving:
    return Serving(
        name=_new_name(job),
        backend="python",
        runtime=None,
        model_file=None if job.plain else RUNTIME_FILE,
        environment=environment,
    )


def _new_name(job: _Job) -> str | None:
    """The name to write: only where config.pbtxt has another one."""
    return job.name if job.config.message.name not in ("", job.name) else None


# -- the model's folder ------------------------------------------------------------------------------------------


def _plan(job: _Job, serving: Serving, reporter: Reporter) -> dict[str, Entry]:
    """What the model's folder will hold, but for the environment."""
    findings = list(lint.find_problems(job.model, job.config, job.manifest, plain=job.plain))
    if errors := [finding for finding in findings if finding.level == "error"]:
        raise DeployError("\n".join(finding.message for finding in errors), hint=errors[0].hint)
    if old := brought_over(job.config):
        reporter.note(f"{old} brought over: served by the runtime in Triton's Python backend")
    plan: dict[str, Entry] = {
        path: Copy(path=job.model / path)
        for path in model_files(job.model)
        if job.plain or not is_runtime_file(path)
    }
    for compiled in job.compiled:
        if compiled.file is not None:
            plan[f"{compiled.version}/{compiled.file.name}"] = Copy(path=compiled.file)
    plan[CONFIG] = Text(data=edit_config(job.config, serving).encode())
    if serving.model_file == RUNTIME_FILE:
        for version in lint.version_folders(job.model):
            plan |= _runtime(RUNTIME_FILE, f"{version.name}/")
    return plan


def _runtime(name: str, folder: str = "") -> dict[str, Entry]:
    return {f"{folder}{path}": Text(data=file.read_bytes()) for path, file in runtime_files(name).items()}


def _place_model(
    job: _Job,
    layout: Layout,
    plan: dict[str, Entry],
    *,
    environment: Path,
    path: str | None,
    reporter: Reporter,
) -> Deployment:
    old = [found for found in find_environments(job.target) if found.name not in plan]
    plan |= {} if job.prune else {found.name: Keep() for found in old}
    kept = {found.name for found in old}
    gone = {path for path in paths(job.target, plan) if path not in plan and path.split("/")[0] not in kept}
    removed = sorted(path for path in gone if not is_runtime_file(path) and "__pycache__" not in path)
    changed = not is_in_place(job.target, plan)
    if changed:
        replace_folder(job.target, plan, reporter)
    findings = lint.find_problems(job.model, job.config, job.manifest, plain=job.plain)
    return Deployment(
        model=job.name,
        folder=job.target,
        layout=layout,
        environment=environment,
        environment_path=path,
        release=job.manifest.release,
        backend_folder=None,
        changed=changed,
        removed=tuple(removed),
        old_archives=() if job.prune else tuple(old),
        findings=tuple(findings),
        compiled=tuple(
            replace(one, file=one.file and job.target / one.version / one.file.name) for one in job.compiled
        ),
    )


def model_files(model: Path) -> Iterator[str]:
    """List a model directory's files, but not what was compiled; links are followed: a repository stands by itself."""
    environments = {path.name for path in find_environments(model)}
    stack = [(model, {model.resolve()})]
    while stack:
        folder, above = stack.pop()
        for path in sorted(folder.iterdir()):
            if path.name in _SKIPPED or COMPILED.fullmatch(path.name):
                continue
            if folder == model and path.name in environments:
                continue
            if path.is_dir():
                if path.resolve() in above:
                    raise DeployError(f"{path} is a link to a folder that holds it")
                stack.append((path, above | {path.resolve()}))
            elif path.is_file():
                yield path.relative_to(model).as_posix()
            else:
                what = "is a link to nothing" if path.is_symlink() else "is neither a file nor a folder"
                raise DeployError(f"{path} {what}")


def _is_plain(model: Path, config: ModelConfig) -> bool:
    """Whether the model needs no runtime."""
    plain = {lint.is_plain_python_model(version, config) for version in lint.version_folders(model)}
    if len(plain) > 1:
        raise DeployError(
            f"{model}: some versions bring a TritonPythonModel of their own and some do not",
            hint="default_model_filename is one for all versions: deploy them as two models",
        )
    return plain == {True}


# -- folders -----------------------------------------------------------------------------------------------------


def _absolute(path: Path) -> Path:
    return Path(os.path.abspath(path))


def _check_outside(folder: Path, repository: Path, what: str) -> None:
    if folder.resolve().is_relative_to(repository.resolve()):
        raise DeployError(
            f"{what} {folder} lies in the repository {repository}: Triton would take it for a model",
            hint="put it beside the repository",
        )


def _remove_empty(folder: Path) -> None:
    with suppress(OSError):  # it holds something
        folder.rmdir()


def _lock(stack: ExitStack, folder: Path, reporter: Reporter) -> None:
    stack.enter_context(locked(folder, reporter))
