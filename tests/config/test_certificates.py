from __future__ import annotations

import ssl
from pathlib import Path

import pytest

from envbuilder.config.certificates import trusted_certificates
from envbuilder.config.settings import Settings
from envbuilder.errors import RecipeError

HELPERS = Path(__file__).resolve().parents[1] / "helpers"


def test_those_of_the_system_where_none_are_named() -> None:
    assert trusted_certificates(Settings()) is True


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
