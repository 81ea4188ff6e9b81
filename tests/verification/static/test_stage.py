"""The static checks in two parts: what decides whether an archive can be run, and what reads every byte again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from envbuilder import api
from envbuilder.catalog.triton import find_release
from envbuilder.progress import SILENT
from envbuilder.recipe.model import VerifyOptions
from envbuilder.signing.verifier import load_verifier
from envbuilder.verification.findings import Findings
from envbuilder.verification.report import Check
from envbuilder.verification.static.archive import SLOW
from envbuilder.verification.static.extracted import open_archive
from envbuilder.verification.static.stage import check_structure
from tests.helpers.environments import Tree, environment, failures, pack

RELEASES = ("pytriton-0.7.0", "26.06")


def checked(path: Path, folder: Path, **options: Any) -> tuple[list[Check], list[Check]]:
    """Return the checks before what takes its time was done, and after."""
    archive = open_archive(path, folder / "extracted", lambda _: [], SILENT)
    findings = Findings()
    asked = {"releases": [], "lock": None, "trusted": None, "options": None, **options}
    later = check_structure(archive, findings, **asked)
    first = findings.checks
    for check in later:
        check()
    return first, findings.checks


@pytest.fixture
def whole() -> Tree:
    return environment()


def test_what_reads_every_byte_is_done_later_in_its_own_place(tmp_path: Path, whole: Tree) -> None:
    releases = [find_release(name) for name in RELEASES]
    first, all_of_them = checked(pack(whole, tmp_path, listed=whole), tmp_path, releases=releases)
    before, after = [check.id for check in first], [check.id for check in all_of_them]
    slow = [id for id in after if id not in before]
    assert slow
    assert set(SLOW) <= set(slow)
    assert [id for id in after if id not in slow] == before, "the order is that of a report"
    assert after.index(slow[0]) < after.index("layout.libpython"), "though it was found later"
    assert [check.release for check in all_of_them if check.id == "layout.libpython"] == list(RELEASES)


def test_what_is_not_asked_for_is_not_checked(tmp_path: Path, whole: Tree) -> None:
    _, found = checked(pack(whole, tmp_path, listed=whole), tmp_path)
    ids = {check.id.partition(".")[0] for check in found}
    assert not ids & {"provenance", "contents", "system"}
    assert failures(found) == {}


def test_a_signature_is_among_what_decides(tmp_path: Path, whole: Tree, key: Any) -> None:
    path = pack(whole, tmp_path, listed=whole)
    trusted = load_verifier(tmp_path / "key.pub")
    first, _ = checked(path, tmp_path / "1", trusted=trusted)
    assert "provenance.signature" in failures(first)
    api.attest(path, key=tmp_path / "key.pem")
    first, _ = checked(path, tmp_path / "2", trusted=trusted)
    assert failures(first) == {}
    assert [check.id for check in first if check.id.startswith("provenance.")] == [
        "provenance.signature",
        "provenance.subject",
        "provenance.materials",
    ]


def test_a_policy_is_checked_later(tmp_path: Path, whole: Tree) -> None:
    options = VerifyOptions(sbom=True)
    first, found = checked(pack(whole, tmp_path, listed=whole), tmp_path, options=options)
    assert not [check for check in first if check.id.startswith("contents.")]
    assert [check.id for check in found if check.id.startswith("contents.")] == ["contents.sbom"]


def test_a_check_that_fails_keeps_the_others(tmp_path: Path, whole: Tree) -> None:
    tree = {path: data for path, data in whole.items() if path != "bin/activate"}
    path = pack(tree, tmp_path, listed=tree)
    beside = path.with_name(path.name.replace(".tar.gz", ".json"))
    beside.mkdir()  # nobody foresaw a folder there
    _, found = checked(path, tmp_path)
    assert "layout.activate" in failures(found)
    assert {"archive.members", "manifest.files"} <= {check.id for check in found}
