"""Asking an authority for a timestamp, and what it may answer."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography.x509 import load_pem_x509_certificates

from envbuilder import api
from envbuilder.config.settings import Settings
from envbuilder.errors import RecipeError, VerifyError
from envbuilder.provenance.envelope import provenance_beside
from envbuilder.provenance.timestamp import ask_authority
from envbuilder.signing.timestamps import signing_time
from envbuilder.util import clock
from tests.helpers.timestamps import Authority, answering


@pytest.mark.parametrize(
    ("answer", "status", "said"),
    [
        (lambda _: b"no timestamp", 200, "http://127.0.0.1:{port}/ did not return a timestamp: "),
        (lambda _: b"", 200, "http://127.0.0.1:{port}/ did not return a timestamp: "),
        (
            lambda _: b"\x30\x05\x30\x03\x02\x01\x02",
            200,
            "http://127.0.0.1:{port}/ rejected the request for a timestamp: status 2",
        ),
        (
            lambda _: bytes(10**6),
            200,
            "the timestamp authority http://127.0.0.1:{port}/ does not answer: larger than",
        ),
        (lambda _: b"", 404, "the timestamp authority http://127.0.0.1:{port}/ does not answer: "),
    ],
)
def test_an_authority_that_does_not_answer(answer: Any, status: int, said: str) -> None:
    with answering(answer, status) as url, pytest.raises(RecipeError) as raised:
        ask_authority(url, b"signature", Settings())
    port = url.rstrip("/").rpartition(":")[2]
    assert raised.value.message.startswith(said.format(port=port))


def test_nobody_there() -> None:
    with pytest.raises(
        RecipeError, match=r"the timestamp authority http://127\.0\.0\.1:9/ does not answer: "
    ):
        ask_authority("http://127.0.0.1:9/", b"signature", Settings())


def test_what_it_answers_is_a_timestamp_of_the_signature(tmp_path: Path) -> None:
    authority, asked = Authority(tmp_path / "tsa"), []

    def answer(query: bytes) -> bytes:
        asked.append(query)
        return authority.answer(query)

    with answering(answer) as url:
        timestamp = ask_authority(url, b"signature", Settings())
    (root,) = load_pem_x509_certificates(authority.certificate.read_bytes())
    made = signing_time([timestamp], b"signature", [root])
    assert abs(clock.now() - made) < datetime.timedelta(minutes=1)
    with pytest.raises(VerifyError, match="Mismatch between messages"):
        signing_time([timestamp], b"another", [root])
    assert len(asked) == 1


def test_who_signs_writes_nothing_where_the_authority_does_not_answer(archive: Path, key: Any) -> None:
    with (
        answering(lambda _: b"", 503) as url,
        pytest.raises(RecipeError, match="does not answer: answered 503"),
    ):
        api.attest(archive, key=archive.parent / "key.pem", timestamp=url)
    assert not provenance_beside(archive).exists()


def test_a_password_in_the_address_is_not_shown() -> None:
    with pytest.raises(RecipeError) as raised:
        ask_authority("http://me:secret@127.0.0.1:9/", b"signature", Settings())
    assert "secret" not in str(raised.value)
