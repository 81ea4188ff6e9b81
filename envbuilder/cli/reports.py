"""The files of ``--report``, ``--junit`` and ``--html``: written even if a verification fails or is interrupted."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from envbuilder.cli.output import check_output, write_file
from envbuilder.errors import RecipeError
from envbuilder.verification.failures import UNFINISHED
from envbuilder.verification.report import Report
from envbuilder.verification.verify import unfinished


class ReportFiles:
    """Where to write the report of *archive*: the JSON file, the JUnit file and the page, each optional."""

    def __init__(self, archive: Path, report: Path | None, junit: Path | None, html: Path | None) -> None:
        self._archive = archive
        self._report = report
        self._junit = junit
        self._html = html
        self._written = False
        for path in (report, junit, html):
            if path is not None:
                check_output(path)

    def write(self, found: Report) -> None:
        """Write the files; a failure with one does not prevent the others.

        Raises:
            RecipeError: one cannot be written.
        """
        self._written = True
        failure: RecipeError | None = None
        for path, text in (
            (self._report, found.json),
            (self._junit, found.junit),
            (self._html, lambda: self._page(found)),
        ):
            try:
                if path is not None:
                    write_file(path, text())
            except RecipeError as error:
                failure = failure or error
        if failure is not None:
            raise failure

    def _page(self, found: Report) -> str:
        from envbuilder.html_report.content import Content, Sources
        from envbuilder.html_report.render import html_report, render

        if any(
            check.id == UNFINISHED for check in found.checks
        ):  # delay signals: the archive is not read again
            return render(Content(archive=self._archive.name, report=found))
        return html_report(self._archive, Sources(report=found))

    @contextmanager
    def report_failures(self) -> Iterator[None]:
        """Write a report of an error that ends the block, unless a report was already written."""
        try:
            yield
        except BaseException as error:
            if not self._written:
                self.write(unfinished(self._archive, error))
            raise
