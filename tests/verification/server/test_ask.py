"""What a server's answers are judged to be."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from envbuilder.errors import VerifyError
from envbuilder.verification.live import inputs as sample
from envbuilder.verification.live.run_probe import Subject
from envbuilder.verification.report import Check
from envbuilder.verification.server import ask as serving
from envbuilder.verification.server.tritonserver import RunningServer, TritonServer
from tests.helpers.environments import failures
from tests.helpers.serving import interview


@dataclass(frozen=True, kw_only=True, slots=True)
class Quiet(TritonServer):
    """A server that is ready at once."""

    @contextlib.contextmanager
    def start(self, *_: Any, log: Path, **__: Any) -> Iterator[RunningServer]:
        log.write_text("I0101 said\n")
        yield RunningServer(http="", grpc="", log=log, version="2.51.0")


@dataclass(frozen=True, kw_only=True, slots=True)
class Dead(TritonServer):
    """A server that does not get ready."""

    @contextlib.contextmanager
    def start(self, *_: Any, **__: Any) -> Iterator[RunningServer]:
        yield from self.die()

    def die(self) -> Iterator[RunningServer]:
        raise VerifyError("it died", hint="why")


def hold(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    answer: Any,
    *,
    kind: type[TritonServer] = Quiet,
    **options: Any,
) -> list[Check]:
    """Let both clients answer with *answer* of the batch size."""

    def ask(_running: RunningServer, _subject: Subject, inputs: sample.Inputs) -> sample.Inputs:
        return {"y": answer(len(inputs["x"]))}

    monkeypatch.setattr(serving, "_ask_http", ask)
    monkeypatch.setattr(serving, "_ask_grpc", ask)
    server = kind(binary=Path("/x"), backends=folder, stubs={}, release="pytriton-0.7.0")
    return list(interview(folder, server, **options).hold(folder / "log", 1).checks)


def right(size: int) -> Any:
    return np.full((size, 2), 3, np.float32)


def empty(size: int) -> Any:
    return np.empty(0)


def test_right_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checks = hold(tmp_path, monkeypatch, right)
    assert [(check.id, check.status) for check in checks] == [
        ("server.start", "passed"),
        ("server.http", "passed"),
        ("server.grpc", "passed"),
    ]
    assert checks[0].found.endswith(" s after its start: pytriton-0.7.0 (Triton 2.51.0, release 24.10)")
    assert checks[1].found == "answers by http for batches of 1, 3, 4, as eager torch answers"


def test_wrong_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text, fix = failures(hold(tmp_path, monkeypatch, lambda size: right(size) + (size == 3)))["server.grpc"]
    assert text == "answers are not those of eager torch: batch of 3: y differs from eager by up to 1"
    assert fix == "the same model, environment and inputs give another answer: see the probe's checks"


def test_empty_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checks = hold(tmp_path, monkeypatch, empty, numpy="2.3.1")
    assert failures(checks)["server.http"] == (
        "outputs that came back empty: y",
        "is NumPy 2.3.1 too new for this server's stub? Up to 24.10: numpy<2",
    )


def test_empty_answers_of_a_server_older_than_the_release(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checks = hold(tmp_path, monkeypatch, empty, numpy="2.3.1", release="26.06")
    assert checks[0].found.endswith(", with its stub for Python 3.11; the archive is for 26.06")
    assert (checks[1].status, checks[1].found) == (
        "omitted",
        "pytriton-0.7.0 (Triton 2.51.0, release 24.10) cannot send arrays of NumPy 2.3.1 (y came back empty); "
        "26.06, which the archive is for, can: ask a server of that release",
    )
    assert failures(checks) == {}


def test_answers_that_crossed_by_dlpack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checks = hold(tmp_path, monkeypatch, right, numpy="2.3.1", release="26.06")
    assert checks[1].found == (
        "answers by http for batches of 1, 3, 4, as eager torch answers; pytriton-0.7.0 (Triton 2.51.0, "
        "release 24.10) cannot send arrays of NumPy 2.3.1, tensors crossed by DLPack"
    )


def test_a_request_that_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(size: int) -> Any:
        raise RuntimeError("no route")

    assert failures(hold(tmp_path, monkeypatch, broken))["server.http"] == (
        "no answer by http: RuntimeError: no route\n  | I0101 said",
        "the log says what the model met",
    )


def test_a_server_that_does_not_start(tmp_path: Path) -> None:
    server = Dead(binary=Path("/x"), backends=tmp_path, stubs={})
    served = interview(tmp_path, server).hold(tmp_path / "log", 1)
    assert served.server is None
    assert failures(served.checks) == {"server.start": ("it died", "why")}


class Result:
    """An answer as tritonclient has it when a stub sends the shape and no bytes."""

    def as_numpy(self, name: str) -> Any:
        return np.frombuffer(b"", np.float32).reshape(1, 16)


def test_the_clients_refusal_of_an_empty_answer_is_one() -> None:
    assert serving.array_of(Result(), "y").size == 0
