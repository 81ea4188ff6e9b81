"""Checks in the order of a report."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from envbuilder.verification.findings import Findings
from envbuilder.verification.report import Check, passed


def test_the_order_of_places_counts() -> None:
    findings = Findings()
    first, second = findings.place(), findings.place([passed("b", "")])
    assert first is not second
    first.append(passed("a", ""))
    findings.place([passed("c", "")])
    assert [check.id for check in findings.checks] == ["a", "b", "c"]


def test_what_was_found_before_an_error_counts() -> None:
    def found() -> Iterator[Check]:
        yield passed("a", "")
        raise KeyError

    findings = Findings()
    with pytest.raises(KeyError):
        findings.place(found())
    assert [check.id for check in findings.checks] == ["a"]


def test_rewriting() -> None:
    findings = Findings()
    findings.place([passed("a", "")])
    findings.place([passed("b", "")])
    findings.rewrite(
        lambda place: place.__setitem__(slice(None), [passed(f"x{one.id}", "") for one in place])
    )
    assert [check.id for check in findings.checks] == ["xa", "xb"]
