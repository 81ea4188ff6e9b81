from __future__ import annotations

import dataclasses
import re
from html.parser import HTMLParser

from envbuilder.compare.diff import compare
from envbuilder.compare.sides import Side
from envbuilder.html_report.content import Content
from envbuilder.html_report.render import render
from envbuilder.util.printable import printable_line
from tests.html_report.conftest import HOSTILE, PASSED, report_of


class Page(HTMLParser):
    """Elements, attributes and text of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def rows_of(text: str, section: str) -> list[list[str]]:
    """The text of each cell of the first table in the section of that id."""
    body = text.partition(f'<section id="{section}"')[2].partition("<tbody>")[2].partition("</tbody>")[0]
    return [
        [Page(cell).text.strip() for cell in re.split(r"(?=<t[hd][ >])", row)[1:]]
        for row in body.split("<tr>")[1:]
    ]


def test_what_is_hostile_stays_text(content: Content) -> None:
    text = render(content)
    page = Page(text)
    names = {tag for tag, _ in page.elements}
    assert names & {"script", "img", "iframe", "object", "link"} == set()
    assert [
        attributes for _, attributes in page.elements if any(name.startswith("on") for name in attributes)
    ] == []
    assert "<script>alert(1)</script>" in page.text
    assert "\x1b" not in text
    assert "\u202e" not in text
    assert "\\u001b[31m" in page.text
    assert HOSTILE not in text


def test_it_allows_itself_nothing(content: Content) -> None:
    text = render(content)
    (policy,) = [one["content"] for tag, one in Page(text).elements if one.get("http-equiv")]
    assert policy == "default-src 'none'; style-src 'unsafe-inline'"
    assert "http://" not in text
    assert "https://" not in text


def test_the_verdict_comes_first(content: Content) -> None:
    page = Page(render(content))
    assert page.text.index("Failed: 1 of 5 checks") < page.text.index("About")
    passed = Content(archive="a.tar.gz", report=report_of(PASSED))
    assert "Passed: no check failed" in Page(render(passed)).text
    unverified = Page(render(Content(archive="a.tar.gz", report=None))).text
    assert "Not verified: this page only describes the archive" in unverified


def test_a_cause_and_what_to_change_are_open(content: Content) -> None:
    page = Page(render(content))
    shown = [attributes for tag, attributes in page.elements if tag == "details" and "open" in attributes]
    assert len(shown) == 3  # the failure, the warning, and what is not known
    text = " ".join(page.text.split())
    assert "What to change: rebuild" in text
    assert "not known probe.model was sent random ids" in text
    assert "What to change: give --inputs FILE" in text


def test_a_package_has_its_licence_advisory_and_origin(content: Content) -> None:
    text = render(content)
    torch = next(row for row in rows_of(text, "packages") if row[0] == "torch")
    numpy = next(row for row in rows_of(text, "packages") if row[0] == "numpy")
    hostile = printable_line(HOSTILE)
    assert torch[1:4] == [hostile, "BSD-3-Clause", f"{hostile}: {hostile}; fixed in 2.0"]
    assert torch[4].startswith(f"{hostile} sha256:")
    assert (numpy[1], numpy[3]) == ("1.0", "none")
    assert numpy[4].startswith("numpy-1.0-py3-none-any.whl sha256:")
    assert "12 advisories were read, the newest of 2026-11-01; 1 apply." in Page(text).text

    unread = render(dataclasses.replace(content, audit=None))
    assert "No advisories were looked up." in Page(unread).text
    assert {row[3] for row in rows_of(unread, "packages") if row[0] != "torch"} == {"not looked up"}


def test_what_was_left_out_and_what_was_kept(content: Content) -> None:
    text = render(content)
    assert rows_of(text, "left-out") == [["**/tests/**", "3", "4.0 kB"]]
    kept = text.partition("Kept, since a module imports it</h3>")[2].partition("</ul>")[0]
    assert "a/tests (1 file): a.c imports it" in Page(kept).text


def test_every_link_inside_leads_somewhere(content: Content) -> None:
    page = Page(render(content))
    ids = [one["id"] for _, one in page.elements if one.get("id")]
    links = {str(one["href"]).removeprefix("#") for tag, one in page.elements if tag == "a"}
    assert len(ids) == len(set(ids))
    assert links <= set(ids)
    assert len(links) > 7


def test_a_section_that_has_nothing_to_say_is_not_there() -> None:
    page = Page(render(Content(archive="a.tar.gz", report=None)))
    assert [one["id"] for tag, one in page.elements if tag == "section" and "id" in one] == []


def test_what_changed(content: Content) -> None:
    before = Side(kind="archive", name="before.tar.gz", facts={}, demands={}, packages={})
    after = Side(kind="archive", name="after.tar.gz", facts={}, demands={"glibc": "2.40"}, packages={})
    page = Page(render(dataclasses.replace(content, difference=compare(before, after))))
    assert "Changes since before.tar.gz" in page.text
    assert "2.40" in page.text
