"""What is to be patched, and which components it is about."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from envbuilder.errors import IntegrityError, RecipeError
from envbuilder.fleet.patching.subject import Subject, component_of, components_of, read_subject
from envbuilder.lockfile.model import CondaPackage, LockedConda
from tests.fleet.patching.conftest import advisory, lock_of, wheel

BETA = component_of(wheel("beta"))


def subject_of(folder: Path, *records: dict[str, Any]) -> Subject:
    for number, record in enumerate(records):
        (folder / f"{number}.json").write_text(json.dumps(record))
    return read_subject(str(folder / "0.json"), None)


# -- what was named --------------------------------------------------------------------------------


def test_a_version_of_a_package() -> None:
    subject = read_subject("Beta_X==1.0", None)
    assert (subject.name, subject.project, subject.version) == ("Beta_X==1.0", "beta-x", "1.0")
    assert subject.hits(component_of(wheel("beta-x")))
    assert subject.hits(component_of(wheel("Beta.X", "1.0.0")))
    assert subject.hits(component_of(wheel("beta-x", "1.0+cpu")))
    assert not subject.hits(component_of(wheel("beta-x", "1.1")))
    assert not subject.hits(component_of(wheel("beta")))
    assert subject.fixed(BETA) == ()


def test_a_record_in_a_file(tmp_path: Path) -> None:
    subject = subject_of(tmp_path, advisory())
    assert subject.name == "GHSA-9"
    assert subject.hits(BETA)
    assert not subject.hits(component_of(wheel("beta", "1.1")))
    assert not subject.hits(component_of(wheel("alpha")))
    assert subject.fixed(BETA) == ("1.1",)


@pytest.mark.parametrize("name", ["GHSA-9", "CVE-9"])
def test_an_id_or_an_alias_in_a_database(tmp_path: Path, name: str) -> None:
    subject_of(tmp_path, advisory(), {**advisory("gamma"), "id": "GHSA-8", "aliases": []})
    subject = read_subject(name, tmp_path)
    assert subject.name == name
    assert [one.id for one in subject.advisories] == ["GHSA-9"]


def test_what_names_nothing(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"^CVE-1 is neither a file nor PACKAGE==VERSION"):
        read_subject("CVE-1", None)
    subject_of(tmp_path, advisory())
    with pytest.raises(RecipeError, match=r"has no advisory CVE-1\n"):
        read_subject("CVE-1", tmp_path)
    with pytest.raises(RecipeError, match="no such database"):
        read_subject(str(tmp_path / "gone.json"), None)
    (tmp_path / "broken.json").write_text("{")
    with pytest.raises(IntegrityError):
        read_subject(str(tmp_path / "broken.json"), None)


def test_a_version_that_cannot_be_compared_counts_as_hit(tmp_path: Path) -> None:
    subject = subject_of(tmp_path, advisory())
    assert subject.hits(replace(BETA, version="no version"))
    assert subject.fixed(replace(BETA, version="no version")) == ()
    assert not subject.hits(replace(BETA, version="")), "of a version that is not known nothing is told"


# -- what a lock names -----------------------------------------------------------------------------


def conda(name: str, version: str) -> CondaPackage:
    filename = f"{name}-{version}-0.conda"
    return CondaPackage(
        name=name,
        version=version,
        filename=filename,
        sha256="2" * 64,
        size=1,
        build="0",
        channel="c",
        subdir="linux-64",
    )


def test_the_interpreter_and_wheels_of_a_lock(tmp_path: Path) -> None:
    found = list(components_of(lock_of(tmp_path, wheel("Al.pha"), wheel("beta", "2.0"))))
    assert [(one.kind, one.purl, package) for one, package in found] == [
        ("interpreter", "pkg:generic/cpython@3.11.7", None),
        ("wheel", "pkg:pypi/al-pha@1.0", "Al.pha"),
        ("wheel", "pkg:pypi/beta@2.0", "beta"),
    ]


def test_conda_packages_of_a_lock_and_the_projects_in_them(tmp_path: Path) -> None:
    packages = (conda("python", "3.11.7"), conda("numpy", "1!2.0"))
    provides = (("numpy", "2.0"), ("torch", "2.7.1"))
    lock = replace(lock_of(tmp_path), conda=LockedConda(packages=packages, provides=provides))
    assert [(one.kind, one.purl, package) for one, package in components_of(lock)] == [
        ("interpreter", "pkg:generic/cpython@3.11.7", "python"),
        ("conda", "pkg:conda/python@3.11.7", "python"),
        ("conda", "pkg:conda/numpy@1%212.0", "numpy"),
        ("wheel", "pkg:pypi/numpy@2.0", "numpy"),
        ("wheel", "pkg:pypi/torch@2.7.1", None),
    ]
