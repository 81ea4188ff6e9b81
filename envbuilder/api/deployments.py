"""Deploy models into a repository, and compile them there."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from envbuilder.archive.called import ENVS
from envbuilder.deployment.options import DeployOptions
from envbuilder.errors import DeployError, StoreError
from envbuilder.store.session import Session
from envbuilder.util.files import StrPath, optional_path

if TYPE_CHECKING:
    from collections.abc import Sequence

    from envbuilder.deployment.compiled import Compiled
    from envbuilder.deployment.object_store import ObjectDeployment
    from envbuilder.deployment.outcome import Deployment
    from envbuilder.fleet.patching.patch import PatchOptions
    from envbuilder.fleet.patching.rows import PatchedRecipe
    from envbuilder.fleet.repository.apply import Applied, ApplyOptions
    from envbuilder.fleet.repository.status import ModelStatus


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
    """Deploy a model with an archive into a folder, or into an object store if *repository* is a URL.

    See :func:`envbuilder.deployment.layout.deploy` and
    :func:`envbuilder.deployment.object_store.deploy_to_objects`.
    With *complete* the configuration is filled from the model itself, see
    :func:`envbuilder.aot.complete_config.complete_model`; with *precompile* the model is compiled ahead of time, see
    :func:`envbuilder.aot.precompile.precompile`.
    """
    from envbuilder.deployment.layout import deploy as deploy_archive
    from envbuilder.deployment.object_store import check_options, deploy_to_objects
    from envbuilder.foreign.folder import pack_folder

    archive, model = Path(archive), Path(model)
    session = session or Session.open()
    if archive.is_dir():
        with session.store.scratch("deploy") as scratch:
            packed = pack_folder(archive, scratch)
            return deploy(
                packed,
                model,
                repository,
                options,
                precompile=precompile,
                complete=complete,
                session=session,
            )
    options = _pinned(options, archive, session)
    address = os.fspath(repository)
    if "://" in address and not address.startswith("file://"):
        check_options(address, options)
        if precompile or complete:
            raise DeployError(
                f"{address}: --complete and --compile need a local repository",
                hint="deploy into a directory first, then copy it",
            )
        timeout = session.at(Path.cwd(), remote=False).settings.timeout
        return deploy_to_objects(archive, model, address, options, timeout=timeout, reporter=session.reporter)
    folder = Path(address.removeprefix("file://"))
    if options.dry_run or not (precompile or complete):  # neither changes what is pruned
        return deploy_archive(archive, model, folder, options, reporter=session.reporter)
    from envbuilder.aot.deploy import deploy_prepared

    return deploy_prepared(archive, model, folder, session, options, precompile=precompile, complete=complete)


def _pinned(options: DeployOptions, archive: Path, session: Session) -> DeployOptions:
    """Pin the image of a deployment by digest, and see that it is one of *archive*: a tag is resolved by the registry.

    A digest needs no registry: where that does not answer, or asks for a login, only the check is left out.

    Raises:
        DeployError: the image was made from another archive.
        StoreError: the image is not found; of a tag, also that the registry does not answer.
    """
    if options.image is None or options.layout != "image":
        return options
    from envbuilder.archive.names import read_archive
    from envbuilder.archive.plan import about
    from envbuilder.registry.connection import MissingError
    from envbuilder.registry.reference import parse_reference
    from envbuilder.transfer.images import open_remote_image

    reference = parse_reference(options.image)
    manifest, sha256 = read_archive(archive)
    platform = f"linux/{about(manifest).architecture}"
    there = session.at(Path.cwd(), remote=False)
    try:
        with open_remote_image(reference, there, platform=platform) as (_, image):
            if image.archive != sha256:
                tag = replace(reference, tag=reference.tag or "TAG", digest=None)
                raise DeployError(
                    f"{reference} is the image of the archive {image.archive[:12]}, not of {archive.name}",
                    hint=f"`envbuilder push {archive} {tag}`, and --image as it prints it",
                )
            return replace(options, image=str(reference.at(image.descriptor.digest)))
    except MissingError:
        raise
    except StoreError as error:
        if reference.digest is None:
            raise
        session.reporter.note(f"not checked that the image is one of {archive.name}: {error.message}")
        return options


def compile_model(
    model: StrPath, *, environment: StrPath | None = None, session: Session | None = None
) -> tuple[Compiled, ...]:
    """Compile a deployed model ahead of time, see :func:`envbuilder.aot.deploy.compile_deployed`."""
    from envbuilder.aot.deploy import compile_deployed

    return compile_deployed(Path(model), session or Session.open(), optional_path(environment))


def apply(
    repository: StrPath, options: ApplyOptions | None = None, *, session: Session | None = None
) -> Applied:
    """Bring every model of a repository up to date with its recipe's lock.

    See :func:`envbuilder.fleet.repository.apply.apply`.
    """
    from envbuilder.fleet.repository.apply import ApplyOptions
    from envbuilder.fleet.repository.apply import apply as apply_all

    return apply_all(Path(repository), session or Session.open(), options or ApplyOptions())


def status(
    repository: StrPath,
    *,
    archives: StrPath = ENVS,
    advisories: StrPath | None = None,
    session: Session | None = None,
) -> Sequence[ModelStatus]:
    """Return the environment and state of each model, see :func:`envbuilder.fleet.repository.status.status`."""
    from envbuilder.fleet.repository.status import status as status_of_all

    return status_of_all(
        Path(repository),
        session or Session.open(),
        archives=Path(archives),
        advisories=optional_path(advisories),
    )


def patch(
    advisory: str | None, options: PatchOptions | None = None, *, session: Session | None = None
) -> Sequence[PatchedRecipe]:
    """Patch every environment affected by *advisory*; without one, roll the last patch back.

    See :func:`envbuilder.fleet.patching.patch.patch` and :func:`envbuilder.fleet.patching.rollback.roll_back`.
    """
    from envbuilder.fleet.patching.patch import PatchOptions
    from envbuilder.fleet.patching.patch import patch as patch_all
    from envbuilder.fleet.patching.rollback import roll_back

    options, session = options or PatchOptions(), session or Session.open()
    return roll_back(session, options) if advisory is None else patch_all(advisory, session, options)
