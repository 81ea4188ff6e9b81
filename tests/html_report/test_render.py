from __future__ import annotations

import dataclasses
from html.parser import HTMLParser

from envbuilder.compare.diff import compare
from envbuilder.compare.sides import Side
from envbuilder.html_report.content import Content
from envbuilder.html_report.render import render
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
    assert page.text.index("Failed: 1 of 4 checks") < page.text.index("About")
    passed = Content(archive="a.tar.gz", report=report_of(PASSED))
    assert "Passed: no check failed" in Page(render(passed)).text
    assert "Not verified" in Page(render(Content(archive="a.tar.gz", report=None))).text


def test_a_cause_and_what_to_change_are_open(content: Content) -> None:
    page = Page(render(content))
    shown = [attributes for tag, attributes in page.elements if tag == "details" and "open" in attributes]
    assert len(shown) == 2  # the failure and the warning
    assert "What to change: rebuild" in page.text.replace("\n", " ")


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
