"""From a model directory and an archive to a model repository."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from envbuilder.archive.names import Describe, ReadArchive, open_archive
from envbuilder.deployment.compiled import Compiled
from envbuilder.deployment.layouts import LAYOUTS
from envbuilder.deployment.locking import locked, locked_all
from envbuilder.deployment.mark import MARK
from envbuilder.deployment.model_directory import (
    absolute,
    model_files,
    os_errors_as_deploy_errors,
    read_model,
    real,
)
from envbuilder.deployment.options import ENVIRONMENTS, DeployOptions
from envbuilder.deployment.outcome import Deployment
from envbuilder.deployment.placement import kept_entries
from envbuilder.deployment.record import (
    remove_orphans,
)
from envbuilder.deployment.transaction import (
    prepare,
    skipped_entries,
)
from envbuilder.deployment.tree import (
    Copy,
    Entry,
    Keep,
    is_in_place,
    replace_folder,
)
from envbuilder.errors import DeployError
from envbuilder.foreign.deployable import describe_foreign
from envbuilder.progress import SILENT, Reporter


def deploy(
    archive: Path | ReadArchive,
    model: Path,
    repository: Path,
    options: DeployOptions = DeployOptions(),
    *,
    compiled: Sequence[Compiled] = (),
    describe: Describe = describe_foreign,
    reporter: Reporter = SILENT,
) -> Deployment:
    """Put the model directory *model*, the environment *archive* and the runtime into *repository*.

    Args:
        archive: as ``envbuilder build`` wrote it, or conda-pack. One that was read is not read again: for a caller that
            deploys many models with it, and makes sure itself that it does not change meanwhile.
        model: a directory with config.pbtxt and version folders; it may already lie in the repository.
        repository: what the server is given as ``--model-repository``.
        options: the layout, and the names of model, backend and folders.
        compiled: the versions of the model that were compiled ahead of time, see
        :func:`envbuilder.aot.precompile.precompile`.
        describe: returns a manifest for an archive that contains none.
        reporter: receives progress messages.

    Raises:
        RecipeError: there is no such layout.
        PluginError: the layout's plugin cannot be loaded.
        DeployError: the model directory, the names or the folders cannot be used; or, where it is to prune, a
            configuration of a repository cannot be read. The repository is as it was.
        IntegrityError: the archive does not match the digest in its name, or changes while it is read.
    """
    repository, model = absolute(repository), absolute(model)
    with os_errors_as_deploy_errors(model):
        read_model(model, repository, options.name)
    read = archive if isinstance(archive, ReadArchive) else open_archive(archive, describe=describe)
    layout = LAYOUTS.get(options.layout)
    folder = layout.folder(repository, options, read.manifest)
    if folder is not None:
        _check_outside(folder, repository, layout.holds)
    default = repository.parent / ENVIRONMENTS
    many = (options.shared or default, options.pool or default, default)
    environments = dict.fromkeys([*([folder] if folder is not None else []), *map(absolute, many)])
    backends = absolute(options.backends or repository.parent / "backends")
    write = fcntl.LOCK_SH if options.dry_run else fcntl.LOCK_EX
    held = {model.parent: fcntl.LOCK_SH, repository: write, **({folder: write} if folder else {})}
    with locked_all(held, reporter), os_errors_as_deploy_errors(model):
        job = prepare(read, model, repository, options, environments=tuple(environments), backends=backends)
        job = replace(job, compiled=tuple(compiled))
        if folder is not None and not options.dry_run:
            remove_orphans(folder)
        return layout.deploy(job, folder, reporter)


def add_compiled(model: Path, compiled: Sequence[Compiled], reporter: Reporter = SILENT) -> bool:
    """Put code compiled ahead of time into the folder *model* of a repository atomically, and change nothing else.

    Returns: whether that changed anything.

    Raises:
        DeployError: it cannot be written.
    """
    model = absolute(model)
    with locked(model.parent, reporter):
        plan: dict[str, Entry] = {path: Copy(path=model / path) for path in model_files(model)}
        for one in compiled:
            if one.file is not None:
                plan[f"{one.version}/{one.file.name}"] = Copy(path=one.file)
        plan |= kept_entries(model, plan, ())
        plan |= skipped_entries(model, plan)
        if os.path.lexists(model / MARK):
            plan[MARK] = Keep()
        if is_in_place(model, plan):
            return False
        replace_folder(model, plan, reporter)
    return True


def _check_outside(folder: Path, repository: Path, what: str) -> None:
    if real(folder).is_relative_to(real(repository)):
        raise DeployError(
            f"{what} {folder} is inside the repository {repository}: Triton would treat it as a model",
            hint="choose a folder outside the repository",
        )
