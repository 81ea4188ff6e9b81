"""Build, verify, attest and compare archives."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from envbuilder.archive.called import ENVS
from envbuilder.errors import EnvbuilderError
from envbuilder.progress import SILENT, Reporter
from envbuilder.recipe.model import Recipe
from envbuilder.store.session import Session
from envbuilder.util.files import StrPath, optional_path

if TYPE_CHECKING:
    from envbuilder.building.record import BuildReport
    from envbuilder.compare.diff import Difference
    from envbuilder.fleet.build_many import Outcome
    from envbuilder.fleet.options import FleetOptions
    from envbuilder.recipe.matrix import Cell
    from envbuilder.signing.verifier import Verifier
    from envbuilder.verification.live.model_deployment import ModelChoice
    from envbuilder.verification.report import Report
    from envbuilder.verification.server.servers import ServerChoice


def build(
    recipe: Recipe,
    *,
    output: StrPath = ENVS,
    check: bool = False,
    interpreter_change: bool = False,
    threads: int | None = None,
    session: Session | None = None,
) -> BuildReport:
    """Build the archive of a recipe's lock, see :func:`envbuilder.building.build.build`; with *check* build it again.

    Raises:
        StaleLockError: the lock is stale.
        IntegrityError: with *check*, the rebuilt archive is not byte-identical.
    """
    from envbuilder.building.build import build as build_archive
    from envbuilder.building.rebuild import check_rebuild
    from envbuilder.fetch.beside import with_files_beside
    from envbuilder.lockfile.check import check_lock

    locked = check_lock(recipe)
    session = with_files_beside(recipe, (session or Session.open()).at(recipe.path.parent))

    def make(session: Session, output: Path) -> BuildReport:
        return build_archive(
            recipe, locked, session, output=output, interpreter_change=interpreter_change, threads=threads
        )

    report = make(session, Path(output))
    if check:
        check_rebuild(report, session, make)
    return report


def build_many(
    recipes: Sequence[Recipe | Cell],
    *,
    output: StrPath = ENVS,
    options: FleetOptions | None = None,
    session: Session | None = None,
) -> list[Outcome]:
    """Build many recipes, see :func:`envbuilder.fleet.build_many.build_many`.

    The failure of one does not stop the others.

    Raises:
        RecipeError, ClusterError: see :func:`~envbuilder.fleet.build_many.build_many`.
    """
    from envbuilder.fetch.beside import with_files_beside
    from envbuilder.fleet.build_many import build_many as build_all
    from envbuilder.fleet.build_many import refused
    from envbuilder.fleet.options import FleetOptions
    from envbuilder.fleet.plan import Job
    from envbuilder.lockfile.check import check_lock

    session = session or Session.open()
    jobs, outcomes = [], {}
    for one in recipes:
        try:
            recipe = one if isinstance(one, Recipe) else one.get()
            locked = check_lock(recipe)
            there = with_files_beside(recipe, session.at(recipe.path.parent))
            jobs.append(Job(recipe=recipe, lock=locked, settings=there.settings))
        except EnvbuilderError as error:
            outcomes[one.name] = refused(one.name, error)
    made = build_all(jobs, output=Path(output), options=options or FleetOptions(), reporter=session.reporter)
    outcomes |= {outcome.recipe: outcome for outcome in made}
    return [outcomes[one.name] for one in recipes]


def verify(
    archive: StrPath,
    *,
    model: StrPath | ModelChoice | None = None,
    releases: Sequence[str] = (),
    server: bool | StrPath | ServerChoice | None = None,
    provenance: StrPath | Verifier | None = None,
    lock: StrPath | None = None,
    session: Session | None = None,
) -> Report:
    """Verify an archive, see :func:`envbuilder.verification.verify.verify`, or an image of one.

    An image is ``oci://HOST/REPOSITORY:TAG`` or a layout (a folder or ``FILE.oci.tar``). It is unpacked as a container
    runtime would, compared with its manifest, and mounted read-only; then the archive it was made from is verified on
    that mount.

    Defaults come from ``verify:`` in the archive's recipe, if that recipe is in ``recipes/`` of the current folder and
    has not changed since the build.

    Args:
        archive: the archive or image.
        model: a model directory; a ``ModelChoice`` may also name a whole repository and the inputs to send.
        releases: further releases of Triton to verify for, such as ``24.10``.
        server: whether to run a real server (None: if one is available), or the path of its program.
        provenance: the public key or certificate of the required signer;
            :func:`envbuilder.signing.verifier.load_verifier` also takes the name required in the certificate and the
            trusted timestamp authority.
        lock: the lock that the archive must have been built from; its wheelhouse may be next to it.
        session: where artifacts come from and are kept.

    Raises:
        RecipeError: the recipe, *provenance* or the configuration is invalid.
        StaleLockError, IntegrityError: *lock* does not exist, or is not a lock.
    """
    from envbuilder.signing.verifier import load_verifier
    from envbuilder.transfer.image_checks import open_target
    from envbuilder.verification.live.model_deployment import ModelChoice
    from envbuilder.verification.options import complete_request
    from envbuilder.verification.server.servers import ServerChoice
    from envbuilder.verification.verify import VerifyRequest
    from envbuilder.verification.verify import verify as verify_archive

    session = (session or Session.open()).at(Path.cwd(), remote=False)
    if server is None or isinstance(server, bool):
        server = ServerChoice(ask=server)
    elif not isinstance(server, ServerChoice):
        server = ServerChoice(ask=True, program=Path(server))
    trusted = load_verifier(Path(provenance)) if isinstance(provenance, (str, os.PathLike)) else provenance
    models = model if isinstance(model, ModelChoice) else ModelChoice(model=optional_path(model))
    request = VerifyRequest(
        model=models.model, choice=models, releases=tuple(releases), server=server, trusted=trusted
    )
    with open_target(os.fspath(archive), session) as subject:
        request = replace(request, readonly=subject.is_image, cache=request.cache and not subject.is_image)
        request, session = complete_request(
            request, subject.archive, session, lock=optional_path(lock), root=Path.cwd()
        )
        return subject.merged(verify_archive(subject.archive, session, request))


def attest(
    archive: StrPath,
    *,
    key: StrPath | None = None,
    certificate: StrPath | None = None,
    report: StrPath | None = None,
    builder: str | None = None,
    timestamp: str | None = None,
    reporter: Reporter = SILENT,
) -> Path:
    """Write provenance next to an archive, see :func:`envbuilder.provenance.attest.attest`."""
    from envbuilder.provenance.attest import attest as attest_archive

    return attest_archive(
        Path(archive),
        key=optional_path(key),
        certificate=optional_path(certificate),
        report=optional_path(report),
        builder=builder,
        timestamp=timestamp,
        reporter=reporter,
    )


def diff(
    before: StrPath, after: StrPath, *, root: StrPath | None = None, reporter: Reporter = SILENT
) -> Difference:
    """Return what changed between two recipes, locks or archives, see :func:`envbuilder.compare.sides.read_side`."""
    from envbuilder.compare.diff import compare
    from envbuilder.compare.sides import read_side

    folder = optional_path(root) or Path.cwd()
    first = read_side(os.fspath(before), folder, reporter=reporter)
    return compare(first, read_side(os.fspath(after), folder, reporter=reporter))
