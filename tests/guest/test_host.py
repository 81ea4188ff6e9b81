"""What a model of the user's own is asked in place of a server: with what the server adds, and in its shapes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.own_models import COUNTING, LOOSE, LOOSELY, RESHAPED, RESHAPING, SEQUENCES, write

ASK = """
import json, sys
import numpy as np
from google.protobuf import json_format, text_format
from tritonclient.grpc import model_config_pb2

from envbuilder.guest.host import Host
from envbuilder.verification.live.inputs import stub_config

folder, text = sys.argv[1:]
config = text_format.Parse(open(folder + "/config.pbtxt").read(), model_config_pb2.ModelConfig(name="own"))
host = Host({"model": folder, "version": "1", "file": "model.py", "config": stub_config(config)})
inputs = {name: np.asarray(value, np.float32) for name, value in json.loads(text).items()}
model = host.load_own()
((answer,),) = host.ask(model, [inputs])
((again,),) = host.ask(model, [inputs])
assert all((again[name] == array).all() for name, array in answer.items())  # whatever a model does to its inputs
print(json.dumps({name: [str(array.shape), array.reshape(-1).tolist()] for name, array in answer.items()}))
"""


@pytest.mark.parametrize(
    ("source", "config", "inputs", "answer"),
    [
        (COUNTING, SEQUENCES, '{"X": [[1, 2, 3]]}', '{"Y": ["(1, 3)", [2.0, 3.0, 4.0]]}'),
        (
            LOOSE,
            LOOSELY,
            '{"X": [[1, 2, 3]]}',
            '{"Y": ["(1, 3)", [2.0, 4.0, 6.0]], "NONE": ["(1, 0)", []], "WIDE": ["(1, 3)", [2.0, 4.0, 6.0]]}',
        ),
        (RESHAPING, RESHAPED, '{"X": [[1], [2]]}', '{"Y": ["(2, 1)", [2.0, 3.0]]}'),
        (RESHAPING, RESHAPED, '{"X": [[1]], "SCALE": [[3]]}', '{"Y": ["(1, 1)", [4.0]]}'),
    ],
)
def test_what_a_server_adds_and_how_it_shapes(
    tmp_path: Path, source: str, config: str, inputs: str, answer: str
) -> None:
    folder = write(tmp_path, "own", source, config)
    command = [sys.executable, "-c", ASK, str(folder), inputs]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    assert done.stdout.strip() == answer
