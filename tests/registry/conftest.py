"""A small registry on loopback that does wrong what it is told to, and one blob to send there."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from envbuilder.config.settings import Settings
from envbuilder.registry import connection
from envbuilder.registry import upload as uploading
from envbuilder.registry.documents import LAYER_GZIP, Descriptor, describe
from envbuilder.registry.reference import parse_reference
from envbuilder.registry.referrers import reading
from envbuilder.registry.repository import Repository
from tests.helpers.registries import (
    Faulty,
    Handler,
    docker_config,
    faulty_registry,
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


@pytest.fixture
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


def long_answer(code: int) -> Callable[[Handler], object]:
    return lambda handler: handler.reply(code, b"x" * 20_000)


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
