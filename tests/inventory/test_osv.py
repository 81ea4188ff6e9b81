from __future__ import annotations

import json
from typing import Any

import pytest

from envbuilder.inventory.osv import Advisory, fixed_by, named_by, parse_advisory
from envbuilder.util.documents import DocumentError, parse_json
from tests.helpers.inventories import Package, component, inventory


def record(
    *events: dict[str, str], kind: str = "ECOSYSTEM", name: str = "alpha", **values: Any
) -> dict[str, Any]:
    affected: dict[str, Any] = {"package": {"ecosystem": "PyPI", "name": name}, **values}
    if events:
        affected["ranges"] = [{"type": kind, "events": list(events)}]
    return {
        "schema_version": "1.6.7",
        "id": "GHSA-1",
        "modified": "2026-01-01T00:00:00Z",
        "affected": [affected],
    }


def advisory_of(found: Any) -> Advisory:
    return parse_advisory(parse_json(json.dumps(found), where="osv.json"))


def hits(found: dict[str, Any], version: str, name: str = "alpha") -> bool:
    return fixed_by(advisory_of(found), component(Package(name=name, version=version)))[0]


FIXED = [{"introduced": "1.0"}, {"fixed": "1.5"}]
TWICE = [*FIXED, {"introduced": "2.0"}, {"fixed": "2.1"}]
LAST = [{"introduced": "0"}, {"last_affected": "1.5"}]


@pytest.mark.parametrize(
    ("events", "versions"),
    [
        (FIXED, {"0.9": False, "1.0": True, "1.4.9": True, "1.5": False, "1.5rc1": True, "1.10": False}),
        (TWICE, {"1.2": True, "1.9": False, "2.0": True, "2.1": False, "3": False}),
        (list(reversed(TWICE)), {"1.2": True, "1.9": False, "2.0.5": True, "2.1": False}),
        (LAST, {"0.0.1": True, "1.5": True, "1.5.1": False}),
        # A build of a version is that version: 1.5+cpu is neither after 1.5 nor before it.
        (FIXED, {"1.4+cpu": True, "1.5+cpu": False}),
        (LAST, {"1.5+cu126": True, "1.6+cpu": False}),
        ([{"introduced": "0"}], {"9": True}),
        ([{"introduced": "0"}, {"limit": "1.0"}], {"0.9": True, "1.0": False}),
        ([{"introduced": "0"}, {"limit": "*"}], {"5": True}),
        ([{"introduced": "1.0.post1"}, {"fixed": "1!0"}], {"1.0": False, "1.0.post1": True, "7": True}),
    ],
)
def test_ranges(events: list[dict[str, str]], versions: dict[str, bool]) -> None:
    assert {version: hits(record(*events), version) for version in versions} == versions


@pytest.mark.parametrize(
    ("version", "affected"),
    [("1.0.0", True), ("1.2.3", True), ("1.9", True), ("2.0.0", False), ("0.9.9", False)],
)
def test_semver_ranges(version: str, affected: bool) -> None:
    events = [{"introduced": "1.0.0-alpha.2"}, {"fixed": "2.0.0"}]
    assert hits(record(*events, kind="SEMVER"), version) == affected


def test_listed_versions_count_by_themselves() -> None:
    found = record(versions=["1.0", "2.0.0", "very-old"])
    assert [hits(found, version) for version in ("1.0.0", "2.0+cpu", "1.1")] == [True, True, False]


def test_commits_are_of_no_use_and_its_versions_are() -> None:
    found = record({"introduced": "0"}, kind="GIT", versions=["1.0"])
    assert [hits(found, version) for version in ("1.0", "2.0")] == [True, False]


def test_names_are_normalized_and_ecosystems_kept_apart() -> None:
    assert hits(record({"introduced": "0"}, name="Alpha_Beta"), "1.0", "alpha.beta")
    other = record({"introduced": "0"})
    other["affected"][0]["package"]["ecosystem"] = "npm"
    assert not hits(other, "1.0")
    assert named_by(advisory_of(other)) == {("npm", "alpha")}


def test_a_withdrawn_advisory_is_none() -> None:
    assert not hits({**record({"introduced": "0"}), "withdrawn": "2026-02-01T00:00:00Z"}, "1.0")


def test_the_versions_that_mend_it() -> None:
    found = fixed_by(advisory_of(record(*TWICE)), component(Package(name="alpha", version="2.0")))
    assert found == (True, ("1.5", "2.1"))


def test_the_interpreter_is_found_by_its_repository() -> None:
    psf = {
        "id": "PSF-2023-8",
        "affected": [
            {
                "ranges": [
                    {
                        "type": "GIT",
                        "repo": "https://github.com/python/cpython",
                        "events": [{"introduced": "0"}],
                    }
                ],
                "versions": ["v3.11.4", "v3.11.7"],
            }
        ],
    }
    advisory = advisory_of(psf)
    assert named_by(advisory) == {("GIT", "cpython")}
    (python,) = inventory().components
    assert fixed_by(advisory, python)[0]
    (newer,) = inventory(python="3.11.8").components
    assert not fixed_by(advisory, newer)[0]
    assert not fixed_by(advisory, component(Package(name="cpython", version="3.11.7")))[0]


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ([], "osv.json: expected an object, found an empty list"),
        ({"summary": "x"}, "osv.json: id: is missing; expected a line of text"),
        (
            {"id": "X-1", "schema_version": "2.0.0"},
            "osv.json: schema_version: 2.0.0 is not supported: expected 1.x",
        ),
        ({"id": "X-1", "affected": {"a": 1}}, "osv.json: affected: expected a list, found an object"),
        ({"id": "X-1", "affected": [[]]}, "osv.json: affected[0]: expected an object, found an empty list"),
        (
            {"id": "X-1", "affected": [{"ranges": [{"type": "GIT", "events": [{"fixed": 1}]}]}]},
            "osv.json: affected[0].ranges[0].events[0].fixed: expected a line of text, found 1",
        ),
        (
            {"id": "X-1", "affected": [{"package": {"name": "a"}}]},
            "osv.json: affected[0].package.ecosystem: is missing; expected a line of text",
        ),
    ],
)
def test_what_is_no_record_is_refused(wrong: Any, said: str) -> None:
    with pytest.raises(DocumentError) as caught:
        advisory_of(wrong)
    assert str(caught.value) == said


def test_a_version_that_cannot_be_compared_is_said() -> None:
    with pytest.raises(ValueError, match=r"^GHSA-1: a version of alpha cannot be compared: .*'nonsense'"):
        hits(record({"introduced": "nonsense"}), "1.0")
    with pytest.raises(ValueError, match=r" has 301 characters, more than 256$"):
        hits(record({"introduced": "1." * 150 + "1"}), "1.0")
