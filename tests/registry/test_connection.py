"""What registries may answer with, and what a client must not do then, against a small registry on loopback."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from envbuilder.config.settings import Settings
from envbuilder.errors import IntegrityError, StoreError
from envbuilder.registry import connection, transport
from envbuilder.registry import upload as uploading
from envbuilder.registry.connection import PUSH
from envbuilder.registry.documents import INDEX, LAYER_GZIP, MANIFEST, Descriptor, describe, parse_manifest
from envbuilder.registry.reference import parse_reference
from envbuilder.registry.referrers import reading
from envbuilder.registry.repository import Repository
from tests.helpers.indexes import AUTHORITY
from tests.helpers.registries import (
    PASSWORD,
    USER,
    Faulty,
    Handler,
    docker_config,
    faulty_registry,
    on,
    times,
)

DATA = bytes(range(256)) * 40
BLOB = describe(DATA, LAYER_GZIP)


@pytest.fixture(scope="module")
def running() -> Iterator[Faulty]:
    with faulty_registry() as registry:
        yield registry


@pytest.fixture(scope="module")
def another() -> Iterator[Faulty]:
    with faulty_registry() as registry:
        yield registry


@pytest.fixture
def faulty(running: Faulty) -> Faulty:
    for field in dataclasses.fields(Faulty):
        if field.name not in ("host", "lock"):
            value = field.default if field.default_factory is dataclasses.MISSING else field.default_factory()
            setattr(running, field.name, value)
    return running


@pytest.fixture(autouse=True)
def waits(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[float]:
    """What was waited for, instead of waiting. Nobody is logged in."""
    found: list[float] = []
    monkeypatch.setattr(connection, "sleep", found.append)
    monkeypatch.setattr(uploading, "CHUNK", 1000)
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("DOCKER_CONFIG", "REGISTRY_AUTH_FILE", "XDG_RUNTIME_DIR"):
        monkeypatch.delenv(name, raising=False)
    return found


@pytest.fixture
def login(faulty: Faulty, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The registry wants a login, and there is one."""
    folder = docker_config(tmp_path / "docker", faulty.host)
    monkeypatch.setenv("DOCKER_CONFIG", str(folder))

    def guard(handler: Handler) -> bool:
        if handler.headers.get("Authorization") or handler.path == "/v2/":
            return False
        handler.error(401, WWW_Authenticate='Basic realm="tests"')
        return True

    faulty.faults.append(guard)
    return folder


def of(host: str, settings: Settings | None = None) -> Repository:
    return Repository(parse_reference(f"oci://{host}/a"), settings or Settings())


def upload(faulty: Faulty) -> list[int]:
    told: list[int] = []
    with of(faulty.host) as there:
        there.upload(BLOB, reading(DATA), told.append)
    assert faulty.blobs[BLOB.digest] == DATA
    assert sum(told) == len(DATA)
    return told


def read(faulty: Faulty, wanted: Descriptor = BLOB) -> bytes:
    with of(faulty.host) as there:
        return b"".join(there.read(wanted))


# -- uploads -----------------------------------------------------------------------------------------


def keep(handler: Handler, count: int) -> None:
    """Lose what was uploaded, but for *count* bytes, and say that the range does not fit."""
    there = handler.registry.uploads[handler.path.rpartition("/")[2]]
    del there[count:]
    handler.error(416)


def forget(handler: Handler) -> None:
    handler.registry.uploads[handler.path.rpartition("/")[2]] = bytearray()
    del handler.registry.uploads[handler.path.rpartition("/")[2]]
    handler.error(404, "BLOB_UPLOAD_UNKNOWN")


def third(fault: Callable[[Handler], bool]) -> Callable[[Handler], bool]:
    """Let two pass first."""
    passed: list[bool] = []

    def late(handler: Handler) -> bool:
        if handler.command == "PATCH":
            passed.append(True)
        return len(passed) > 2 and fault(handler)

    return late


