"""Chains as OpenSSL makes them, and what cannot be made by the library that reads them."""

from __future__ import annotations

import base64
import subprocess
from pathlib import Path

import pytest
from cryptography.x509 import load_pem_x509_certificate

from envbuilder.errors import RecipeError, VerifyError
from envbuilder.signing.certificates import certified_by, identities, parse_certificates, signer_name
from envbuilder.signing.keys import load_signer
from envbuilder.signing.verifier import load_certificates, load_verifier
from envbuilder.util import clock

EXTENSIONS = """
[authority]
basicConstraints = critical, CA:TRUE
keyUsage = critical, keyCertSign, cRLSign
[signer]
basicConstraints = CA:FALSE
keyUsage = critical, digitalSignature
extendedKeyUsage = codeSigning
subjectAltName = email:ci@example.org, URI:https://ci.example.org/build
"""


def openssl(folder: Path, *args: str) -> None:
    subprocess.run(["openssl", *args], cwd=folder, check=True, capture_output=True)


def make_authority(folder: Path, digest: str = "-sha256") -> None:
    """Make ``ca.crt``, and ``signer.crt`` by it with this digest."""
    (folder / "extensions").write_text(EXTENSIONS)
    for name in ("ca", "signer"):
        openssl(
            folder, "genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048", "-out", f"{name}.pem"
        )
        openssl(
            folder,
            "req",
            "-new",
            "-key",
            f"{name}.pem",
            "-subj",
            f"/O=Example/CN={name}",
            "-out",
            f"{name}.csr",
        )
    own = ("-extfile", "extensions", "-extensions", "authority", "-out", "ca.crt")
    openssl(folder, "x509", "-req", "-in", "ca.csr", "-signkey", "ca.pem", *own)
    by = ("-CA", "ca.crt", "-CAkey", "ca.pem", "-CAcreateserial", digest)
    into = ("-extfile", "extensions", "-extensions", "signer", "-out", "signer.crt")
    openssl(folder, "x509", "-req", "-in", "signer.csr", *by, *into)


def test_a_chain_of_openssl(tmp_path: Path) -> None:
    make_authority(tmp_path)
    trusted = load_verifier(tmp_path / "ca.crt")
    assert trusted.certificate is not None
    chain = parse_certificates((tmp_path / "signer.crt").read_bytes())
    certified_by(chain, trusted.certificate, clock.now())
    assert signer_name(chain[0]) == "CN=signer,O=Example"
    assert identities(chain[0]) == {
        "CN=signer,O=Example",
        "signer",
        "ci@example.org",
        "https://ci.example.org/build",
    }
    key = load_signer(tmp_path / "signer.pem", {})
    both = tmp_path / "both.crt"
    both.write_bytes((tmp_path / "signer.crt").read_bytes() + (tmp_path / "ca.crt").read_bytes())
    assert load_certificates(both, key) == both.read_text()
    with pytest.raises(RecipeError) as raised:
        load_certificates(tmp_path / "ca.crt", load_signer(tmp_path / "ca.pem", {}))
    assert raised.value.message == (
        f"{tmp_path}/ca.crt: the certificate of CN=ca,O=Example is not for signing code: it names no purpose"
    )


def test_sha1_signs_no_certificate(tmp_path: Path) -> None:
    make_authority(tmp_path, "-sha1")
    chain = parse_certificates((tmp_path / "signer.crt").read_bytes())
    assert chain[0].signature_hash_algorithm is not None
    assert chain[0].signature_hash_algorithm.name == "sha1"
    trusted = load_pem_x509_certificate((tmp_path / "ca.crt").read_bytes())
    with pytest.raises(VerifyError) as raised:
        certified_by(chain, trusted, clock.now())
    assert raised.value.message == (
        "the certificate of CN=signer,O=Example is signed with sha1, which is too weak"
    )


@pytest.mark.parametrize(
    ("field", "said"),
    [
        (b"\x30\x03\x01\x01\xff", "the certificate cannot be read: .*"),  # CA:TRUE becomes nonsense
        (b"\x02\x01\x02", "the certificate cannot be read: .*"),  # its version
    ],
)
def test_bytes_that_are_no_certificate(tmp_path: Path, field: bytes, said: str) -> None:
    make_authority(tmp_path)
    lines = (tmp_path / "ca.crt").read_text().split("-----")[2]
    der = base64.b64decode(lines)
    assert field in der
    broken = base64.b64encode(der.replace(field, field[:1] + b"\x7f" + field[2:], 1)).decode()
    with pytest.raises(VerifyError, match=said):
        parse_certificates(f"-----BEGIN CERTIFICATE-----\n{broken}\n-----END CERTIFICATE-----\n")
