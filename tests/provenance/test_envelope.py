from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from envbuilder import api
from envbuilder.archive.extract import extract
from envbuilder.errors import RecipeError
from envbuilder.provenance.envelope import provenance_beside, statement_beside
from tests.helpers.authority import DAY, NOW, write_certificate, write_key
from tests.helpers.provenances import attest_certified, check, edit, failed


def test_the_statement_says_of_what_an_archive_was_made(archive: Path, tmp_path: Path) -> None:
    path = api.attest(archive)
    assert path == statement_beside(archive) == tmp_path / f"{archive.name[:-7]}.statement.json"
    found = json.loads(path.read_text())
    assert (found["_type"], found["predicateType"]) == (
        "https://in-toto.io/Statement/v1",
        "https://slsa.dev/provenance/v1",
    )
    sha256 = extract(archive, tmp_path / "x").sha256
    assert found["subject"] == [{"name": archive.name, "digest": {"sha256": sha256}}]
    definition = found["predicate"]["buildDefinition"]
    assert definition["externalParameters"]["recipe"] == {"name": "tiny", "digest": {"envbuilder": "0" * 64}}
    assert definition["externalParameters"]["lock"]["digest"] == {"sha256": "1" * 64}
    assert [one["name"] for one in definition["resolvedDependencies"]] == [
        "numpy-1.26.4.whl",
        "torch-2.13.0+cpu.whl",
        "cpython",
    ]
    assert found["predicate"]["runDetails"]["builder"]["id"] == "urn:envbuilder:builder"
    before = path.read_bytes()
    assert api.attest(archive, builder="https://ci.example.org/").read_bytes() != before
    assert api.attest(archive).read_bytes() == before


@pytest.mark.parametrize(
    "kind",
    [
        ed25519.Ed25519PrivateKey.generate,
        lambda: ec.generate_private_key(ec.SECP256R1()),
        lambda: ec.generate_private_key(ec.SECP384R1()),
        lambda: rsa.generate_private_key(65537, 2048),
    ],
)
def test_each_kind_of_key_signs_and_is_checked(archive: Path, tmp_path: Path, kind: Any) -> None:
    write_key(tmp_path, "key", kind())
    write_key(tmp_path, "other", kind())
    path = api.attest(archive, key=tmp_path / "key.pem")
    assert path == provenance_beside(archive)
    assert [(one.id, one.status) for one in check(archive, tmp_path / "key.pub")] == [
        ("provenance.signature", "passed"),
        ("provenance.subject", "passed"),
        ("provenance.materials", "passed"),
    ]
    (said,) = failed(archive, tmp_path / "other.pub").values()
    assert "it was signed by " in said
    assert f", not by {tmp_path / 'other.pub'} (" in said


def test_an_expired_certificate_is_refused_in_words(
    archive: Path, tmp_path: Path, key: Any, authority: Any
) -> None:
    attest_certified(archive, tmp_path, key, authority)
    ended = NOW - DAY
    expired = write_certificate(
        tmp_path / "old.crt", key, issuer=authority, issuer_name="authority", begins=NOW - 2 * DAY, ends=ended
    )
    words = f"the certificate of CN=old expired on {ended:%Y-%m-%d %H:%M} UTC"
    (said,) = failed(archive, expired).values()
    assert said == f"{provenance_beside(archive).name}: {words}"
    # Nor does one sign with it; and an authority does not vouch for it.
    with pytest.raises(RecipeError) as caught:
        api.attest(archive, key=tmp_path / "key.pem", certificate=expired)
    assert caught.value.message == f"{expired}: {words}"
    path = provenance_beside(archive)
    signatures = json.loads(path.read_text())["signatures"]
    edit(path, signatures=[{**signatures[0], "certificate": expired.read_text()}])
    (said,) = failed(archive, tmp_path / "authority.crt").values()
    assert said == f"{path.name}: {words}"