@pytest.mark.parametrize("kept", [2000, 1500, 0])
def test_an_upload_goes_on_from_what_the_registry_still_has(faulty: Faulty, kept: int) -> None:
    faulty.faults.append(third(times(1, on("PATCH .*", lambda handler: keep(handler, kept)))))
    upload(faulty)
    assert faulty.count("POST .*") == 1


def test_an_upload_that_the_registry_has_forgotten_begins_anew(faulty: Faulty) -> None:
    faulty.faults.append(third(times(1, on("PATCH .*", forget))))
    upload(faulty)
    assert faulty.count("POST .*") == 2


def test_a_registry_that_loses_everything_again_and_again(faulty: Faulty) -> None:
    faulty.faults.append(third(on("PATCH .*", lambda handler: keep(handler, 0))))
    with pytest.raises(StoreError, match="answered 416"):
        upload(faulty)
    assert faulty.count("PATCH .*") < 12


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


@pytest.mark.parametrize(
    ("least", "sizes"), [("3000", [3000, 3000, 3000, 1240]), ("\xb2", [1000] * 10 + [240])]
)
def test_chunks_as_large_as_the_registry_wants(faulty: Faulty, least: str, sizes: list[int]) -> None:
    def begin(handler: Handler) -> None:
        handler.registry.uploads["u"] = bytearray()
        handler.reply(202, Location="/v2/a/blobs/uploads/u", OCI_Chunk_Min_Length=least)

    faulty.faults.append(on("POST .*", begin))
    assert upload(faulty) == sizes
    faulty.faults[:] = [on("POST .*", lambda handler: handler.reply(202, OCI_Chunk_Min_Length="9" * 15))]
    with pytest.raises(StoreError, match="wants chunks of"):
        upload(faulty)


# -- downloads ---------------------------------------------------------------------------------------


def test_a_download_where_ranges_are_unknown(faulty: Faulty) -> None:
    faulty.blobs[BLOB.digest] = DATA

    def half(handler: Handler) -> None:
        handler.reply(200, DATA[:5000], length=len(DATA))
        handler.drop()

    faulty.faults.append(times(1, on("GET .*blobs.*", half)))
    faulty.faults.append(
        lambda handler: (
            "Range" in handler.headers and (handler.error(416), True)[1]  # type: ignore[func-returns-value]  # it answers
        )
    )
    assert read(faulty) == DATA


def test_nothing_is_there_of_no_bytes(faulty: Faulty) -> None:
    empty = describe(b"", LAYER_GZIP)
    with of(faulty.host) as there:
        there.upload(empty, reading(b""))
    assert read(faulty, empty) == b""


def long_answer(code: int) -> Callable[[Handler], object]:
    return lambda handler: handler.reply(code, b"x" * 20_000)


def test_answers_without_an_end(faulty: Faulty, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "MOST_ANSWER", 10_000)
    with of(faulty.host) as there:
        for path, code in (("manifests/v1", 200), ("tags/list.*", 200), ("blobs/.*", 500)):
            faulty.faults[:] = [on(f"GET .*{path}", long_answer(code))]
            with pytest.raises(StoreError, match=r"answers with more than 10\.0 kB"):
                (there.manifest("v1"), there.tags(), b"".join(there.read(BLOB)))
    faulty.faults.clear()


def test_a_digest_that_is_not_that_of_the_bytes(faulty: Faulty) -> None:
    body = b'{"schemaVersion": 2}'
    lie = f"sha256:{'0' * 64}"
    answer = on(
        ".*manifests.*",
        lambda handler: handler.reply(200, body, Docker_Content_Digest=lie, Content_Type=MANIFEST),
    )
    faulty.faults.append(answer)
    with of(faulty.host) as there:
        for wanted in ("v1", lie):
            with pytest.raises(IntegrityError, match="not what its name says"):
                there.manifest(wanted)
        assert there.manifest(describe(body, MANIFEST).digest) is not None


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


def test_a_file_that_became_shorter_ends_the_upload(faulty: Faulty) -> None:
    with of(faulty.host) as there, pytest.raises(IntegrityError, match=r"ends after 2\.0 kB of 10\.2 kB"):
        there.upload(BLOB, reading(DATA[:2000]))
    assert faulty.blobs == {}


