"""What a server knows better of a model than the verification."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from envbuilder.errors import VerifyError
from envbuilder.verification.live import inputs as sample
from envbuilder.verification.report import Check
from envbuilder.verification.server import client
from envbuilder.verification.server.served_model import ServedModel
from tests.helpers.serving import CONFIG, Quiet, checks_of_server

DECOUPLED = "model_transaction_policy { decoupled: true }"
Read = Callable[[model_config_pb2.ModelConfig], sample.Questions]


def served_config(more: str = "") -> model_config_pb2.ModelConfig:
    return text_format.Parse(CONFIG + more, model_config_pb2.ModelConfig())


def unfit(_: Any) -> sample.Questions:
    raise VerifyError("they do not fit", hint="give others")


def ask_all(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    config: Any,
    *,
    read: Read | None = None,
    questions: sample.Questions | None = None,
    own: bool = True,
) -> list[Check]:
    """Ask a server that has *config* of the model, and answers by both protocols."""
    monkeypatch.setattr(client, "config_of", lambda *_: config)
    for name in ("ask_http", "ask_grpc"):
        monkeypatch.setattr(client, name, lambda *_: [{"y": np.full((len(_[2]["x"]), 2), 3, np.float32)}])
    monkeypatch.setattr(client, "ask_together", lambda *_: ([], 1))
    server = Quiet(binary=Path("/x"), backends=folder, stubs={}, release="pytriton-0.7.0")
    checks = checks_of_server(folder, server, own=own, probed=None, questions=questions)
    (model,) = checks.models
    subject = ServedModel(deployed=replace(model, read_questions=read))
    return list(replace(checks, subjects=lambda: [subject]).run(folder / "log", 1).checks[1:])


@pytest.mark.parametrize(
    ("config", "read", "said"),
    [
        (served_config(), sample.made_up, [("server.http", "passed"), ("server.grpc", "passed")]),
        (served_config(), unfit, [("model.inputs", "failed")]),
        (model_config_pb2.ModelConfig(name="m"), sample.made_up, [("server.grpc", "unknown")]),
        (None, sample.made_up, [("server.grpc", "unknown")]),
    ],
)
def test_a_model_whose_configuration_the_server_completes_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, config: Any, read: Read, said: list[tuple[str, str]]
) -> None:
    checks = ask_all(tmp_path, monkeypatch, config, read=read, questions=sample.NOT_ASKED)
    assert [(check.id, check.status) for check in checks] == said


@pytest.mark.parametrize(("own", "http"), [(True, "omitted"), (False, "passed")])
def test_the_server_says_whether_a_model_is_decoupled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own: bool, http: str
) -> None:
    checks = ask_all(tmp_path, monkeypatch, served_config(DECOUPLED), own=own)
    assert [check.status for check in checks] == [http, "passed"]
