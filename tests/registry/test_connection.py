"""What registries may answer with, and what a client must not do then, against a small registry on loopback."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from envbuilder.errors import StoreError
from envbuilder.registry.documents import MANIFEST
from envbuilder.registry.referrers import reading
from tests.helpers.registries import (
    PASSWORD,
    USER,
    Faulty,
    Handler,
    on,
    times,
)
from tests.registry.conftest import BLOB, DATA, of, read, upload

pytestmark = pytest.mark.usefixtures("waits")


def test_a_registry_that_is_busy_says_for_how_long(faulty: Faulty, waits: list[float]) -> None:
    faulty.faults.append(times(2, on("PATCH .*", lambda handler: handler.error(429, Retry_After="7"))))
    upload(faulty)
    faulty.faults[:] = [times(1, on("GET .*blobs.*", lambda handler: handler.error(429, Retry_After="9")))]
    assert read(faulty) == DATA
    assert waits == [7.0, 7.0, 9.0]
    faulty.faults[:] = [on("(GET|PATCH) .*blobs.*", lambda handler: handler.error(429, Retry_After="3600"))]
    for act in (upload, read):
        with pytest.raises(StoreError, match="asks to wait 3600 s"):
            act(faulty)
    # What is no number of seconds, and no date, is not waited for.
    faulty.faults[:] = [times(1, on("GET .*blobs.*", lambda handler: handler.error(429, Retry_After="\xb2")))]
    assert read(faulty) == DATA
    assert waits[3] < 5


# -- elsewhere ---------------------------------------------------------------------------------------


def test_a_login_goes_to_nobody_else(faulty: Faulty, another: Faulty, login: Path) -> None:
    """Storage is often another host: redirects of downloads, and addresses of uploads."""
    another.blobs[BLOB.digest] = DATA
    another.sent.clear()

    def lead(handler: Handler) -> None:
        handler.reply(307, Location=f"http://{another.host}{handler.path}")

    def upload_there(handler: Handler) -> None:
        another.uploads["u"] = bytearray()
        handler.reply(202, Location=f"http://{another.host}/v2/a/blobs/uploads/u")

    faulty.faults += [on("(GET|HEAD) .*(blobs|manifests).*", lead), on("POST .*", upload_there)]
    with of(faulty.host) as there:
        assert b"".join(there.read(BLOB)) == DATA
        assert there.holds(BLOB.digest)
        assert there.manifest("v1") is None
        there.upload(BLOB, reading(DATA))
    assert len(another.sent) >= 4
    assert not any("authorization" in {name.lower() for name in headers} for headers in another.sent)
    assert all("Authorization" in headers for headers in faulty.sent[-3:])


# -- tokens ------------------------------------------------------------------------------------------


def service(faulty: Faulty, answer: Callable[[Handler], object]) -> list[str]:
    """Have the registry ask for a token of its service; return what the service was sent."""
    asked: list[str] = []

    def bearer(handler: Handler) -> bool:
        if handler.path.startswith("/token"):
            asked.append(f"{handler.command} {handler.path} {handler.body.decode()}")
            answer(handler)
        elif handler.headers.get("Authorization") == "Bearer good" or handler.path == "/v2/":
            return False
        else:
            realm = f'Bearer realm="http://{faulty.host}/token",service="tests"'
            handler.error(401, WWW_Authenticate=realm)
        return True

    faulty.faults.append(bearer)
    return asked


def test_a_refresh_token(faulty: Faulty, login: Path) -> None:
    faulty.faults.clear()
    config = {"auths": {faulty.host: {"identitytoken": "refresh"}}}
    (login / "config.json").write_text(json.dumps(config))
    asked = service(faulty, lambda handler: handler.reply(200, b'{"access_token": "good"}'))
    faulty.manifests["v1"] = (MANIFEST, b"{}")
    with of(faulty.host) as there:
        assert there.manifest("v1") is not None
    (sent,) = asked
    assert sent.startswith("POST /token ")
    assert "refresh_token=refresh" in sent
    assert "grant_type=refresh_token" in sent


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (json.dumps({"token": "hush\r\nX: y"}).encode(), "something other than a token"),
        (json.dumps({"token": "hush\u20ac"}).encode(), "something other than a token"),
        (b'{"token": ["hush"]}', "answered 200, without a token"),
        (b"hush", "answered 200, without a token"),
    ],
)
def test_what_is_no_token_is_not_shown(faulty: Faulty, body: bytes, said: str) -> None:
    service(faulty, lambda handler: handler.reply(200, body))
    with of(faulty.host) as there, pytest.raises(StoreError, match=said) as raised:
        there.manifest("v1")
    assert "hush" not in repr(raised.value)


def test_what_a_registry_says_is_shown_as_text(faulty: Faulty, login: Path) -> None:
    def rude(handler: Handler) -> None:
        handler.error(418, "TEAPOT", "no \x1b[31m way \x9b31m")

    faulty.faults.append(on("GET .*manifests.*", rude))
    with of(faulty.host) as there, pytest.raises(StoreError, match=r"answered 418 .*: TEAPOT no") as raised:
        there.manifest("v1")
    assert not {"\x1b", "\x9b"} & set(str(raised.value))
    assert USER not in str(raised.value)
    assert PASSWORD not in str(raised.value)
