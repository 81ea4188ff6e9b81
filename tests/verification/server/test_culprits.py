"""One model that ends a server, or holds it up, does not keep the others from being tested."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from tritonclient.grpc import model_config_pb2

from envbuilder.errors import VerifyError
from envbuilder.verification.report import Check
from envbuilder.verification.server import client
from envbuilder.verification.server.culprits import run_without_culprits
from envbuilder.verification.server.process import RunningServer
from envbuilder.verification.server.servers import StartOptions
from envbuilder.verification.server.tritonserver import TritonServer
from tests.helpers.serving import checks_of_server
from tests.verification.server.test_ask import right

DEFAULT = StartOptions()
LINE = 'I1201 09:00:00.000000 9 model_lifecycle.cc:472] "loading: {}:1"\n'


@dataclass(frozen=True, kw_only=True, slots=True)
class Fragile(TritonServer):
    """A server that ends while it loads one of *fatal*."""

    fatal: tuple[tuple[str, ...], ...] = ()
    """Sets of models: it ends if all of a set are loaded."""
    starts: list[tuple[str, ...]]

    @contextlib.contextmanager
    def start(
        self, repository: Path | str, *, python: str, log: Path, options: StartOptions = DEFAULT
    ) -> Iterator[RunningServer]:
        names = [one.partition("=")[2] for one in options.extra_args if one.startswith("--load-model=")]
        if names == ["*"]:
            names = sorted(path.name for path in Path(repository).iterdir())
        self.starts.append(tuple(names))
        log.parent.mkdir(parents=True, exist_ok=True)
        log.write_text("".join(map(LINE.format, names if names != ["m"] else [])))
        if any({*ones} <= {*names} for ones in self.fatal):
            raise VerifyError("it died", hint="why")
        yield RunningServer(http="h", grpc="g", log=log, version="1")


def run(
    folder: Path, monkeypatch: pytest.MonkeyPatch, fatal: tuple[tuple[str, ...], ...], judged: tuple[str, ...]
) -> tuple[list[Check], list[tuple[str, ...]], str | None]:
    """Test the models *judged* of a repository with m, stuck and other; m is loaded by then."""

    def ask(_running: RunningServer, _deployed: Any, inputs: Any) -> Any:
        return [{"y": right(len(inputs["x"]))}]

    monkeypatch.setattr(client, "ask_http", ask)
    monkeypatch.setattr(client, "ask_grpc", ask)
    monkeypatch.setattr(client, "not_ready", lambda *_: None)
    monkeypatch.setattr(client, "config_of", lambda *_: model_config_pb2.ModelConfig())
    starts: list[tuple[str, ...]] = []
    server = Fragile(binary=Path("/x"), backends=folder, stubs={}, fatal=fatal, starts=starts)
    asking = checks_of_server(folder, server)
    (subject,) = asking.subjects()
    models = {}
    for name in ("m", "stuck", "other"):
        config = model_config_pb2.ModelConfig()
        config.CopyFrom(subject.deployed.config)
        config.name = name
        place = folder / "root" / "models" / name
        place.mkdir(parents=True)
        models[name] = replace(subject.deployed, config=config, folder=place)
    subjects = [replace(subject, deployed=models[name]) for name in judged]
    asking = replace(asking, many=True, models=[models[name] for name in judged], subjects=lambda: subjects)
    failed = asking.run(folder / "log", 1)
    assert (failed.server, len(failed.checks)) == (None, 1)
    failed = replace(failed, loading=tuple(name for name in failed.loading if name != "m"))
    served = run_without_culprits(asking, failed, folder, 1)
    return list(served.checks), starts[1:], served.server


def test_the_one_is_told_and_all_others_are_judged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checks, starts, server = run(tmp_path, monkeypatch, (("stuck",),), ("m", "stuck", "other"))
    assert starts == [("m",), ("m", "other"), ("m", "stuck")]
    assert server is not None
    assert [(check.id, check.status, check.found.partition(": ")[0]) for check in checks[1:]] == [
        ("server.model", "passed", "m"),
        ("server.http", "passed", "m"),
        ("server.grpc", "passed", "m"),
        ("server.model", "passed", "other"),
        ("server.http", "passed", "other"),
        ("server.grpc", "passed", "other"),
        ("server.model", "failed", "stuck"),
    ]
    assert (checks[0].id, checks[0].status) == ("server.start", "passed")
    assert checks[0].found.endswith("; without stuck")
    assert checks[-1].found.startswith("stuck: the server does not become ready with it: it died")


def test_some_that_fail_only_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checks, _, server = run(tmp_path, monkeypatch, (("other", "stuck"),), ("m", "stuck", "other"))
    assert (checks[0].id, checks[0].status) == ("server.start", "failed")
    assert {check.status for check in checks[1:]} == {"passed"}
    assert server is not None


@pytest.mark.parametrize(
    ("fatal", "judged"),
    [
        ((("m",),), ("m", "stuck")),  # the others alone do not start
        ((("stuck",),), ("stuck",)),  # there are no others to judge
    ],
)
def test_where_that_explains_nothing(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    fatal: tuple[tuple[str, ...], ...],
    judged: tuple[str, ...],
) -> None:
    checks, starts, server = run(tmp_path, monkeypatch, fatal, judged)
    assert [(check.id, check.status) for check in checks] == [("server.start", "failed")]
    assert len(starts) < 2
    assert server is None
