"""The statement of an archive: in-toto's, with SLSA's provenance."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from envbuilder import api
from envbuilder.config.settings import Settings
from envbuilder.errors import IntegrityError
from envbuilder.provenance.statement import (
    BUILD_TYPE,
    BUILDER,
    PREDICATE_TYPE,
    STATEMENT_TYPE,
    make_statement,
    statement_text,
)
from envbuilder.store.local import Store
from envbuilder.store.session import Session
from envbuilder.verification.verify import verify
from tests.helpers.inventories import Package, inventory, manifest_of


def test_what_an_archive_was_made_of() -> None:
    found = make_statement(inventory(Package(name="alpha"), Package(name="beta", version="2.0")))
    assert (found["_type"], found["predicateType"]) == (STATEMENT_TYPE, PREDICATE_TYPE)
    assert found["subject"] == [{"name": "small-aaaaaaaaaaaa.tar.gz", "digest": {"sha256": "a" * 64}}]
    definition = found["predicate"]["buildDefinition"]
    assert definition["buildType"] == BUILD_TYPE
    assert definition["externalParameters"]["recipe"] == {
        "name": "small",
        "digest": {"envbuilder": "1" * 64},
    }
    assert definition["externalParameters"]["lock"] == {
        "name": "pylock.small.toml",
        "digest": {"sha256": "2" * 64},
    }
    assert [(one["uri"], *one["digest"].items()) for one in definition["resolvedDependencies"]] == [
        (
            "pkg:pypi/alpha@1.0?file_name=alpha-1.0-py3-none-any.whl",
            ("sha256", hashlib.sha256(b"alpha").hexdigest()),
        ),
        (
            "pkg:pypi/beta@2.0?file_name=beta-2.0-py3-none-any.whl",
            ("sha256", hashlib.sha256(b"beta").hexdigest()),
        ),
        ("pkg:generic/cpython@3.11.7", ("envbuilder", "3" * 64)),
    ]
    details = found["predicate"]["runDetails"]
    assert details["builder"] == {"id": BUILDER, "version": {"envbuilder": "0.1.0"}}
    (stated,) = details["byproducts"]
    text = manifest_of(Package(name="alpha"), Package(name="beta", version="2.0")).text()
    assert stated == {"name": "manifest", "digest": {"sha256": hashlib.sha256(text.encode()).hexdigest()}}


def test_who_built_it_may_have_a_name() -> None:
    named = make_statement(inventory(), builder="https://ci.example.org/7")
    assert named["predicate"]["runDetails"]["builder"]["id"] == "https://ci.example.org/7"


def test_the_text_that_is_signed_is_the_same_each_time() -> None:
    statement = make_statement(inventory(Package(name="alpha")))
    text = statement_text(statement)
    assert statement_text(dict(reversed(statement.items()))) == text
    assert json.loads(text) == statement
    odd = statement_text({"name": "caf\udce9"})
    assert odd.encode() == b'{\n "name": "caf\\udce9"\n}\n'


def test_the_report_of_a_verification_is_stated_and_only_of_this_archive(
    archive: Path, tmp_path: Path
) -> None:
    report = verify(archive, Session(settings=Settings(), store=Store(root=tmp_path / "store")))
    path = tmp_path / "report.json"
    path.write_text(report.json())
    found = json.loads(api.attest(archive, report=path).read_text())
    (_, stated) = found["predicate"]["runDetails"]["byproducts"]
    assert stated["annotations"]["passed"] is False
    assert stated["annotations"]["failed"] == ["contract.launch"]

    assert report.sha256 is not None
    path.write_text(report.json().replace(report.sha256, "f" * 64))
    with pytest.raises(IntegrityError, match=r"report\.json is about another archive: sha256 ffff"):
        api.attest(archive, report=path)
    path.write_text("{}")
    with pytest.raises(IntegrityError, match=r"report\.json is not a verification report"):
        api.attest(archive, report=path)
    with pytest.raises(IntegrityError, match=r"gone\.json cannot be read: No such file"):
        api.attest(archive, report=tmp_path / "gone.json")
