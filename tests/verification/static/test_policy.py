from __future__ import annotations

import json
from pathlib import Path

import pytest

from envbuilder.errors import RecipeError
from envbuilder.progress import SILENT
from envbuilder.recipe.load import load_recipe
from envbuilder.recipe.model import AuditOptions, LicenceOptions, VerifyOptions
from envbuilder.verification.report import Check
from envbuilder.verification.static.extracted import open_archive
from envbuilder.verification.static.policy import check_contents
from tests.helpers.environments import SITE, environment, pack
from tests.inventory.test_osv import record


def checks(folder: Path, options: VerifyOptions, **more: bytes) -> dict[str, Check]:
    tree = environment()
    info = f"{SITE}/torch-2.13.0+cpu.dist-info/METADATA"
    tree[info] = (
        b"Metadata-Version: 2.4\nName: torch\nVersion: 2.13.0+cpu\nLicense-Expression: BSD-3-Clause\n"
    )
    tree.update({path.replace("__", "/"): content for path, content in more.items()})
    archive = pack(tree, folder, listed=tree)
    (folder / "x").mkdir()
    opened = open_archive(archive, folder / "x", lambda _: [], SILENT)
    return {one.id: one for one in check_contents(opened, options)}


def test_nothing_is_asked_that_the_recipe_does_not_ask(tmp_path: Path) -> None:
    assert checks(tmp_path, VerifyOptions()) == {}


def test_an_sbom(tmp_path: Path) -> None:
    found = checks(tmp_path, VerifyOptions(sbom=True))["contents.sbom"]
    assert (found.status, found.found) == ("passed", "3 components, written as CycloneDX 1.6")


def test_licences(tmp_path: Path) -> None:
    options = VerifyOptions(
        licences=LicenceOptions(allow=("BSD-*", "Python-2.0"), packages={"numpy": "BSD-3-Clause"})
    )
    found = checks(tmp_path, options)["contents.licences"]
    assert (found.status, found.found) == ("failed", "cpython: says no licence")


def test_licences_that_nobody_says_are_a_warning_where_some_are_only_denied(tmp_path: Path) -> None:
    options = VerifyOptions(licences=LicenceOptions(deny=("GPL-*",)))
    found = checks(tmp_path, options)["contents.licences"]
    assert (found.status, found.found) == ("warning", "cpython says no licence; numpy says no licence")


def test_advisories(tmp_path: Path) -> None:
    database = tmp_path / "db.json"
    database.write_text(json.dumps(record({"introduced": "0"}, {"last_affected": "2.13.0"}, name="torch")))
    options = VerifyOptions(audit=AuditOptions(advisories=database))
    found = checks(tmp_path, options)["contents.advisories"]
    assert found.status == "failed"
    assert found.found == "torch 2.13.0+cpu: GHSA-1 (of 1 advisory, the newest of 2026-01-01)"


def test_advisories_that_are_ignored(tmp_path: Path) -> None:
    database = tmp_path / "db.json"
    database.write_text(json.dumps(record({"introduced": "0"}, name="torch")))
    options = VerifyOptions(audit=AuditOptions(advisories=database, ignore=("GHSA-1",)))
    found = checks(tmp_path, options)["contents.advisories"]
    assert (found.status, found.found) == (
        "passed",
        "no matches in 1 advisory, the newest of 2026-01-01; 1 ignored",
    )


def test_a_database_that_is_not_there_fails_the_check(tmp_path: Path) -> None:
    options = VerifyOptions(audit=AuditOptions(advisories=tmp_path / "gone"))
    found = checks(tmp_path, options)["contents.advisories"]
    assert (found.status, found.found) == (
        "failed",
        f"{tmp_path / 'gone'}: no such database of advisories",
    )


def test_a_recipe_asks(tmp_path: Path) -> None:
    path = tmp_path / "recipes" / "a.yaml"
    path.parent.mkdir()
    text = 'triton: "25.06"\ntorch: "2.7.1"\ncuda: cpu\nverify:\n  sbom: true\n'
    more = (
        "  licences: {deny: [GPL-*], packages: {alpha: MIT}}\n  audit: {advisories: ../db, ignore: [CVE-1]}\n"
    )
    path.write_text(text + more)
    assert load_recipe(path).verify == VerifyOptions(
        sbom=True,
        licences=LicenceOptions(deny=("GPL-*",), packages={"alpha": "MIT"}),
        audit=AuditOptions(advisories=tmp_path / "db", ignore=("CVE-1",)),
    )


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (
            "licences: {alow: [MIT]}",
            "6: unknown key `verify.licences.alow`, did you mean `verify.licences.allow`?",
        ),
        ("licences: {packages: {alpha: 1}}", "6: `verify.licences.packages.alpha` is not a text"),
        ("audit: {ignore: [CVE-1]}", "6: missing key `verify.audit.advisories`"),
        ("sbom: maybe", "6: `verify.sbom` is"),
    ],
)
def test_what_a_recipe_cannot_ask(tmp_path: Path, line: str, said: str) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(f'triton: "25.06"\ntorch: "2.7.1"\ncuda: cpu\n\nverify:\n  {line}\n')
    with pytest.raises(RecipeError) as caught:
        load_recipe(path)
    assert said in caught.value.message
