"""Models in a repository."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from envbuilder.deployment.options import DeployOptions
from envbuilder.errors import DeployError
from envbuilder.store.session import Session
from envbuilder.util.files import StrPath

if TYPE_CHECKING:
    from envbuilder.deployment.compiled import Compiled
    from envbuilder.deployment.object_store import ObjectDeployment
    from envbuilder.deployment.outcome import Deployment


def deploy(
    archive: StrPath,
    model: StrPath,
    repository: StrPath,
    options: DeployOptions = DeployOptions(),
    *,
    precompile: bool = False,
    complete: bool = False,
    session: Session | None = None,
) -> Deployment | ObjectDeployment:
    """Deploy a model with an archive into a folder, or into an object store where *repository* is an address.

    See :func:`envbuilder.deployment.layout.deploy` and
    :func:`envbuilder.deployment.object_store.deploy_to_objects`.
    With *complete* the configuration is filled from the model itself, see
    :func:`envbuilder.aot.complete_config.complete_model`; with *precompile* the model is compiled ahead of time, see
    :func:`envbuilder.aot.precompile.precompile`.
    """
    from envbuilder.deployment.layout import deploy as deploy_archive
    from envbuilder.deployment.object_store import check_options, deploy_to_objects

    archive, model = Path(archive), Path(model)
    session = session or Session.open()
    address = os.fspath(repository)
    if "://" in address and not address.startswith("file://"):
        check_options(address, options)
        if precompile or complete:
            raise DeployError(
                f"{address}: what is compiled or completed is put into a folder",
                hint="deploy into a folder first, and copy that",
            )
        timeout = session.at(Path.cwd(), remote=False).settings.timeout
        return deploy_to_objects(archive, model, address, options, timeout=timeout, reporter=session.reporter)
    folder = Path(address.removeprefix("file://"))
    if options.dry_run or not (precompile or complete):  # neither changes what is deleted
        return deploy_archive(archive, model, folder, options, reporter=session.reporter)
    from envbuilder.aot.deploy import deploy_prepared

    return deploy_prepared(archive, model, folder, session, options, precompile=precompile, complete=complete)


def compile_model(
    model: StrPath, *, environment: StrPath | None = None, session: Session | None = None
) -> tuple[Compiled, ...]:
    """Compile a deployed model ahead of time, see :func:`envbuilder.aot.deploy.compile_deployed`."""
    from envbuilder.aot.deploy import compile_deployed

    chosen = None if environment is None else Path(environment)
    return compile_deployed(Path(model), session or Session.open(), chosen)
