"""Which server is asked, when, and what is said where there is none."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tritonclient.grpc import model_config_pb2

from envbuilder.catalog.triton import find_release
from envbuilder.config.settings import Settings
from envbuilder.errors import VerifyError
from envbuilder.progress import SILENT
from envbuilder.store.local import Store
from envbuilder.store.session import Session
from envbuilder.util.crew import Crew, Job
from envbuilder.verification.live.deployed import DeployedModel
from envbuilder.verification.live.launch import Sandbox
from envbuilder.verification.live.model_deployment import ModelChoice
from envbuilder.verification.live.stage import LiveStage
from envbuilder.verification.report import Check
from envbuilder.verification.server.servers import ServerChoice
from envbuilder.verification.server.stage import ServerStage
from envbuilder.verification.server.tritonserver import TritonServer
from envbuilder.verification.static.extracted import open_archive
from tests.helpers.environments import environment, manifest, pack
from tests.helpers.notes import Notes
from tests.verification.server.conftest import program

DIES = """
with open(options["model-repository"] + "/starts", "a") as file:
    file.write("x")
print("E0101 00:00:00.000000 1 x.cc:1] no model")
sys.exit(1)
"""


class Finder:
    """Finds the server that it was given, or says that there is none."""

    def __init__(self, server: TritonServer | None) -> None:
        self.server = server
        self.asked: list[tuple[Path | None, bool]] = []

    def find(self, program: Path | None, session: Session, *, fetch: bool) -> TritonServer:
        self.asked.append((program, fetch))
        if self.server is None:
            raise VerifyError("no server here", hint="fetch one")
        return self.server


@pytest.fixture
def session(tmp_path: Path) -> Session:
    return Session(settings=Settings(), store=Store(root=tmp_path / "store"), reporter=Notes())


@pytest.fixture
def dying(tmp_path: Path) -> TritonServer:
    return program(tmp_path / "server", DIES)


def stage(session: Session, server: TritonServer | None, **choice: Any) -> tuple[ServerStage, Finder]:
    finder = Finder(server)
    return ServerStage(session=session, choice=ServerChoice(**choice), finder=finder), finder


# -- finding it ------------------------------------------------------------------------------------


def test_one_that_can_serve_that_python(session: Session, dying: TritonServer) -> None:
    serving, finder = stage(session, dying)
    found: list[Check] = []
    assert serving.find("3.11", found) is dying
    assert serving.at_hand("3.11") is dying
    assert found == []
    assert finder.asked == [(None, False), (None, False)]


@pytest.mark.parametrize(("ask", "fetch"), [(None, False), (True, True)])
def test_it_is_fetched_where_one_was_asked_for(
    session: Session, dying: TritonServer, tmp_path: Path, ask: bool | None, fetch: bool
) -> None:
    serving, finder = stage(session, dying, ask=ask, program=tmp_path)
    serving.find("3.11", [])
    assert finder.asked == [(tmp_path, fetch)]
    serving.at_hand("3.11")
    assert finder.asked[1] == (tmp_path, False), "what is at hand is not fetched"


def test_none_is_no_failure_unless_one_was_asked_for(session: Session, tmp_path: Path) -> None:
    found: list[Check] = []
    serving, _ = stage(session, None)
    assert serving.find("3.11", found) is None
    assert serving.at_hand("3.11") is None
    assert [(one.id, one.status, one.found) for one in found] == [
        ("server.start", "omitted", "no server here")
    ]
    choices: tuple[dict[str, Any], ...] = ({"ask": True}, {"program": tmp_path})
    for choice in choices:
        serving, _ = stage(session, None, **choice)
        failed: list[Check] = []
        with pytest.raises(VerifyError, match="no server here"):
            serving.find("3.11", failed)
        assert [(one.status, one.fix) for one in failed] == [("failed", "fetch one")]


def test_one_without_a_stub_for_that_python(session: Session, dying: TritonServer) -> None:
    serving, _ = stage(session, dying)
    found: list[Check] = []
    assert serving.find("3.8", found) is None
    assert serving.at_hand("3.8") is None
    assert found[0].found == f"{dying.describe()} has no stub for Python 3.8 (it has 3.11)"
    serving, _ = stage(session, replace(dying, stubs={}))
    serving.find("3.8", found)
    assert found[1].found.endswith("(it has no known ones)")


# -- asking it -------------------------------------------------------------------------------------


@pytest.fixture
def live(tmp_path: Path, session: Session) -> LiveStage:
    tree = environment()
    sandbox = Sandbox.make(tmp_path / "root", isolate=False)
    archive = open_archive(pack(tree, tmp_path, listed=tree), sandbox.environment, lambda _: [], SILENT)
    config = model_config_pb2.ModelConfig(name="own", default_model_filename="model.py")
    model = DeployedModel(
        sandbox=sandbox,
        deployment=None,
        folder=sandbox.root / "models" / "own",
        config=config,
        version="1",
    )
    return LiveStage(
        extracted=archive,
        sandbox=sandbox,
        manifest=manifest(tree),
        releases=[find_release("pytriton-0.7.0")],
        choice=ModelChoice(),
        compile={},
        session=session,
        scratch=tmp_path / "scratch",
        models=[model],
    )


def asked(
    serving: ServerStage, live: LiveStage, work: Callable[[], bool], *, beside: bool
) -> tuple[list[Check], Job[bool]]:
    found: list[Check] = []
    with Crew() as crew:
        probe = crew.start(work, beside=beside)
        serving.check(live, live.manifest, live.scratch, found, probe)
    return found, probe


def starts(live: LiveStage) -> int:
    return len((live.sandbox.root / "models" / "starts").read_text())


def test_a_server_that_fails_alone_is_not_started_again(
    session: Session, dying: TritonServer, live: LiveStage
) -> None:
    serving, _ = stage(session, dying)
    found, _ = asked(serving, live, lambda: True, beside=False)
    assert [(one.id, one.status) for one in found] == [("server.start", "failed")]
    assert "no model" in found[0].found
    assert starts(live) == 1
    assert serving.asked is None
    assert isinstance(session.reporter, Notes)
    assert session.reporter.steps == [f"Serving the model by {dying.describe()}"]


def test_beside_the_probe_it_may_have_lacked_processors(
    session: Session, dying: TritonServer, live: LiveStage
) -> None:
    """It is started again, alone, when the probe has ended."""
    serving, _ = stage(session, dying)
    failed = threading.Event()

    def work() -> bool:
        while not (live.sandbox.root / "models" / "starts").exists():
            failed.wait(0.01)
        return True

    found, probe = asked(serving, live, work, beside=True)
    assert probe.done
    assert starts(live) == 2
    assert [(one.id, one.status) for one in found] == [("server.start", "failed")], "the second one's word"
    assert (live.scratch / "alone" / "server.log").is_file()


def test_without_a_server_nothing_is_started(session: Session, live: LiveStage) -> None:
    serving, _ = stage(session, None)
    found, _ = asked(serving, live, lambda: True, beside=False)
    assert [one.status for one in found] == ["omitted"]
    assert not live.scratch.exists()
