"""When something was signed: an authority's word for it, and nobody else's."""

from __future__ import annotations

import base64
import datetime
import json
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from envbuilder import api
from envbuilder.errors import VerifyError
from envbuilder.provenance.envelope import provenance_beside
from envbuilder.signing.dsse import Signer, check_envelope, parse_envelope
from envbuilder.signing.keys import load_signer
from envbuilder.signing.timestamps import timestamp_request
from envbuilder.signing.verifier import load_verifier
from envbuilder.util import clock
from tests.helpers.authority import DAY, NOW, write_certificate, write_key
from tests.helpers.environments import environment, pack
from tests.helpers.timestamps import Authority, answering


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    tree = environment()
    return pack(tree, tmp_path, listed=tree)


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("tsa") / "tsa")


@pytest.fixture(autouse=True)
def _signer(tmp_path: Path) -> None:
    """An authority of signers, and a signer whose certificate is valid for a day."""
    root, key = write_key(tmp_path, "ca"), write_key(tmp_path, "signer")
    write_certificate(tmp_path / "ca.crt", root, authority=True, ends=NOW + 900 * DAY)
    write_certificate(tmp_path / "signer.crt", key, issuer=root, issuer_name="ca")


def attest(archive: Path, url: str | None) -> dict[str, Any]:
    folder = archive.parent
    api.attest(archive, key=folder / "signer.pem", certificate=folder / "signer.crt", timestamp=url)
    found: dict[str, Any] = json.loads(provenance_beside(archive).read_text())
    return found


def check(archive: Path, authority: Path | None) -> Signer:
    trusted = load_verifier(archive.parent / "ca.crt", None, authority)
    return check_envelope(parse_envelope(provenance_beside(archive).read_bytes()), trusted)


def later(monkeypatch: pytest.MonkeyPatch, days: int) -> None:
    monkeypatch.setattr(clock, "now", lambda: NOW + days * DAY)


EXPIRED = "the certificate of CN=signer expired on "


def test_what_was_signed_in_time_counts_afterwards(
    archive: Path, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    with answering(authority.answer) as url:
        envelope = attest(archive, url)
    assert len(envelope["signatures"][0]["rfc3161Timestamps"]) == 1
    assert str(check(archive, authority.certificate)) == "CN=signer, certified by CN=ca"
    later(monkeypatch, 500)
    assert check(archive, authority.certificate).name == "CN=signer"
    with pytest.raises(VerifyError) as raised:
        check(archive, None)
    assert raised.value.message.startswith(EXPIRED), "who made the timestamp is not trusted"
    assert raised.value.hint is not None
    assert "--timestamp-authority" in raised.value.hint


def test_without_a_timestamp_the_certificate_must_be_valid_now(
    archive: Path, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    attest(archive, None)
    assert check(archive, authority.certificate).name == "CN=signer"
    later(monkeypatch, 500)
    with pytest.raises(VerifyError) as raised:
        check(archive, authority.certificate)
    assert raised.value.message.startswith(EXPIRED)
    assert raised.value.message.endswith(" UTC (it has no timestamp; expected one of CN=root)")


def test_a_timestamp_before_the_certificate_began(archive: Path, authority: Authority) -> None:
    """Valid now, not when it was signed."""
    folder = archive.parent
    with answering(authority.answer) as url:
        envelope = attest(archive, url)
    soon = datetime.datetime.now(datetime.timezone.utc).replace(microsecond=0) + datetime.timedelta(hours=1)
    key, root = (load(folder / f"{name}.pem") for name in ("signer", "ca"))
    write_certificate(folder / "signer.crt", key, issuer=root, issuer_name="ca", begins=soon, ends=soon + DAY)
    envelope["signatures"][0]["certificate"] = (folder / "signer.crt").read_text()
    provenance_beside(archive).write_text(json.dumps(envelope))
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(clock, "now", lambda: soon + DAY / 2)
        assert check(archive, None).name == "CN=signer"
        with pytest.raises(VerifyError, match="the certificate of CN=signer is valid from"):
            check(archive, authority.certificate)


def load(path: Path) -> Any:
    return load_signer(path, {})


def stamped(envelope: dict[str, Any], timestamp: bytes) -> str:
    """Return the envelope with another timestamp."""
    envelope["signatures"][0]["rfc3161Timestamps"] = [
        {"signedTimestamp": base64.b64encode(timestamp).decode()}
    ]
    return json.dumps(envelope)


def test_timestamps_that_do_not_count(
    archive: Path, authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    signature = base64.b64decode(attest(archive, None)["signatures"][0]["sig"])
    right = authority.answer(timestamp_request(signature))
    server = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])
    table: list[tuple[bytes, str]] = [
        (b"", "its timestamp cannot be read: "),
        (b"\x30\x00", "its timestamp cannot be read: "),
        (bytes(5000), "its timestamp cannot be read: "),
        (right[:-40], "its timestamp cannot be read: "),
        (right.replace(signature_of(right), bytes(64), 1), "its timestamp is not valid: "),
        (
            authority.answer(timestamp_request(b"another")),
            "its timestamp is not valid: Mismatch between messages",
        ),
        (
            Authority(tmp_path / "stranger").answer(timestamp_request(signature)),
            "its timestamp is not valid: ",
        ),
    ]
    with pytest.raises(Exception, match="ts"):
        # OpenSSL refuses to stamp with such a certificate, and so would whoever reads it.
        Authority(tmp_path / "server", extensions=[(server, True)]).answer(timestamp_request(signature))
    later(monkeypatch, 500)
    for timestamp, said in table:
        provenance_beside(archive).write_text(
            stamped(json.loads(provenance_beside(archive).read_text()), timestamp)
        )
        with pytest.raises(VerifyError) as raised:
            check(archive, authority.certificate)
        assert raised.value.message.startswith(EXPIRED)
        assert f" UTC ({said}" in raised.value.message
    later(monkeypatch, -1)
    provenance_beside(archive).write_text(stamped(json.loads(provenance_beside(archive).read_text()), right))
    with pytest.raises(VerifyError, match="in the future"):
        check_to_come(archive, authority)


def signature_of(timestamp: bytes) -> bytes:
    """Return some bytes of the middle of the authority's signature, which ends a timestamp."""
    return timestamp[-100:-36]


def check_to_come(archive: Path, authority: Authority) -> None:
    """Check with a certificate that had ended already."""
    folder = archive.parent
    begins, ends = NOW - 9 * DAY, NOW - 8 * DAY
    key, root = (load(folder / f"{name}.pem") for name in ("signer", "ca"))
    write_certificate(folder / "signer.crt", key, issuer=root, issuer_name="ca", begins=begins, ends=ends)
    envelope = json.loads(provenance_beside(archive).read_text())
    envelope["signatures"][0]["certificate"] = (folder / "signer.crt").read_text()
    provenance_beside(archive).write_text(json.dumps(envelope))
    check(archive, authority.certificate)
