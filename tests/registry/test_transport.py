"""Where a registry may lead, and how much it may answer."""

from __future__ import annotations

from pathlib import Path

import pytest

from envbuilder.config.settings import Settings
from envbuilder.errors import StoreError
from envbuilder.registry import transport
from envbuilder.registry.referrers import reading
from tests.helpers.indexes import AUTHORITY
from tests.helpers.registries import (
    Faulty,
    docker_config,
    faulty_registry,
    on,
)
from tests.registry.conftest import BLOB, DATA, long_answer, of

pytestmark = pytest.mark.usefixtures("waits")


def test_answers_without_an_end(faulty: Faulty, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "MOST_ANSWER", 10_000)
    with of(faulty.host) as there:
        for path, code in (("manifests/v1", 200), ("tags/list.*", 200), ("blobs/.*", 500)):
            faulty.faults[:] = [on(f"GET .*{path}", long_answer(code))]
            with pytest.raises(StoreError, match=r"answers with more than 10\.0 kB"):
                (there.manifest("v1"), there.tags(), b"".join(there.read(BLOB)))
    faulty.faults.clear()


def test_redirects_in_a_circle(faulty: Faulty) -> None:
    faulty.faults.append(on("GET .*manifests.*", lambda handler: handler.reply(302, Location=handler.path)))
    with of(faulty.host) as there, pytest.raises(StoreError, match="redirects too often"):
        there.manifest("v1")


@pytest.mark.parametrize(
    "address",
    ["http://[::bad", "ftp://127.0.0.1/x", "http://a b/", "\xff\x9b31m", f"https://{'a' * 64}.org/"],
)
def test_addresses_that_are_none(faulty: Faulty, address: str) -> None:
    faulty.faults.append(on("POST .*", lambda handler: handler.reply(202, Location=address)))
    with of(faulty.host) as there, pytest.raises(StoreError) as raised:
        there.upload(BLOB, reading(DATA))
    assert str(raised.value).isprintable() or "\n" in str(raised.value)
    assert "\x9b" not in str(raised.value)


def test_plain_http_is_spoken_with_no_other_host(faulty: Faulty, login: Path) -> None:
    """The registry is on loopback, and where it leads to is not: ``0.0.0.0`` is this machine all the same."""
    port = faulty.host.rpartition(":")[2]
    elsewhere = f"http://0.0.0.0:{port}"
    leads = [
        on("GET .*", lambda handler: handler.reply(307, Location=f"{elsewhere}{handler.path}")),
        on(
            "GET .*", lambda handler: handler.error(401, WWW_Authenticate=f'Bearer realm="{elsewhere}/token"')
        ),
    ]
    for lead in leads:
        faulty.faults.clear()
        with of(faulty.host) as there:
            assert not there.holds(BLOB.digest)
            faulty.faults.append(lead)
            with pytest.raises(StoreError, match=r"redirects to plain HTTP at 0\.0\.0\.0"):
                there.manifest("v1")
    assert not any(headers.get("Host", "").startswith("0.0.0.0") for headers in faulty.sent)


def test_from_https_to_plain_http(faulty: Faulty, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Settings(cert=AUTHORITY)
    plain = f"http://{faulty.host}"
    with faulty_registry(tls=True) as secure:
        host = secure.host.replace("127.0.0.1", "localhost")
        monkeypatch.setenv("DOCKER_CONFIG", str(docker_config(tmp_path / "docker", host)))
        secure.blobs[BLOB.digest] = DATA
        with of(host, settings) as there:
            assert b"".join(there.read(BLOB)) == DATA
            secure.faults.append(on("GET .*", lambda handler: handler.reply(307, Location=f"{plain}/v2/x")))
            with pytest.raises(StoreError, match="redirects to plain HTTP"):
                list(there.read(BLOB))
            with pytest.raises(StoreError, match="redirects to plain HTTP"):
                there.manifest("v1")
            secure.faults[:] = [on("POST .*", lambda handler: handler.reply(202, Location=f"{plain}/v2/x"))]
            with pytest.raises(StoreError, match="redirects to plain HTTP"):
                there.upload(BLOB, reading(DATA))
            realm = f'Bearer realm="{plain}/token",service="tests"'
            secure.faults[:] = [on("GET .*", lambda handler: handler.error(401, WWW_Authenticate=realm))]
            with pytest.raises(StoreError, match="redirects to plain HTTP"):
                there.manifest("v1")
    assert faulty.requests == []
