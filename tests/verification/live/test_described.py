"""What no server takes of a configuration."""

from __future__ import annotations

from pathlib import Path

import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from envbuilder.verification.live.described import find_fault
from tests.helpers.own_models import FIRST, FLOATS, STATES

X, Y = (line + "\n" for line in FLOATS.strip().split("\n")[1:])


def fault(folder: Path, text: str) -> str | None:
    found = find_fault(text_format.Parse(text, model_config_pb2.ModelConfig()), folder)
    return None if found is None else found[0]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (FLOATS.replace("4", "-1"), "max_batch_size is -1"),
        (
            FLOATS + "dynamic_batching { preferred_batch_size: [ 4, 8 ] }",
            "dynamic_batching prefers batches of 8, and max_batch_size is 4",
        ),
        (
            FLOATS + "dynamic_batching { priority_levels: 3 }",
            "dynamic_batching has 3 priority levels, and its default is 0",
        ),
        (FLOATS.replace('name: "X"', ""), "input '' has no name"),
        (X + Y.replace("data_type: TYPE_FP32", ""), "output 'Y' has no data_type"),
        (X.replace(" 3 ", " ") + Y, "input 'X' has no dims"),
        (
            X + Y.replace(" 3 ", " -1, 0 "),
            "output 'Y' has the dimension 0: a server takes 1 and more, and -1 for any",
        ),
        (X + X + Y, "input 'X' is described 2 times: no request can be sent"),
        (
            FLOATS + 'batch_input [ { kind: BATCH_ELEMENT_COUNT target_name: "N" source_input: "Z" } ]',
            "batch_input has the source 'Z', which is no input",
        ),
        (STATES, "initial_state of 'TOTAL' is read from initial_state/first, which does not exist"),
        (STATES.replace('"first" } }', '"../first" } }'), "initial_state of 'TOTAL' is read from "),
        (FLOATS + "model_repository_agents { }", "model_repository_agents is empty, which ends the server"),
    ],
)
def test_what_no_server_takes(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "first").write_bytes(b"")
    assert str(fault(tmp_path, text)).startswith(said)


@pytest.mark.parametrize(
    ("text", "curable"),
    [
        (X.replace(" 3 ", " ") + Y, True),
        (FLOATS.replace("data_type: TYPE_FP32", ""), True),
        ("dynamic_batching { preferred_batch_size: [ 4 ] }", True),
        (FLOATS + 'batch_input [ { kind: BATCH_ELEMENT_COUNT target_name: "N" source_input: "Z" } ]', True),
        (FLOATS.replace("[ 3 ]", "[ 0 ]"), False),
        (FLOATS + "dynamic_batching { preferred_batch_size: [ 8 ] }", False),
        (X + X, False),
        (STATES, False),
        ("model_repository_agents { }", False),
    ],
)
def test_what_no_completion_cures(tmp_path: Path, text: str, curable: bool) -> None:
    config = text_format.Parse(text, model_config_pb2.ModelConfig())
    assert find_fault(config, tmp_path) is not None
    assert (find_fault(config, tmp_path, incomplete=True) is None) is curable


def test_what_a_server_takes(tmp_path: Path) -> None:
    (tmp_path / "initial_state").mkdir()
    ((name, data),) = FIRST.items()
    (tmp_path / name).write_bytes(data)
    batching = "dynamic_batching { preferred_batch_size: [ 4 ] priority_levels: 3 default_priority_level: 3 }"
    for text in (FLOATS, STATES, FLOATS + batching, X + Y + Y, X.replace(" 3 ", " -1 ") + Y):
        assert fault(tmp_path, text) is None, text
