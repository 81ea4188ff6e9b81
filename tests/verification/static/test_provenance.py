"""The provenance beside an archive: its signer, its subject, and its agreement with the manifest."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from envbuilder import api
from envbuilder.config.settings import Settings
from envbuilder.provenance.envelope import provenance_beside
from envbuilder.signing.verifier import load_verifier
from envbuilder.store.local import Store
from envbuilder.store.session import Session
from envbuilder.verification.verify import VerifyRequest, verify
from tests.helpers.authority import DAY, NOW, write_certificate, write_key
from tests.helpers.environments import environment, pack
from tests.helpers.inventories import manifest_of
from tests.helpers.provenances import attest_certified, edit, failed, statement_of


def test_a_bundle_of_sigstore_is_read(archive: Path, tmp_path: Path, key: Any) -> None:
    path = api.attest(archive, key=tmp_path / "key.pem")
    envelope = json.loads(path.read_text())
    del envelope["signatures"][0]["keyid"]  # cosign names none
    path.write_text(
        json.dumps({"mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json", "dsseEnvelope": envelope})
    )
    assert failed(archive, tmp_path / "key.pub") == {}


def test_a_certificate_of_the_signer_or_of_its_authority_does(
    archive: Path, tmp_path: Path, key: Any, authority: Any
) -> None:
    attest_certified(archive, tmp_path, key, authority)
    for trusted in ("signer.crt", "authority.crt", "key.pub"):
        assert failed(archive, tmp_path / trusted) == {}, trusted


def test_a_certificate_that_another_issued(archive: Path, tmp_path: Path, key: Any, authority: Any) -> None:
    attest_certified(archive, tmp_path, key, authority)
    write_certificate(tmp_path / "authority.crt", write_key(tmp_path, "impostor"), authority=True)
    (said,) = failed(archive, tmp_path / "authority.crt").values()
    assert said.endswith(
        "the certificate of CN=signer was not issued by CN=authority: its signature is not from that authority"
    )


def test_a_signer_is_no_authority(archive: Path, tmp_path: Path, key: Any, authority: Any) -> None:
    write_certificate(tmp_path / "authority.crt", authority, authority=False)
    attest_certified(archive, tmp_path, key, authority)
    (said,) = failed(archive, tmp_path / "authority.crt").values()
    assert said.endswith("the certificate of CN=authority belongs neither to an authority nor to the signer")


def test_a_certificate_that_is_not_valid_yet(archive: Path, tmp_path: Path, key: Any) -> None:
    api.attest(archive, key=tmp_path / "key.pem")
    begins = NOW + DAY
    early = write_certificate(tmp_path / "early.crt", key, begins=begins, ends=NOW + 2 * DAY)
    (said,) = failed(archive, early).values()
    assert said.endswith(f"the certificate of CN=early is valid from {begins:%Y-%m-%d %H:%M} UTC on")


def test_an_archive_without_provenance(archive: Path, tmp_path: Path, key: Any) -> None:
    name = provenance_beside(archive).name
    assert failed(archive, tmp_path / "key.pub") == {
        "provenance.signature": f"{name}: No such file or directory"
    }


def test_a_statement_edited_by_hand(archive: Path, tmp_path: Path, key: Any) -> None:
    path = api.attest(archive, key=tmp_path / "key.pem")
    statement = statement_of(path)
    statement["predicate"]["runDetails"]["builder"]["id"] = "https://better.example.org/"
    edit(path, payload=base64.b64encode(json.dumps(statement).encode()).decode())
    assert failed(archive, tmp_path / "key.pub") == {
        "provenance.signature": f"{path.name}: it was changed after {tmp_path / 'key.pub'} signed it"
    }


def test_the_provenance_of_another_archive(archive: Path, tmp_path: Path, key: Any) -> None:
    (tmp_path / "other").mkdir()
    tree = environment() | {"lib/more": b"more"}
    other = pack(tree, tmp_path / "other", listed=tree)
    api.attest(other, key=tmp_path / "key.pem").rename(provenance_beside(archive))
    (said,) = failed(archive, tmp_path / "key.pub").values()
    assert said.startswith(f"it describes another archive: {other.name} (")
    assert said.endswith(f"; this is {archive.name} ({archive.name[5:17]})")


def test_a_manifest_that_the_statement_does_not_bear_out(archive: Path, tmp_path: Path, key: Any) -> None:
    api.attest(archive, key=tmp_path / "key.pem")
    assert failed(archive, tmp_path / "key.pub", of=manifest_of()) == {
        "provenance.materials": "it differs from the manifest: another recipe, another lock"
    }


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"payload": "%%%"}, "it is not a DSSE envelope of a statement: "),
        ({"signatures": []}, "it is not signed; expected a signature by "),
        ({"signatures": None}, "it is not a DSSE envelope of a statement: "),
        ({"payloadType": "text/plain"}, "its payload is 'text/plain', not application/vnd.in-toto+json"),
    ],
)
def test_what_is_no_envelope(
    archive: Path, tmp_path: Path, key: Any, values: dict[str, Any], said: str
) -> None:
    edit(api.attest(archive, key=tmp_path / "key.pem"), **values)
    assert said in failed(archive, tmp_path / "key.pub")["provenance.signature"]


def test_verify_runs_nothing_of_an_archive_that_is_not_signed(
    archive: Path, tmp_path: Path, key: Any
) -> None:
    store = Store(root=tmp_path / "store")
    trusted = load_verifier(tmp_path / "key.pub")
    report = verify(archive, Session(settings=Settings(), store=store), VerifyRequest(trusted=trusted))
    assert [one.id for one in report.failures] == ["provenance.signature"]
    assert report.checks[-1].found == "nothing was run: provenance.signature failed"
    api.attest(archive, key=tmp_path / "key.pem")
    again = verify(archive, Session(settings=Settings(), store=store), VerifyRequest(trusted=trusted))
    assert [one.id for one in again.failures] == ["contract.launch"]  # its Python is none: it was run
