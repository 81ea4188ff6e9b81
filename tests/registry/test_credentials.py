from __future__ import annotations

import base64
import json
import time
from pathlib import Path

import pytest

from envbuilder.errors import StoreError
from envbuilder.registry import credentials
from envbuilder.registry.credentials import Credentials, find_credentials
from envbuilder.util import process

HELPER = """#!/bin/sh
read host
echo "$host" >> "$0.asked"
case "$host" in
    known) echo '{"ServerURL": "known", "Username": "me", "Secret": "hush"}';;
    token) echo '{"ServerURL": "token", "Username": "<token>", "Secret": "refresh"}';;
    broken) echo 'hush, but no JSON';;
    silent) sleep 60;;
    child) sleep 60 & exit 0;;
    endless) yes hush;;
    failing) echo 'hush' ; echo 'hush' >&2; exit 3;;
    *) echo 'credentials not found in native keychain'; exit 1;;
esac
"""


@pytest.fixture
def home(tmp_path: Path) -> dict[str, str]:
    (tmp_path / "bin").mkdir()
    helper = tmp_path / "bin" / "docker-credential-tests"
    helper.write_text(HELPER)
    helper.chmod(0o755)
    return {"HOME": str(tmp_path), "PATH": f"{tmp_path / 'bin'}:/usr/bin:/bin"}


def write(home: dict[str, str], config: object, place: str = ".docker/config.json") -> None:
    path = Path(home["HOME"]) / place
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(config if isinstance(config, str) else json.dumps(config))


def auth(text: str) -> dict[str, str]:
    return {"auth": base64.b64encode(text.encode()).decode()}


def test_nobody_is_logged_in(home: dict[str, str]) -> None:
    assert find_credentials("host", "a", environ=home) is None
    write(home, {})
    assert find_credentials("host", "a", environ=home) is None


def test_a_login(home: dict[str, str]) -> None:
    write(home, {"auths": {"host:5000": auth("me:pass:word")}})
    assert find_credentials("host:5000", "a", environ=home) == Credentials("me", "pass:word")
    assert find_credentials("host", "a", environ=home) is None


@pytest.mark.parametrize("host", ["docker.io", "index.docker.io", "registry-1.docker.io"])
def test_the_name_of_docker_s_own(home: dict[str, str], host: str) -> None:
    write(home, {"auths": {"https://index.docker.io/v1/": auth("me:hush")}})
    assert find_credentials(host, "library/a", environ=home) == Credentials("me", "hush")


def test_an_identity_token(home: dict[str, str]) -> None:
    write(home, {"auths": {"https://host/v2/": {**auth("me:"), "identitytoken": "refresh"}}})
    assert find_credentials("host", "a", environ=home) == Credentials("me", "", "refresh")


def test_podman_s_file_and_its_namespaces(home: dict[str, str]) -> None:
    auths = {"host": auth("all:1"), "host/team": auth("team:2"), "host/team/a": auth("a:3")}
    write(home, {"auths": auths}, "run/containers/auth.json")
    environ = {**home, "XDG_RUNTIME_DIR": f"{home['HOME']}/run"}
    assert find_credentials("host", "team/a", environ=environ) == Credentials("a", "3")
    assert find_credentials("host", "team/b", environ=environ) == Credentials("team", "2")
    assert find_credentials("host", "other", environ=environ) == Credentials("all", "1")


def test_helpers(home: dict[str, str]) -> None:
    write(home, {"credHelpers": {"known": "tests", "token": "tests"}, "auths": {"known": auth("not:this")}})
    assert find_credentials("known", "a", environ=home) == Credentials("me", "hush")
    assert find_credentials("token", "a", environ=home) == Credentials("", "", "refresh")
    write(home, {"credsStore": "tests"})
    assert find_credentials("known", "a", environ=home) == Credentials("me", "hush")
    assert find_credentials("unknown", "a", environ=home) is None


@pytest.mark.parametrize(
    ("host", "said"),
    [("broken", "did not answer with credentials"), ("failing", "failed with exit code 3")],
)
def test_a_helper_that_fails_tells_nothing(home: dict[str, str], host: str, said: str) -> None:
    write(home, {"credsStore": "tests"})
    with pytest.raises(StoreError, match=said) as raised:
        find_credentials(host, "a", environ=home)
    assert "hush" not in str(raised.value)


@pytest.mark.parametrize(
    ("host", "said"),
    [("silent", "ran out of time"), ("child", "ran out of time"), ("endless", "wrote more than 1.0 MB")],
)
def test_a_helper_without_an_end_is_stopped(
    home: dict[str, str], monkeypatch: pytest.MonkeyPatch, host: str, said: str
) -> None:
    monkeypatch.setattr(credentials, "SECONDS", 0.5 if host != "endless" else 30.0)
    monkeypatch.setattr(process, "MOST_OUTPUT", 2**20)
    write(home, {"credsStore": "tests"})
    begin = time.monotonic()
    with pytest.raises(StoreError, match=rf"^docker-credential-tests {said}, and was stopped") as raised:
        find_credentials(host, "a", environ=home)
    assert time.monotonic() - begin < 20
    assert "hush" not in str(raised.value)


def test_a_helper_that_is_not_there(home: dict[str, str]) -> None:
    write(home, {"credsStore": "gone"})
    with pytest.raises(
        StoreError, match=r"^docker-credential-gone, which docker's config\.json names, is not installed"
    ):
        find_credentials("host", "a", environ=home)
    write(home, {"credsStore": "../gone"})
    with pytest.raises(StoreError, match="is no name"):
        find_credentials("host", "a", environ=home)


@pytest.mark.parametrize(
    "config",
    [
        "hush",
        {"auths": "hush"},
        {"auths": {"host": "hush"}},
        {"auths": {"host": {"auth": "hush!"}}},
        {"auths": {"host": {"auth": base64.b64encode(b"hush").decode()}}},
        {"auths": {"host": {"auth": ["hush"]}}},
        {"credHelpers": {"host": ["hush"]}},
        {"auths": {"host": {"username": "hush", "password": "\ud800"}}},
        {"auths": {"host": {"identitytoken": "hush\ud800"}}},
    ],
)
def test_a_file_that_is_wrong_is_not_shown(home: dict[str, str], config: object) -> None:
    write(home, config)
    with pytest.raises(StoreError) as raised:
        find_credentials("host", "a", environ=home)
    assert "hush" not in str(raised.value)
    assert base64.b64encode(b"hush").decode() not in str(raised.value)
    assert "docker login host" in str(raised.value)


def test_nothing_of_them_is_shown() -> None:
    found = Credentials("me", "hush", "refresh")
    assert repr(found) == "Credentials()"
