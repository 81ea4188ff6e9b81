"""Render the page."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from jinja2 import Environment, PackageLoader, StrictUndefined

from envbuilder.html_report.content import Content, Sources, gather
from envbuilder.html_report.treemap import HEIGHT, WIDTH, pictures
from envbuilder.progress import SILENT, Reporter
from envbuilder.util.printable import printable, printable_line
from envbuilder.util.text import human
from envbuilder.util.version import VERSION

_VERDICTS: Final = {
    "passed": "Passed: no check failed",
    "failed": "Failed",
    "unknown": "Not verified: this page only describes the archive",
}


def render(content: Content) -> str:
    """Return the HTML.

    Whatever a text of *content* holds stays text: it is escaped, what a terminal or browser would obey is made
    visible, and the page's own policy allows no script and no address.
    """
    environment = Environment(
        loader=PackageLoader("envbuilder.html_report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(human=human, line=_line, text=_text)
    timeline = content.timeline()
    return environment.get_template("report.html.j2").render(
        content=content,
        report=content.report,
        verdict=_VERDICTS[content.verdict],
        timeline=timeline,
        longest=max((seconds for _, seconds in timeline), default=1.0),
        pictures=list(pictures(content.sizes)) if content.sizes else [],
        width=WIDTH,
        height=HEIGHT,
        version=VERSION,
    )


def html_report(archive: Path, sources: Sources = Sources(), *, reporter: Reporter = SILENT) -> str:
    """Return a page about *archive*, see :func:`envbuilder.html_report.content.gather`."""
    return render(gather(archive, sources, reporter=reporter))


def _line(value: Any) -> str:
    return printable_line(str(value))


def _text(value: Any) -> str:
    return printable(str(value))
