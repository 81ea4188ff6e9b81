"""ENABLE_WEIGHT_SHARING: the instances of one model hold its weights once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.helpers.runtime import LINEAR, RUNTIME, config, field, simple
from tests.runtime.conftest import STANDIN, Serve

pytestmark = pytest.mark.torch

LARGE = """
import torch

class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.layers = torch.nn.ModuleList([torch.nn.Linear(2048, 2048) for _ in range(4)])
        self.tied = self.layers[0]
        self.register_buffer("seen", torch.zeros(1))

    def forward(self, x):
        self.seen += 1
        for layer in self.layers:
            x = layer(x)
        return x
"""


@pytest.fixture(autouse=True)
def board(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def shared(**parameters: str) -> dict[str, Any]:
    return simple(ENABLE_WEIGHT_SHARING="true", **parameters)


def weight(model: Any) -> torch.Tensor:
    tensor: torch.Tensor = model.instance.engine.model.eager.linear.weight
    return tensor


def test_the_second_instance_takes_what_the_first_has(serve: Serve, board: Path) -> None:
    serve.write(LINEAR)  # each construction draws other weights
    first, second = serve.load(shared()), serve.load(shared())
    one, two = first.instance.engine.model.eager.linear, second.instance.engine.model.eager.linear
    assert torch.equal(one.weight, two.weight)
    assert torch.equal(one.bias, two.bias)
    assert len(list(board.iterdir())) == 1
    x = np.ones((2, 4), np.float32)
    np.testing.assert_array_equal(first.infer(x=x)["y"], second.infer(x=x)["y"])
    first.finalize()
    assert list(board.iterdir()) == []
    np.testing.assert_array_equal(second.infer(x=x)["y"], two(torch.from_numpy(x)).detach().numpy())


def test_a_buffer_that_is_written_to_is_ones_own(serve: Serve) -> None:
    serve.write(LINEAR)
    first, second = serve.load(shared()), serve.load(shared())
    before = first.instance.engine.model.eager.linear.bias.clone()
    with torch.no_grad():
        second.instance.engine.model.eager.linear.bias += 1
    assert torch.equal(first.instance.engine.model.eager.linear.bias, before)
    third = serve.load(shared())
    assert torch.equal(third.instance.engine.model.eager.linear.bias, before)


def test_other_parameters_are_other_weights(serve: Serve) -> None:
    serve.write(LINEAR)
    first, second = serve.load(shared()), serve.load(shared(DTYPE="bfloat16"))
    assert weight(second).dtype is torch.bfloat16
    assert not torch.equal(weight(first).bfloat16(), weight(second))


def test_other_files_are_other_weights(serve: Serve) -> None:
    serve.write(LINEAR)
    first = serve.load(shared())
    serve.write(LINEAR + "\n")
    second = serve.load(shared())
    assert not torch.equal(weight(first), weight(second))


def test_the_offer_of_an_instance_that_was_killed_is_replaced(serve: Serve, board: Path) -> None:
    serve.write(LINEAR)
    first = serve.load(shared())
    (offer,) = board.iterdir()
    told = json.loads(offer.read_text())
    with subprocess.Popen([sys.executable, "-c", ""]) as gone:
        gone.wait()
    offer.write_text(json.dumps({**told, "pid": gone.pid}))
    second = serve.load(shared())
    assert json.loads(offer.read_text())["pid"] == os.getpid()
    assert not torch.equal(weight(first), weight(second))


def test_the_offer_of_another_user_is_refused(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    serve.write(LINEAR)
    real = os.getuid()
    users = iter([real, real])
    monkeypatch.setattr(os, "getuid", lambda: next(users, real + 1))
    told = serve.error(shared())
    assert told.startswith("ENABLE_WEIGHT_SHARING: ")
    assert told.endswith(" belongs to another user")


def test_without_sharing_each_has_its_own(serve: Serve, board: Path) -> None:
    serve.write(LINEAR)
    first, second = serve.load(simple()), serve.load(simple())
    assert not torch.equal(weight(first), weight(second))
    assert list(board.iterdir()) == []


INSTANCE = """
import sys
sys.path.insert(0, sys.argv[1])
import numpy as np
import triton_python_backend_utils as pb

model = pb.Model(sys.argv[2], sys.argv[3], {config})
model.infer(x=np.ones((1, 2048), np.float32))
assert model.instance.engine.model.eager.tied is model.instance.engine.model.eager.layers[0]
print("ready", flush=True)
sys.stdin.read()
model.finalize()
"""


def memory(pid: int) -> int:
    """Return the bytes that process *pid* alone is answerable for: its own, and its part of what is shared."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    raise AssertionError("no Pss")


@pytest.mark.slow
def test_the_memory_of_two_instances(serve: Serve, board: Path) -> None:
    """Weights of 64 MiB: with sharing, a second instance adds less than 30 % of them; without, all of them."""
    serve.write(LARGE)
    added = {}
    for sharing in ("true", "false"):
        described = config(
            [field("x", "FP32", [2048])],
            [field("y", "FP32", [2048])],
            max_batch_size=1,
            parameters={
                "ENABLE_WEIGHT_SHARING": sharing,
                "TORCH_COMPILE_OPTIONAL_PARAMETERS": '{"disable": true}',
                "NUM_THREADS": "1",
            },
        )
        script = serve.root / "instance.py"
        script.write_text(INSTANCE.format(config=described))
        command = [sys.executable, str(script), str(STANDIN), str(RUNTIME), str(serve.folder().parent)]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        env = {"PATH": os.environ["PATH"], "TMPDIR": str(board), "HOME": str(serve.root)}
        processes: list[Any] = []
        try:
            totals = []
            for arguments in (command, command):
                process: Any = subprocess.Popen(arguments, env=env, **pipes)  # type: ignore[call-overload]  # ours
                processes.append(process)
                assert process.stdout.readline() == "ready\n"
                totals.append(sum(memory(p.pid) for p in processes))
            added[sharing] = totals[1] - totals[0]
        finally:
            for process in processes:
                process.communicate()
            assert [process.returncode for process in processes] == [0] * len(processes)
    weights = 4 * (2048 * 2048 + 2048) * 4
    without_weights = added["false"] - weights  # what an instance needs anyway: torch's own pages
    assert added["true"] - without_weights < 0.3 * weights
    assert list(board.iterdir()) == []
