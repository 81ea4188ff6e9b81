from __future__ import annotations

import base64
import json
import subprocess
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result
from cryptography.hazmat.primitives.asymmetric import ec

from envbuilder import api
from envbuilder.cli import cli
from envbuilder.cli.commands import VERBS
from envbuilder.config.settings import Settings
from envbuilder.errors import IntegrityError, RecipeError
from envbuilder.provenance.envelope import provenance_beside, statement_beside
from envbuilder.signing.verifier import load_verifier
from envbuilder.store.local import Store
from envbuilder.store.session import Session
from envbuilder.verification.verify import VerifyRequest, verify
from tests.helpers.authority import DAY, NOW, write_certificate, write_key
from tests.helpers.environments import environment, pack
from tests.helpers.inventories import manifest_of
from tests.provenance.conftest import attest_certified, edit, failed


def statement_of(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(base64.b64decode(json.loads(path.read_text())["payload"]))
    return found


def call(*args: object, env: dict[str, str] | None = None) -> Result:
    return CliRunner().invoke(cli, [str(arg) for arg in args], env=env)


# -- what is stated --------------------------------------------------------------------------------


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


# -- keys ------------------------------------------------------------------------------------------


def test_names_that_are_no_utf_8(tmp_path: Path, key: Any) -> None:
    tree = environment() | {"lib/caf\udce9": b"x"}
    packed = pack(tree, tmp_path, listed=tree)
    archive = packed.rename(packed.with_name(f"caf\udce9-{packed.name}"))
    signed = api.attest(archive, key=tmp_path / "key.pem")
    assert statement_of(signed)["subject"][0]["name"] == archive.name


def test_openssl_agrees_about_a_signature(archive: Path, tmp_path: Path) -> None:
    write_key(tmp_path, "key", ec.generate_private_key(ec.SECP256R1()))
    envelope = json.loads(api.attest(archive, key=tmp_path / "key.pem").read_text())
    payload, kind = base64.b64decode(envelope["payload"]), envelope["payloadType"].encode()
    signed = tmp_path / "signed"
    signed.write_bytes(b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload))
    (tmp_path / "sig").write_bytes(base64.b64decode(envelope["signatures"][0]["sig"]))
    check_it = [
        "openssl",
        "dgst",
        "-sha256",
        "-verify",
        tmp_path / "key.pub",
        "-signature",
        tmp_path / "sig",
        signed,
    ]
    done = subprocess.run([*map(str, check_it)], capture_output=True, text=True)
    assert (done.stdout, done.returncode) == ("Verified OK\n", 0)


def test_a_bundle_of_sigstore_is_read(archive: Path, tmp_path: Path, key: Any) -> None:
    path = api.attest(archive, key=tmp_path / "key.pem")
    envelope = json.loads(path.read_text())
    del envelope["signatures"][0]["keyid"]  # cosign names none
    path.write_text(
        json.dumps({"mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json", "dsseEnvelope": envelope})
    )
    assert failed(archive, tmp_path / "key.pub") == {}


def test_no_option_takes_a_secret() -> None:
    commands = [cli.get_command(click.Context(cli), verb) for verb in VERBS]
    options = [option for command in commands if command for one in command.params for option in one.opts]
    assert len(options) > 60
    assert [one for one in options if any(word in one for word in ("pass", "secret", "token"))] == []


def test_what_is_no_public_key(tmp_path: Path, key: Any) -> None:
    with pytest.raises(RecipeError, match=r"key\.pem is a private key; expected a public key"):
        load_verifier(tmp_path / "key.pem")
    (tmp_path / "none.pub").write_bytes(b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n")
    with pytest.raises(RecipeError, match=r"none\.pub is neither a public key nor a certificate"):
        load_verifier(tmp_path / "none.pub")


# -- certificates ----------------------------------------------------------------------------------


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


def test_a_certificate_of_another_key_does_not_go_with_a_signature(
    archive: Path, tmp_path: Path, key: Any, authority: Any
) -> None:
    with pytest.raises(RecipeError, match=r"authority\.crt is for another key than the signing key"):
        api.attest(archive, key=tmp_path / "key.pem", certificate=tmp_path / "authority.crt")
    with pytest.raises(RecipeError, match=r"key\.pub is not a certificate"):
        api.attest(archive, key=tmp_path / "key.pem", certificate=tmp_path / "key.pub")


# -- what is refused -------------------------------------------------------------------------------


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


# -- verify ----------------------------------------------------------------------------------------


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


def test_the_commands(archive: Path, tmp_path: Path, key: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    unsigned = call("attest", "-q", archive)
    assert unsigned.stdout == (
        f"wrote {statement_beside(archive)}; sign it, for instance with `cosign attest-blob --statement`\n"
    )
    result = call("verify", "-q", "--no-server", archive, "--provenance", "key.pub")
    assert result.exit_code == 7
    assert result.stderr == "error: 1 check failed: provenance.signature\n"
    signed = call("attest", "-q", archive, "--key", "key.pem")
    assert signed.stdout == f"wrote {provenance_beside(archive)}\n"
    assert call("attest", archive, "--certificate", "key.pub").exit_code == 2
    wrong = call("verify", "-q", archive, "--provenance", "gone.pub")
    assert (wrong.exit_code, wrong.stderr) == (
        2,
        "error: the key gone.pub cannot be read: No such file or directory\n",
    )
