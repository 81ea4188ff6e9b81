from __future__ import annotations

import base64
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519, rsa

from envbuilder import api
from envbuilder.archive.extract import extract
from envbuilder.archive.manifest import Manifest
from envbuilder.cli import cli
from envbuilder.config.settings import Settings
from envbuilder.errors import IntegrityError, RecipeError
from envbuilder.provenance.envelope import provenance_beside, statement_beside
from envbuilder.signing.keys import PASSPHRASE, load_signer
from envbuilder.signing.verifier import load_verifier
from envbuilder.store.local import Store
from envbuilder.store.session import Session
from envbuilder.verification.report import Check
from envbuilder.verification.static.provenance import check_provenance
from envbuilder.verification.verify import VerifyRequest, verify
from tests.helpers.authority import DAY, NOW, write_certificate, write_key
from tests.helpers.environments import environment, manifest, pack
from tests.helpers.inventories import manifest_of


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    tree = environment()
    return pack(tree, tmp_path, listed=tree)


@pytest.fixture
def key(tmp_path: Path) -> Any:
    return write_key(tmp_path, "key")


def check(archive: Path, trusted: Path, of: Manifest | None = None) -> list[Check]:
    found = of or manifest(environment())
    sha256 = extract(archive, archive.parent / "x").sha256
    shutil.rmtree(archive.parent / "x")
    return list(check_provenance(archive, sha256, found, load_verifier(trusted)))


def failed(archive: Path, trusted: Path, of: Manifest | None = None) -> dict[str, str]:
    return {one.id: one.found for one in check(archive, trusted, of) if one.status == "failed"}


def edit(path: Path, **values: Any) -> None:
    """Change an envelope by hand."""
    envelope = json.loads(path.read_text())
    envelope.update(values)
    path.write_text(json.dumps(envelope))


def statement_of(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(base64.b64decode(json.loads(path.read_text())["payload"]))
    return found


def call(*args: object, env: dict[str, str] | None = None) -> Result:
    return CliRunner().invoke(cli, [str(arg) for arg in args], env=env)


# -- what is stated --------------------------------------------------------------------------------


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
    with pytest.raises(IntegrityError, match=r"report\.json is of another archive: sha256 ffff"):
        api.attest(archive, report=path)
    path.write_text("{}")
    with pytest.raises(IntegrityError, match=r"report\.json is no report of a verification"):
        api.attest(archive, report=path)
    with pytest.raises(IntegrityError, match=r"gone\.json cannot be read: No such file"):
        api.attest(archive, report=tmp_path / "gone.json")


# -- keys ------------------------------------------------------------------------------------------


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


def test_a_passphrase_comes_from_the_environment(tmp_path: Path) -> None:
    write_key(tmp_path, "key", passphrase="open sesame")
    path = tmp_path / "key.pem"
    load_signer(path, {PASSPHRASE: "open sesame"})
    with pytest.raises(RecipeError) as caught:
        load_signer(path, {})
    assert str(caught.value) == f"the key {path} has a passphrase\n  hint: put it into {PASSPHRASE}"
    with pytest.raises(RecipeError) as caught:
        load_signer(path, {PASSPHRASE: "wrong"})
    assert str(caught.value) == f"the passphrase in {PASSPHRASE} is not that of the key {path}"
    write_key(tmp_path, "bare")
    load_signer(tmp_path / "bare.pem", {PASSPHRASE: "of another key"})


def test_no_option_takes_a_secret() -> None:
    options = [option for command in cli.commands.values() for one in command.params for option in one.opts]
    assert [one for one in options if any(word in one for word in ("pass", "secret", "token"))] == []


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "the key {path} cannot be read: No such file or directory"),
        (b"no key", "{path} is no private key"),
        (b"-----BEGIN ENCRYPTED SIGSTORE PRIVATE KEY-----\n", "{path} is a key of cosign's own"),
    ],
)
def test_what_is_no_private_key(tmp_path: Path, content: bytes | None, said: str) -> None:
    path = tmp_path / "key.pem"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(RecipeError) as caught:
        load_signer(path, {})
    assert caught.value.message == said.format(path=path)