# -- what is asked for -------------------------------------------------------------------------------


def with_tokens(faulty: Faulty, allowed: Callable[[list[str]], bool]) -> list[list[str]]:
    """Want tokens, and give them for scopes that are *allowed*; return the scopes that were asked for."""
    asked: list[list[str]] = []

    def bearer(handler: Handler) -> bool:
        if handler.path.startswith("/token"):
            scopes = parse_qs(urlsplit(handler.path).query)["scope"]
            asked.append(scopes)
            if allowed(scopes):
                handler.reply(200, json.dumps({"token": "x".join(map(str, range(len(asked) + 1)))}).encode())
            else:
                handler.error(403)
            return True
        if handler.headers.get("Authorization") or handler.path == "/v2/":
            return False
        handler.error(401, WWW_Authenticate=f'Bearer realm="http://{faulty.host}/token",service="tests"')
        return True

    faulty.faults.append(bearer)
    return asked


def test_a_mount_that_is_refused_is_an_upload(faulty: Faulty) -> None:
    asked = with_tokens(faulty, lambda scopes: len(scopes) == 1)
    with of(faulty.host) as there:
        assert not there.mount(BLOB.digest, "another")
    assert asked == [["repository:a:pull,push", "repository:another:pull"]]
    upload(faulty)


@pytest.mark.parametrize("code", [400, 401, 403, 404, 405])
def test_a_registry_that_does_not_mount(code: int, faulty: Faulty) -> None:
    faulty.faults.append(on(r"POST .*mount=.*", lambda handler: handler.error(code)))
    with of(faulty.host) as there:
        assert not there.mount(BLOB.digest, "another")


def test_who_pushes_asks_for_nothing_less(faulty: Faulty) -> None:
    asked = with_tokens(faulty, lambda scopes: "push" in scopes[0])
    with Repository(parse_reference(f"oci://{faulty.host}/a"), Settings(), access=PUSH) as there:
        assert not there.holds(BLOB.digest)
        assert there.manifest("v1") is None
        assert list(there.pages(f"referrers/{BLOB.digest}")) != []
        there.upload(BLOB, reading(DATA))
    assert asked == [["repository:a:pull,push"]], "one token is enough"


# -- what a manifest is called -----------------------------------------------------------------------


def test_a_manifest_without_a_content_type_is_what_it_says(faulty: Faulty) -> None:
    body = json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": []}).encode()
    faulty.faults.append(on("GET .*/manifests/v1", lambda handler: handler.reply(200, body)))
    with of(faulty.host) as there:
        found = there.manifest("v1")
    assert found is not None
    assert found[0].media_type == INDEX


@pytest.mark.parametrize("kind", [MANIFEST, INDEX, None])
def test_a_document_that_is_both(kind: str | None) -> None:
    """CVE-2021-41190: by what it is called, it would be the one or the other."""
    config = describe(b"{}", "a/b").json()
    document = {"schemaVersion": 2, "config": config, "layers": [], "manifests": []}
    if kind is not None:
        document["mediaType"] = kind
    with pytest.raises(IntegrityError, match="here is ambiguous"):
        parse_manifest(json.dumps(document).encode(), where="here")


# -- answers of several pages ------------------------------------------------------------------------


def test_every_page_is_read_but_not_for_ever(faulty: Faulty) -> None:
    def page(handler: Handler) -> None:
        number = int(parse_qs(urlsplit(handler.path).query).get("page", ["0"])[0])
        link = f'</v2/a/referrers/x?page={number + 1}>; rel="{"last" if number == 3 else "next"}"'
        handler.reply(200, str(number).encode(), Link=link)

    faulty.faults.append(on("GET .*/referrers/.*", page))
    with of(faulty.host) as there:
        assert list(there.pages("referrers/x")) == [b"0", b"1", b"2", b"3"]
        assert len(list(there.pages("referrers/x?page=4"))) == 100
