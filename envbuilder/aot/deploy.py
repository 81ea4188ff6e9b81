"""Deploy models that are completed or compiled first, and compile models that are deployed already."""

from __future__ import annotations

import contextlib
import dataclasses
from pathlib import Path
from typing import Final

from envbuilder.aot.complete_config import complete_model
from envbuilder.aot.precompile import look
from envbuilder.aot.precompile import precompile as compile_ahead
from envbuilder.archive.names import read_archive
from envbuilder.deployment.compiled import Compiled
from envbuilder.deployment.environments import environment_of
from envbuilder.deployment.layout import add_compiled, deploy
from envbuilder.deployment.model_directory import model_folder
from envbuilder.deployment.options import DeployOptions
from envbuilder.deployment.outcome import Deployment
from envbuilder.foreign.deployable import describe_foreign
from envbuilder.store.session import Session

_TRIED: Final = "uncompiled"
"""The kind of store entries for versions that could not be compiled ahead of time."""


def deploy_prepared(
    archive: Path,
    model: Path,
    repository: Path,
    session: Session,
    options: DeployOptions,
    *,
    precompile: bool,
    complete: bool,
) -> Deployment:
    """Deploy *model* with a completed configuration (*complete*) and compiled ahead of time (*precompile*).

    Raises:
        DeployError: the model cannot be completed, compiled or deployed. The repository is as it was.
    """
    reporter = session.reporter
    with session.store.scratch("compile") as scratch:
        present = model_folder(model, repository, options.name)
        compiled: tuple[Compiled, ...] = ()
        if complete:
            (scratch / "complete").mkdir()
            manifest, _ = read_archive(archive, describe=describe_foreign)
            options = dataclasses.replace(options, original=model)
            model = complete_model(archive, manifest, model, scratch / "complete", reporter=reporter)
        if precompile:
            for name in ("look", "compile"):
                (scratch / name).mkdir()
            pending = look(archive, model, scratch / "look", present=present).pending
            compiled = compile_ahead(archive, model, scratch / "compile", present=present, reporter=reporter)
            made = {one.version for one in compiled if one.file is not None}
            for version in pending.keys() - made:
                with contextlib.suppress(OSError):  # it is tried again
                    session.store.write_entry(_TRIED, pending[version], b"")
        return deploy(archive, model, repository, options, compiled=compiled, reporter=reporter)


def look_at_compiled(
    archive: Path, model: Path, repository: Path, session: Session
) -> tuple[tuple[Compiled, ...], bool]:
    """Return the compiled versions of *model* in *repository*, and whether others remain that can be compiled.

    Raises:
        DeployError: the model cannot be compiled ahead of time at all, or cannot be used.
    """
    with session.store.scratch("compile") as scratch:
        outlook = look(archive, model, scratch, present=model_folder(model, repository, None))
        pending = any(session.store.find(_TRIED, digest) is None for digest in outlook.pending.values())
        return outlook.kept, pending


def compile_deployed(model: Path, session: Session, environment: Path | None = None) -> tuple[Compiled, ...]:
    """Compile the deployed model in the folder *model*, and put the results beside the model's file.

    *environment* is an archive, or the folder that one is unpacked into; None: the one in config.pbtxt.

    Raises:
        DeployError: the model or its environment cannot be used.
    """
    chosen = environment or environment_of(model)
    with session.store.scratch("compile") as scratch:
        compiled = compile_ahead(chosen, model, scratch, present=model, reporter=session.reporter)
        add_compiled(model, compiled, session.reporter)
        return tuple(
            dataclasses.replace(one, file=one.file and model / one.version / one.file.name)
            for one in compiled
        )
