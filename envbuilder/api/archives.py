"""Archives: built, proved, compared."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from envbuilder.archive.names import ENVS
from envbuilder.errors import EnvbuilderError
from envbuilder.progress import SILENT, Reporter
from envbuilder.recipe.matrix import Cell
from envbuilder.recipe.model import Recipe
from envbuilder.store.session import Session
from envbuilder.util.files import StrPath

if TYPE_CHECKING:
    from envbuilder.building.record import BuildReport
    from envbuilder.compare.diff import Difference
    from envbuilder.fleet.build_many import FleetOptions, Outcome
    from envbuilder.signing.verifier import Verifier
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
        StaleLockError: the lock is not the recipe's.
        IntegrityError: with *check*: built again from nothing, the bytes are others.
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
    """Build many recipes, see :func:`envbuilder.fleet.build_many.build_many`; what goes wrong with one is its outcome.

    Raises:
        RecipeError, ClusterError: see there.
    """
    from envbuilder.fetch.beside import with_files_beside
    from envbuilder.fleet.build_many import FleetOptions, refused
    from envbuilder.fleet.build_many import build_many as build_all
    from envbuilder.fleet.plan import Job
    from envbuilder.lockfile.check import check_lock

    session = session or Session.open()
    jobs, outcomes = [], {}
    for one in recipes:
        try:
            recipe = one.get() if isinstance(one, Cell) else one
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
    model: Path | None = None,
    releases: Sequence[str] = (),
    server: bool | Path | ServerChoice | None = None,
    provenance: Path | Verifier | None = None,
    lock: Path | None = None,
    session: Session | None = None,
) -> Report:
    """Verify an archive, see :func:`envbuilder.verification.verify.verify`.

    What is not said is taken from ``verify:`` of the archive's recipe, where that is in ``recipes/`` of the current
    folder and is still the one that the archive was built of. *provenance* is the public key, or the certificate, of
    whoever must have signed it (:func:`envbuilder.signing.verifier.load_verifier` also takes the name that the signer's
    certificate must have, and who is believed about the time of signing). *server* is whether a real server is asked
    (None: where one is at hand), or its program; *lock* is the lock that it must have been built from, beside which its
    wheelhouse may lie.
    """
    from envbuilder.signing.verifier import load_verifier
    from envbuilder.verification.options import complete_request
    from envbuilder.verification.server.servers import ServerChoice
    from envbuilder.verification.verify import VerifyRequest
    from envbuilder.verification.verify import verify as verify_archive

    archive, session = Path(archive), (session or Session.open()).at(Path.cwd(), remote=False)
    if not isinstance(server, ServerChoice):
        ask, program = (True, server) if isinstance(server, Path) else (server, None)
        server = ServerChoice(ask=ask, program=program)
    trusted = load_verifier(provenance) if isinstance(provenance, Path) else provenance
    request = VerifyRequest(model=model, releases=tuple(releases), server=server, trusted=trusted)
    request, session = complete_request(request, archive, session, lock=lock, root=Path.cwd())
    return verify_archive(archive, session, request)


def attest(
    archive: StrPath,
    *,
    key: Path | None = None,
    certificate: Path | None = None,
    report: Path | None = None,
    builder: str | None = None,
    timestamp: str | None = None,
    reporter: Reporter = SILENT,
) -> Path:
    """Write a provenance beside an archive, see :func:`envbuilder.provenance.attest.attest`."""
    from envbuilder.provenance.attest import attest as attest_archive

    return attest_archive(
        Path(archive),
        key=key,
        certificate=certificate,
        report=report,
        builder=builder,
        timestamp=timestamp,
        reporter=reporter,
    )


def diff(before: str, after: str, *, root: Path | None = None, reporter: Reporter = SILENT) -> Difference:
    """Say what changed between two recipes, locks or archives, see :func:`envbuilder.compare.sides.read_side`."""
    from envbuilder.compare.diff import compare
    from envbuilder.compare.sides import read_side

    root = root or Path.cwd()
    return compare(read_side(before, root, reporter=reporter), read_side(after, root, reporter=reporter))
