from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tritonclient.grpc import model_config_pb2
from tritonclient.utils import triton_to_np_dtype

from envbuilder.verification.live.deployed import DeployedModel
from envbuilder.verification.live.launch import Sandbox
from envbuilder.verification.server import client
from envbuilder.verification.server.process import RunningServer


class Result:
    """An answer as tritonclient has it when a stub sends the shape and no bytes."""

    def as_numpy(self, name: str) -> Any:
        return np.frombuffer(b"", np.float32).reshape(1, 16)


def test_the_clients_refusal_of_an_empty_answer_is_one() -> None:
    assert client.array_of(Result(), "y").size == 0


def test_bfloat16_is_float32_whatever_the_client_has_it_as() -> None:
    class Half:
        def as_numpy(self, name: str) -> Any:
            return np.array([1.5, -2], triton_to_np_dtype("BF16"))

    array = client.array_of(Half(), "y")
    assert (array.dtype.name, array.tolist()) == ("float32", [1.5, -2])


@pytest.mark.parametrize("iterative", [False, True])
def test_an_iterative_sequence_is_sent_without_an_end_flag(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, iterative: bool
) -> None:
    sent: dict[str, Any] = {}

    class Client:
        def __init__(self, *_: object, **__: object) -> None:
            pass

        def __enter__(self) -> Client:
            return self

        def __exit__(self, *_: object) -> None:
            pass

        def infer(self, *_: object, **given: Any) -> Any:
            sent.update(given)
            raise OSError("sent")

    monkeypatch.setattr("tritonclient.http.InferenceServerClient", Client)
    config = model_config_pb2.ModelConfig(name="m")
    config.sequence_batching.iterative_sequence = iterative
    sandbox = Sandbox.make(tmp_path / "sandbox", isolate=False)
    deployed = DeployedModel(sandbox=sandbox, deployment=None, folder=tmp_path, config=config, version="1")
    running = RunningServer(http="", grpc="", log=tmp_path / "log", version="")
    with pytest.raises(OSError, match="sent"):
        client.ask_http(running, deployed, {})
    assert (sent["sequence_start"], sent["sequence_end"], sent["sequence_id"]) == (True, not iterative, 1)
