"""What only a GPU shows; run where there is one (``-m gpu``)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.helpers.runtime import LINEAR, RUNTIME, SEED, simple
from tests.runtime.conftest import STANDIN, Serve

pytestmark = [pytest.mark.torch, pytest.mark.gpu, pytest.mark.slow]


def ask(serve: Serve, x: torch.Tensor) -> Any:
    """Ask with a tensor on the device, and return the tensor of the answer as Triton would get it."""
    pb = serve.pb
    (response,) = serve.models[-1].execute(
        [
            pb.InferenceRequest(
                inputs=[pb.Tensor.from_dlpack("x", x)], requested_output_names=[], model_name="m"
            )
        ]
    )
    assert not response.has_error(), response.error().message()
    return response.output_tensors()[0]


def test_an_instance_lives_on_its_device(serve: Serve) -> None:
    serve.write(LINEAR)
    model = serve.load(simple(), kind="GPU")
    module = model.instance.engine.model.eager
    assert module.linear.weight.device == torch.device("cuda:0")
    x = np.ones((2, 4), np.float32)
    pb = serve.pb
    (response,) = model.execute(
        [pb.InferenceRequest(inputs=[pb.Tensor("x", x)], requested_output_names=[], model_name="m")]
    )
    (answer,) = response.output_tensors()
    found = torch.utils.dlpack.from_dlpack(answer.to_dlpack()).cpu()
    torch.testing.assert_close(found, module(torch.from_numpy(x).cuda()).cpu())


def test_device_tensors_cross_without_a_copy_to_the_host(serve: Serve) -> None:
    serve.write("def f(x):\n    return x[:, :3] * 2\n")
    serve.load(simple(), kind="GPU")
    x = torch.randn(2, 4, device="cuda")
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
        answer = ask(serve, x)
    assert not answer.is_cpu()
    assert not [
        event.key
        for event in profile.key_averages()
        if "Memcpy" in event.key and "HtoH" not in event.key and "DtoD" not in event.key
    ]
    torch.testing.assert_close(torch.utils.dlpack.from_dlpack(answer.to_dlpack()), x[:, :3] * 2)


def test_kind_model_without_parameters_takes_the_first_device(serve: Serve) -> None:
    serve.write("def f(x):\n    return x[:, :3]\n")
    assert serve.load(simple(), kind="MODEL").instance.engine.model.device == torch.device("cuda:0")


def test_answers_of_cuda_graphs_outlive_the_next_call(serve: Serve) -> None:
    serve.write(LINEAR)
    model = serve.load(simple(**{SEED: json.dumps({"mode": "reduce-overhead"})}), kind="GPU")
    inputs = [torch.full((2, 4), float(value), device="cuda") for value in range(5)]
    answers = [torch.utils.dlpack.from_dlpack(ask(serve, x).to_dlpack()) for x in inputs]
    for x, answer in zip(inputs, answers, strict=True):
        torch.testing.assert_close(answer, model.instance.engine.model.eager(x), rtol=1e-3, atol=1e-4)


def test_bool_outputs_come_through(serve: Serve) -> None:
    serve.write("def f(x):\n    return x[:, :3] > 0\n")
    described = {**simple(), "output": [{"name": "y", "data_type": "TYPE_BOOL", "dims": [3]}]}
    serve.load(described, kind="GPU")
    assert ask(serve, torch.ones(1, 4, device="cuda")).as_numpy().tolist() == [[True, True, True]]


def test_the_cache_is_cleaned(serve: Serve) -> None:
    serve.write("import torch\n\ndef f(x):\n    torch.empty(1 << 28, device=x.device)\n    return x[:, :3]\n")
    serve.load(simple(ENABLE_CACHE_CLEANING="true"), kind="GPU")
    ask(serve, torch.ones(1, 4, device="cuda"))
    assert torch.cuda.memory_reserved() < 1 << 28


INSTANCE = """
import sys
sys.path.insert(0, sys.argv[1])
import numpy as np
import triton_python_backend_utils as pb

model = pb.Model(sys.argv[2], sys.argv[3], {config}, kind="GPU")
import torch
pointer = model.instance.engine.model.eager.linear.weight
print(pointer.sum().item(), torch.cuda.memory_allocated(), flush=True)
sys.stdin.read()
model.finalize()
"""


def test_two_instances_share_their_weights_by_cuda_ipc(serve: Serve, tmp_path: Path) -> None:
    serve.write(LINEAR.replace("torch.nn.Linear(4, 3, bias=bias)", "torch.nn.Linear(4096, 4096)"))
    described = simple(ENABLE_WEIGHT_SHARING="true", WARMUP="false")
    script = tmp_path / "instance.py"
    script.write_text(INSTANCE.format(config=described))
    processes, said = [], []
    for _ in range(2):
        process = subprocess.Popen(
            [sys.executable, str(script), str(STANDIN), str(RUNTIME), str(serve.folder().parent)],
            env={**os.environ, "TMPDIR": str(tmp_path)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        processes.append(process)
        assert process.stdout is not None
        said.append([float(number) for number in process.stdout.readline().split()])
    try:
        assert said[0][0] == said[1][0]  # each constructed other weights: these are the same ones
        assert said[1][1] < 0.3 * 4096 * 4096 * 4
    finally:
        for process in reversed(processes):
            process.communicate()
    assert [process.returncode for process in processes] == [0, 0]
