from __future__ import annotations

import shutil
import ssl
from pathlib import Path

import pytest

from envbuilder.config.certificates import trusted_certificates
from envbuilder.config.settings import Settings
from envbuilder.errors import RecipeError

HELPERS = Path(__file__).resolve().parents[1] / "helpers"


@pytest.fixture
def system(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The file that OpenSSL takes for the system's authorities."""
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    monkeypatch.delenv("SSL_CERT_DIR", raising=False)
    path = tmp_path / "cert.pem"
    paths = ssl.get_default_verify_paths()._replace(openssl_cafile=str(path), openssl_capath=str(tmp_path))
    monkeypatch.setattr(ssl, "get_default_verify_paths", lambda: paths)
    return path


def test_those_of_the_system_where_none_are_named(system: Path) -> None:
    shutil.copyfile(HELPERS / "authority.pem", system)
    assert len(trusted_certificates(Settings()).get_ca_certs()) == 1


def test_those_of_the_system_in_the_midst_of_an_update(system: Path) -> None:
    system.write_text((HELPERS / "authority.pem").read_text()[:-100])
    with pytest.raises(RecipeError, match=rf"^the certificates of this system \({system}\) cannot be read: "):
        trusted_certificates(Settings())


def test_a_file_of_authorities() -> None:
    context = trusted_certificates(Settings(cert=HELPERS / "authority.pem"))
    assert isinstance(context, ssl.SSLContext)
    assert len(context.get_ca_certs()) == 1


def test_a_folder_of_authorities(tmp_path: Path) -> None:
    assert isinstance(trusted_certificates(Settings(cert=tmp_path)), ssl.SSLContext)


def test_a_file_without_any(tmp_path: Path) -> None:
    (tmp_path / "none.pem").write_text("no certificate")
    with pytest.raises(RecipeError, match=r"none\.pem holds no certificates"):
        trusted_certificates(Settings(cert=tmp_path / "none.pem"))
