"""The files that ``--report`` and ``--junit`` name: written whatever ends a verification."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from envbuilder.cli.output import write_file
from envbuilder.errors import RecipeError
from envbuilder.verification.report import Report
from envbuilder.verification.verify import unfinished


class ReportFiles:
    """Where a report goes: *report* is its JSON file, *junit* its XML file, where they are wanted."""

    def __init__(self, report: Path | None, junit: Path | None) -> None:
        self._report = report
        self._junit = junit
        self._written = False

    def write(self, found: Report) -> None:
        """Write both files; where one cannot be written the other is.

        Raises:
            RecipeError: one cannot be written.
        """
        self._written = True
        failure: RecipeError | None = None
        for path, text in ((self._report, found.json), (self._junit, found.junit)):
            try:
                if path is not None:
                    write_file(path, text())
            except RecipeError as error:
                failure = failure or error
        if failure is not None:
            raise failure

    @contextmanager
    def whatever_happens(self, archive: Path) -> Iterator[None]:
        """Write a report of what ends the block, if none was written in it."""
        try:
            yield
        except BaseException as error:
            if not self._written:
                self.write(unfinished(archive, error))
            raise
