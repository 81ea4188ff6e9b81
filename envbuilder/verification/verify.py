"""``envbuilder verify``: prove that a release loads an archive, and that the model's outputs are correct."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

from envbuilder.errors import EnvbuilderError, VerifyError
from envbuilder.store.session import Session
from envbuilder.util.crew import Crew
from envbuilder.verification.failures import cause, ended, fix
from envbuilder.verification.report import Check, Report, report_schema, unread
from envbuilder.verification.request import VerifyRequest
from envbuilder.verification.run import Run

__all__ = ["Check", "Report", "VerifyRequest", "report_schema", "unfinished", "verify"]

_USUAL: Final = VerifyRequest()


def verify(
    archive: Path,
    session: Session,
    request: VerifyRequest = _USUAL,
    *,
    write: Callable[[Report], None] | None = None,
) -> Report:
    """Check *archive*, as ``envbuilder build`` wrote it, under the contract of each release of *request*.

    *write* is given the report whatever ends the verification: where it cannot go on, or is stopped, what was found
    until then, and why it ended.

    Returns: a report, also where checks failed.

    Raises:
        VerifyError: there is no archive, no disk to extract it on, or no server where one was asked for.
        RecipeError: no such release, or no such kind of server.
        PluginError: a server of another distribution cannot be used.
    """
    write = write or (lambda _: None)
    run = Run(archive, session, request)
    try:
        with session.store.scratch("verify") as scratch, Crew() as crew:
            try:
                run.make_checks(scratch, crew)
            except BaseException as error:
                crew.stop()
                # At once: to remove what was extracted takes longer than a signal waits.
                run.end(error, write)
                raise
    except BaseException as error:
        run.end(error, write)
        if isinstance(error, EnvbuilderError) or not isinstance(error, Exception):
            raise
        raise VerifyError(f"{archive} cannot be verified: {cause(error)}", hint=fix(error)) from error
    report = run.report()
    write(report)
    return report


def unfinished(archive: Path, error: BaseException) -> Report:
    """Return the report of a verification that *error* ended before it began."""
    return unread(archive, [ended(error)], 0.0)
