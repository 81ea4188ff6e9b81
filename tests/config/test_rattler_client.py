from __future__ import annotations

import os
from pathlib import Path

import pytest

from envbuilder.config.condarc import Condarc
from envbuilder.config.rattler_client import make_client
from envbuilder.util.rattler import rattler


@pytest.mark.parametrize(
    "condarc",
    [
        Condarc(),
        Condarc(ssl_verify=False),
        Condarc(proxies={"http": "http://127.0.0.1:9", "https": 'http://"quoted"', "all": "ignored"}),
    ],
)
def test_a_client_of_the_configuration(condarc: Condarc) -> None:
    assert make_client(condarc.ssl_verify, condarc.proxies, 0.2) is not None


def test_certificates_are_named_for_as_long_as_a_client_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    authority = Path(__file__).parents[1] / "helpers" / "authority.pem"
    seen = []
    module = rattler()

    class Config:
        @staticmethod
        def from_toml(text: str) -> object:
            seen.append(os.environ.get("SSL_CERT_FILE"))
            return original(text)

    original = module.Config.from_toml
    monkeypatch.setattr(module, "Config", Config)
    assert make_client(str(authority), {}, 5) is not None
    assert "SSL_CERT_FILE" not in os.environ
    monkeypatch.setenv("SSL_CERT_FILE", "/mine.pem")
    make_client(str(authority), {}, 5)
    assert seen == [str(authority), "/mine.pem"]
    assert os.environ["SSL_CERT_FILE"] == "/mine.pem"
