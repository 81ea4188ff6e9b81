"""The stand-in fails where Triton fails, with Triton's words."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.helpers.runtime import config, field
from tests.runtime.conftest import STANDIN

MODEL = """
import numpy as np
import triton_python_backend_utils as pb

class TritonPythonModel:
    def initialize(self, args):
        pass

    def execute(self, requests):
        {body}
"""
ANSWER = "return [pb.InferenceResponse([pb.Tensor({name}, {data})]) for request in requests]"
ONE = np.ones(1, np.float32)


def load(pb: Any, folder: Path, body: str) -> Any:
    (folder / "1").mkdir()
    runtime = folder / "1" / "model.py"
    runtime.write_text(MODEL.format(body=body))
    return pb.Model(
        str(runtime), str(folder), config([field("x", "FP32", [1])], [field("y", "FP32", [1])]), name="m"
    )


def refused(pb: Any, folder: Path, body: str) -> str:
    model = load(pb, folder, body)
    with pytest.raises(pb.TritonModelException) as caught:
        model.execute([pb.InferenceRequest([pb.Tensor("x", ONE)])])
    return str(caught.value)


def test_a_right_answer(pb: Any, tmp_path: Path) -> None:
    model = load(pb, tmp_path, ANSWER.format(name="'y'", data="np.ones(1, np.float32)"))
    assert model.infer(x=ONE)["y"].tolist() == [1.0]
    assert pb.get_model_dir() == str(tmp_path / "1")


def test_a_wrong_number_of_responses(pb: Any, tmp_path: Path) -> None:
    assert refused(pb, tmp_path, "return []") == (
        "Number of InferenceResponse objects do not match the number of InferenceRequest objects. "
        "InferenceRequest(s) size is:1, and InferenceResponse(s) size is:0"
    )


def test_something_that_is_no_response(pb: Any, tmp_path: Path) -> None:
    assert refused(pb, tmp_path, "return [1]") == (
        "Expected an 'InferenceResponse' object in the execute function return list, found type "
        "'<class 'int'>'."
    )


def test_an_unknown_output(pb: Any, tmp_path: Path) -> None:
    told = refused(pb, tmp_path, ANSWER.format(name="'z'", data="np.ones(1, np.float32)"))
    assert told == "unexpected inference output 'z' for model 'm'"


def test_an_unknown_requested_output(pb: Any, tmp_path: Path) -> None:
    model = load(pb, tmp_path, "return []")
    with pytest.raises(pb.TritonModelException, match=r"^unexpected inference output 'z' for model 'm'$"):
        model.execute([pb.InferenceRequest([], ["z"])])


def test_all_outputs_are_requested_where_none_is_named(pb: Any, tmp_path: Path) -> None:
    body = "return [pb.InferenceResponse(error=pb.TritonError(str(r.requested_output_names()))) for r in requests]"
    model = load(pb, tmp_path, body)
    with pytest.raises(pb.TritonModelException, match=r"^\['y'\]$"):
        model.infer(x=ONE)


def test_a_buffer_used_again_does_not_change_what_was_sent(pb: Any, tmp_path: Path) -> None:
    model = load(
        pb,
        tmp_path,
        "self.buffer = np.ones(1, np.float32)\n        " + ANSWER.format(name="'y'", data="self.buffer"),
    )
    y = model.infer(x=ONE)["y"]
    model.instance.buffer[:] = 5
    assert y.tolist() == [1.0]


def test_a_missing_output_tensor(pb: Any) -> None:
    with pytest.raises(
        pb.TritonModelException, match=r"^Output tensor for inference response should not be empty"
    ):
        pb.InferenceResponse([None])


def test_a_dtype_that_triton_does_not_have(pb: Any) -> None:
    with pytest.raises(pb.TritonModelException, match=r"^NumPy dtype is not supported\.$"):
        pb.Tensor("x", np.ones(1, np.complex64))


def test_a_tensor_without_a_name(pb: Any) -> None:
    with pytest.raises(pb.TritonModelException, match=r"^Tensor name cannot be an empty string\.$"):
        pb.Tensor("", ONE)


def test_what_is_no_array(pb: Any) -> None:
    with pytest.raises(TypeError, match="incompatible constructor arguments: list"):
        pb.Tensor("x", [1.0])


def test_arrays_are_made_contiguous(pb: Any) -> None:
    array = np.arange(6, dtype=np.float32).reshape(2, 3).T
    assert pb.Tensor("x", array).as_numpy().flags.c_contiguous
    np.testing.assert_array_equal(pb.Tensor("x", array).as_numpy(), array)


def test_strings_become_bytes(pb: Any) -> None:
    tensor = pb.Tensor("x", np.array([["é", b"\xff"], ["", "a"]], dtype=object))
    assert tensor.as_numpy().tolist() == [["é".encode(), b"\xff"], [b"", b"a"]]
    assert tensor.triton_dtype() == 13
    with pytest.raises(
        pb.TritonModelException, match=r"^TYPE_BYTES tensors cannot be converted to DLPack\.$"
    ):
        tensor.to_dlpack()


@pytest.mark.torch
def test_dlpack(pb: Any) -> None:
    import torch

    tensor = pb.Tensor.from_dlpack("x", torch.arange(3.0))
    assert tensor.as_numpy().tolist() == [0.0, 1.0, 2.0]
    assert torch.utils.dlpack.from_dlpack(tensor.to_dlpack()).tolist() == [0.0, 1.0, 2.0]
    assert (tensor.name(), tensor.shape(), tensor.triton_dtype(), tensor.is_cpu()) == ("x", [3], 11, True)


@pytest.mark.torch
def test_a_tensor_that_is_not_contiguous(pb: Any) -> None:
    import torch

    with pytest.raises(pb.TritonModelException) as caught:
        pb.Tensor.from_dlpack("x", torch.zeros(2, 3).T)
    assert str(caught.value) == (
        "DLPack tensor is not contiguous. Only contiguous DLPack tensors that are stored in C-Order are supported."
    )


@pytest.mark.torch
def test_bfloat16_is_no_array(pb: Any) -> None:
    import torch

    tensor = pb.Tensor.from_dlpack("x", torch.ones(2, dtype=torch.bfloat16))
    with pytest.raises(pb.TritonModelException) as caught:
        tensor.as_numpy()
    assert str(caught.value) == (
        "Tensor dtype is BF16 and cannot be converted to NumPy. Use to_dlpack() and from_dlpack() instead."
    )


def test_counters_never_go_down(pb: Any) -> None:
    family = pb.MetricFamily("f", "text", pb.MetricFamily.COUNTER)
    counter = family.Metric({"a": "b"})
    counter.increment(2)
    assert counter.value() == 2
    with pytest.raises(pb.TritonModelException):
        counter.increment(-1)
    with pytest.raises(pb.TritonModelException):
        counter.set(1)
    with pytest.raises(
        pb.TritonModelException, match=r"^Failed to create metric\. Labels must be a dictionary\.$"
    ):
        family.Metric("a")


def test_it_needs_neither_torch_nor_this_package() -> None:
    check = (
        "import triton_python_backend_utils, sys; print('torch' in sys.modules, 'envbuilder' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", check],
        env={"PYTHONPATH": str(STANDIN), "PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == ["False", "False"]
