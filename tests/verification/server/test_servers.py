"""A server from another distribution."""

from __future__ import annotations

from pathlib import Path

import pytest

from envbuilder.errors import RecipeError
from envbuilder.store.session import Session
from envbuilder.verification.server import client
from envbuilder.verification.server.servers import SERVERS, ServerChoice
from envbuilder.verification.verify import VerifyRequest, verify
from tests.helpers.plugins import install
from tests.helpers.serving import checks_of_server

SOURCE = """
import contextlib

from envbuilder.errors import VerifyError
from envbuilder.verification.server.process import RunningServer


class Container:
    pythons = ("3.11",)
    release = "25.06"

    def __init__(self, image):
        self.image = image

    def describe(self):
        return f"the container {self.image}"

    @contextlib.contextmanager
    def start(self, repository, *, python, log, options):
        if self.image is None:
            raise VerifyError("no container engine", hint="install one")
        log.write_text(f"serving {repository.name} for Python {python}\\n")
        yield RunningServer(http="127.0.0.1:1", grpc="127.0.0.1:2", log=log, version="2.59.0")


class Containers:
    def find(self, program, session, *, fetch):
        return Container(None if program is None else program.name)
"""


@pytest.fixture
def container(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A distribution with the server ``container``."""
    places = {"envbuilder.servers/container": "Containers"}
    install(tmp_path / "site", monkeypatch, name="acme-server", source=SOURCE, entry_points=places)


def test_those_that_are_built_in_have_the_same_form() -> None:
    assert SERVERS.names() == ("tritonserver",)
    assert callable(SERVERS.get("tritonserver").find)


@pytest.mark.usefixtures("container")
def test_a_server_of_another_distribution_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def ask(running: object, _subject: object, inputs: object) -> dict[str, object]:
        asked.append(running)
        raise ConnectionError("nobody there")

    monkeypatch.setattr(client, "ask_http", ask)
    monkeypatch.setattr(client, "ask_grpc", ask)
    server = SERVERS.get("container").find(Path("triton:25.06"), Session(), fetch=False)
    served = checks_of_server(tmp_path, server, release="25.06").run(tmp_path / "log", 1)
    assert served.server == "the container triton:25.06"
    assert [(check.id, check.status) for check in served.checks] == [
        ("server.start", "passed"),
        ("server.http", "failed"),
        ("server.grpc", "failed"),
    ]
    assert served.checks[0].found.endswith(" s after its start: the container triton:25.06")
    assert "serving models for Python 3.11" in served.checks[1].found
    assert len(asked) == 2


@pytest.mark.usefixtures("container")
def test_one_that_does_not_start_is_a_failed_check(tmp_path: Path) -> None:
    server = SERVERS.get("container").find(None, Session(), fetch=False)
    served = checks_of_server(tmp_path, server).run(tmp_path / "log", 1)
    (check,) = served.checks
    assert (check.id, check.status, check.found, check.fix) == (
        "server.start",
        "failed",
        "no container engine",
        "install one",
    )


@pytest.mark.usefixtures("container")
def test_an_unknown_server_is_told_before_anything_is_verified(tmp_path: Path) -> None:
    with pytest.raises(RecipeError) as raised:
        verify(tmp_path / "x", Session(), VerifyRequest(server=ServerChoice(kind="container1")))
    assert str(raised.value) == (
        "unknown server 'container1'; expected container or tritonserver\n  hint: did you mean 'container'?"
    )