def test_what_is_no_public_key(tmp_path: Path, key: Any) -> None:
    with pytest.raises(RecipeError, match=r"key\.pem is a private key: it signs, and belongs to nobody else"):
        load_verifier(tmp_path / "key.pem")
    (tmp_path / "none.pub").write_bytes(b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n")
    with pytest.raises(RecipeError, match=r"none\.pub is neither a public key nor a certificate"):
        load_verifier(tmp_path / "none.pub")


def test_weak_and_unknown_keys_are_refused(tmp_path: Path) -> None:
    write_key(tmp_path, "short", rsa.generate_private_key(65537, 1024))
    with pytest.raises(RecipeError, match=r"short\.pub is RSA with 1024 bits; at least 2048 are required"):
        load_verifier(tmp_path / "short.pub")
    write_key(tmp_path, "dsa", dsa.generate_private_key(1024))
    with pytest.raises(RecipeError, match=r"dsa\.pem is of an unknown kind"):
        load_signer(tmp_path / "dsa.pem", {})


# -- certificates ----------------------------------------------------------------------------------


@pytest.fixture
def authority(tmp_path: Path) -> Any:
    key = write_key(tmp_path, "authority")
    write_certificate(tmp_path / "authority.crt", key, authority=True)
    return key


def attest_certified(archive: Path, folder: Path, key: Any, authority: Any) -> None:
    write_certificate(folder / "signer.crt", key, issuer=authority, issuer_name="authority")
    api.attest(archive, key=folder / "key.pem", certificate=folder / "signer.crt")


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
        "the certificate of CN=signer was not issued by CN=authority: its signature is not that authority's"
    )


def test_a_signer_is_no_authority(archive: Path, tmp_path: Path, key: Any, authority: Any) -> None:
    write_certificate(tmp_path / "authority.crt", authority, authority=False)
    attest_certified(archive, tmp_path, key, authority)
    (said,) = failed(archive, tmp_path / "authority.crt").values()
    assert said.endswith("the certificate of CN=authority is not an authority's, and not the signer's")


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


def test_a_certificate_that_is_not_valid_yet(archive: Path, tmp_path: Path, key: Any) -> None:
    api.attest(archive, key=tmp_path / "key.pem")
    begins = NOW + DAY
    early = write_certificate(tmp_path / "early.crt", key, begins=begins, ends=NOW + 2 * DAY)
    (said,) = failed(archive, early).values()
    assert said.endswith(f"the certificate of CN=early is valid from {begins:%Y-%m-%d %H:%M} UTC on")


def test_a_certificate_of_another_key_does_not_go_with_a_signature(
    archive: Path, tmp_path: Path, key: Any, authority: Any
) -> None:
    with pytest.raises(RecipeError, match=r"authority\.crt is of another key than the one that signs"):
        api.attest(archive, key=tmp_path / "key.pem", certificate=tmp_path / "authority.crt")
    with pytest.raises(RecipeError, match=r"key\.pub is no certificate"):
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
    assert said.startswith(f"it is of another archive: {other.name} (")
    assert said.endswith(f"; this is {archive.name} ({archive.name[5:17]})")


def test_a_manifest_that_the_statement_does_not_bear_out(archive: Path, tmp_path: Path, key: Any) -> None:
    api.attest(archive, key=tmp_path / "key.pem")
    assert failed(archive, tmp_path / "key.pub", of=manifest_of()) == {
        "provenance.materials": "it states an archive of another recipe, another lock"
    }


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"payload": "%%%"}, "it is no envelope of a statement (DSSE): "),
        ({"signatures": []}, "it was signed by nobody, not by "),
        ({"signatures": None}, "it is no envelope of a statement (DSSE): "),
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
