"""The stand-in fails where Triton fails, with Triton's words."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from envbuilder.catalog.python_backend import ADDITIONS
from envbuilder.verification.server.tritonserver import TritonServer
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
        model.execute([model.request([pb.Tensor("x", ONE)])])
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


def test_an_output_that_nobody_asked_for_is_left_out(pb: Any, tmp_path: Path) -> None:
    assert load(pb, tmp_path, ANSWER.format(name="'z'", data="np.ones(1, np.float32)")).infer(x=ONE) == {}


def test_an_unknown_requested_output(pb: Any, tmp_path: Path) -> None:
    model = load(pb, tmp_path, "return []")
    with pytest.raises(pb.TritonModelException, match=r"^unexpected inference output 'z' for model 'm'$"):
        model.execute([model.request([], requested_output_names=["z"])])


def test_all_outputs_are_requested_where_none_is_named(pb: Any, tmp_path: Path) -> None:
    body = "return [pb.InferenceResponse(error=pb.TritonError(str(r.requested_output_names()))) for r in requests]"
    model = load(pb, tmp_path, body)
    with pytest.raises(pb.TritonModelException, match=r"^\{'y'\}$"):
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
    with pytest.raises(pb.TritonModelException, match=r"^NumPy dtype is not supported\.$"):
        pb.Tensor("x", np.ones(1, ">f4"))


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


def test_a_name_may_be_bytes_as_the_items_of_an_input_are(pb: Any) -> None:
    (name,) = np.array(["caf\N{LATIN SMALL LETTER E WITH ACUTE}".encode()], dtype=object)
    tensor = pb.Tensor(name, np.ones(1, np.float32))
    request = pb.InferenceRequest(
        model_name=name, requested_output_names=[name], inputs=[tensor], request_id=b"7"
    )
    assert {tensor.name(), request.asked_model(), *request.requested_output_names()} == {name.decode()}
    assert request.request_id() == "7"
    assert pb.TritonError(name).message() == name.decode()
    with pytest.raises(
        pb.TritonModelException, match="unknown model: 'caf\N{LATIN SMALL LETTER E WITH ACUTE}'"
    ):
        pb.load_model(name)


def test_strings_become_bytes(pb: Any) -> None:
    given = np.array([["é", b"\xff"], ["", np.bytes_(b"a")]], dtype=object)
    tensor = pb.Tensor("x", given)
    assert tensor.as_numpy() is given  # for who made it; who gets it has bytes
    given[0, 0] = "later"
    got = [["é".encode(), b"\xff"], [b"", b"b'a'"]]
    assert tensor.content().tolist() == tensor.sent().as_numpy().tolist() == got
    assert pb.Tensor("x", np.array([b"ab", b""])).content().tolist() == [b"ab", b""]
    assert tensor.number() == 13
    with pytest.raises(
        pb.TritonModelException, match=r"^TYPE_BYTES tensors cannot be converted to DLPack\.$"
    ):
        tensor.to_dlpack()


def test_a_masked_array_is_sent_whole(pb: Any) -> None:
    masked = np.ma.masked_greater(np.array([1.0, 5.0], np.float32), 2)
    sent = pb.Tensor("x", masked).sent().as_numpy()
    assert (type(sent), sent.tolist()) == (np.ndarray, [1.0, 5.0])


def test_a_type_has_no_number_for_a_model(pb: Any) -> None:
    with pytest.raises(TypeError, match="Unable to convert function return value to a Python type!"):
        pb.Tensor("x", np.zeros(1, np.float32)).triton_dtype()


@pytest.mark.torch
def test_dlpack(pb: Any) -> None:
    import torch

    tensor = pb.Tensor.from_dlpack("x", torch.arange(3.0))
    assert tensor.as_numpy().tolist() == [0.0, 1.0, 2.0]
    assert torch.utils.dlpack.from_dlpack(tensor.to_dlpack()).tolist() == [0.0, 1.0, 2.0]
    assert (tensor.name(), tensor.shape(), tensor.number(), tensor.is_cpu()) == ("x", [3], 11, True)


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
    assert tensor.bits().tolist() == [0x3F80, 0x3F80]
    sent = pb.Tensor.from_bits("x", tensor.bits()).to_dlpack()
    assert torch.equal(torch.utils.dlpack.from_dlpack(sent), torch.ones(2, dtype=torch.bfloat16))
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


# -- beside the server's own file --------------------------------------------------------------------

ADDED_BY_THE_STUB = [
    "TritonError",
    "TritonModelException",
    "Tensor",
    "InferenceRequest",
    "InferenceResponse",
    "Logger",
    "PreferredMemory",
    "MetricFamily",
    "TRITONSERVER_MEMORY_GPU",
    "TRITONSERVER_MEMORY_CPU",
    "load_model",
    "unload_model",
    "is_model_ready",
    "get_model_dir",
]
"""``Stub::StubSetup`` of ``pb_stub.cc``."""
METHODS = {
    "TritonError": "UNKNOWN INTERNAL NOT_FOUND INVALID_ARG UNAVAILABLE UNSUPPORTED ALREADY_EXISTS CANCELLED "
    "code message",
    "InferenceRequest": "inputs request_id correlation_id flags set_flags timeout parameters trace exec async_exec "
    "requested_output_names get_response_sender is_cancelled set_release_flags",
    "Tensor": "name as_numpy triton_dtype to_dlpack is_cpu shape from_dlpack __dlpack__ __dlpack_device__",
    "InferenceResponse": "output_tensors has_error error parameters",
    "InferenceResponseSender": "send is_cancelled",
    "ResponseIterator": "__iter__ __next__ cancel",
    "Logger": "LogLevel INFO WARNING ERROR VERBOSE log log_info log_warn log_error log_verbose",
    "Metric": "increment set observe value",
    "MetricFamily": "COUNTER GAUGE HISTOGRAM Metric",
}
"""``PYBIND11_EMBEDDED_MODULE`` of ``pb_stub.cc``."""
CONFIG = {
    "name": "m",
    "max_batch_size": 4,
    "input": [{"name": "a", "data_type": "TYPE_FP32", "dims": [3], "optional": False}],
    "output": [{"name": "b", "data_type": "TYPE_INVALID", "dims": []}],
}
ADDED = [
    {"name": "a", "data_type": "TYPE_FP32", "dims": [3]},
    {"name": "a", "data_type": "TYPE_FP16", "dims": [3]},
    {"name": "a", "data_type": "TYPE_FP32", "dims": [4]},
    {"name": "a", "data_type": "TYPE_FP32", "dims": [3], "optional": True},
    {"name": "b", "data_type": "TYPE_INT8", "dims": [1]},
    {"name": "c", "data_type": "TYPE_INT8", "dims": [1]},
    {"name": "c", "data_type": "TYPE_INT8", "dims": [1], "label": 1},
    {"name": "c", "dims": [1]},
    {"name": "c", "data_type": "TYPE_INT8"},
    {"data_type": "TYPE_INT8", "dims": [1]},
]


@pytest.fixture(scope="module")
def real(server: TritonServer) -> Any:
    """The file of the server."""
    path = server.backends / "python" / "triton_python_backend_utils.py"
    spec = importlib.util.spec_from_file_location("the_servers_own", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def outcome(work: Callable[[], Any]) -> Any:
    try:
        return work()
    except Exception as error:
        return type(error).__name__, str(error)


@pytest.mark.network
def test_it_has_every_name_of_the_servers_own_file_and_of_the_stub(pb: Any, real: Any) -> None:
    names = {name for name in dir(real) if not name.startswith("_")} | set(ADDED_BY_THE_STUB)
    assert len(names) > 30
    assert sorted(names - set(pb.__all__)) == []
    assert sorted(set(pb.__all__) - names) == sorted(pb.HOST_ONLY)  # which no model of a probe sees
    constants = [name for name in names if name.startswith("TRITONSERVER_") and hasattr(real, name)]
    assert {name: getattr(pb, name) for name in constants} == {
        name: getattr(real, name) for name in constants
    }
    for name, methods in METHODS.items():
        assert [one for one in methods.split() if not hasattr(getattr(pb, name), one)] == [], name


@pytest.mark.network
def test_types_and_texts_are_converted_as_the_servers_file_does(pb: Any, real: Any) -> None:
    assert pb.TRITON_STRING_TO_NUMPY == real.TRITON_STRING_TO_NUMPY
    for number in range(16):
        assert pb.triton_to_numpy_type(number) is real.triton_to_numpy_type(number)
    for kind in (np.bool_, np.int32, np.float16, np.object_, np.bytes_, np.complex64, np.dtype("float32")):
        assert pb.numpy_to_triton_type(kind) == real.numpy_to_triton_type(kind)
    arrays: list[Any] = [
        np.array([["é", b"\0\xff"], ["", "a"]], dtype=object),
        np.array([b"ab", b"c"]),
        np.empty((0, 2), dtype=object),
        np.ones(2, np.float32),
    ]
    for array in arrays:
        assert pb.serialize_byte_tensor(array) == real.serialize_byte_tensor(array)
    data = pb.serialize_byte_tensor(arrays[0])
    assert pb.deserialize_bytes_tensor(data).tolist() == real.deserialize_bytes_tensor(data).tolist()


@pytest.mark.network
@pytest.mark.parametrize("kind", ["input", "output"])
def test_a_configuration_is_completed_as_the_servers_file_does(pb: Any, real: Any, kind: str) -> None:
    def completed(module: Any, method: str, *args: Any, has: dict[str, Any] | None = None) -> Any:
        config = module.ModelConfig(json.dumps({**CONFIG, **(has or {})}))

        def complete() -> Any:
            getattr(config, method)(*json.loads(json.dumps(args)))
            return config.as_dict()

        return outcome(complete)

    calls: list[tuple[Any, ...]] = [(f"add_{kind}", one) for one in ADDED]
    calls += [("set_max_batch_size", 2), ("set_max_batch_size", 8), ("set_dynamic_batching",)]
    calls += [("set_model_transaction_policy", policy) for policy in ({}, {"decoupled": True}, {"x": 1})]
    schedulers: list[dict[str, Any]] = [
        {},
        {"sequence_batching": {}},
        {"ensemble_scheduling": {}},
        {"dynamic_batching": {"preferred_batch_size": [2]}},
        {"model_transaction_policy": {"decoupled": False}},
    ]
    for call in calls:
        for has in schedulers:
            expected, found = completed(real, *call, has=has), completed(pb, *call, has=has)
            # Without a name Triton's file fails with a KeyError before it says so.
            assert found == expected or expected[0] == "KeyError", call
    for name in ("a", "b", "z"):
        get = f"get_{kind}_config_by_name"
        assert getattr(pb, get)(CONFIG, name) == getattr(real, get)(CONFIG, name)
        assert getattr(pb, get)({}, name) is None
    for has in schedulers:
        policy = "using_decoupled_model_transaction_policy"
        assert getattr(pb, policy)(has) == getattr(real, policy)(has)


# -- responses, in every form ------------------------------------------------------------------------

DECOUPLED = {"model_transaction_policy": {"decoupled": True}}


def decoupled(pb: Any, folder: Path, body: str) -> Any:
    (folder / "1").mkdir()
    runtime = folder / "1" / "model.py"
    runtime.write_text(MODEL.format(body=body))
    said = config([field("x", "FP32", [1])], [field("y", "FP32", [1])]) | DECOUPLED
    return pb.Model(str(runtime), str(folder), said, name="m")


SENDS = """import threading
        for request in requests:
            def send(sender=request.get_response_sender()):
                for number in range(3):
                    sender.send(pb.InferenceResponse([pb.Tensor("y", np.full(1, number, np.float32))]))
                sender.send(flags=pb.TRITONSERVER_RESPONSE_COMPLETE_FINAL)
            threading.Thread(target=send).start()"""


def test_a_decoupled_model_sends_when_it_likes(pb: Any, tmp_path: Path) -> None:
    model = decoupled(pb, tmp_path, SENDS)
    for responses in model.respond([model.request([pb.Tensor("x", ONE)]) for _ in range(2)]):
        *sent, last = responses
        assert [one.output_tensors()[0].as_numpy().tolist() for one in sent] == [[0.0], [1.0], [2.0]]
        assert last.output_tensors() == []  # the final flag by itself


def test_a_decoupled_model_returns_nothing(pb: Any, tmp_path: Path) -> None:
    model = decoupled(pb, tmp_path, ANSWER.format(name="'y'", data="np.ones(1, np.float32)"))
    with pytest.raises(pb.TritonModelException, match="the execute function must return None"):
        model.respond([model.request([pb.Tensor("x", ONE)])])


def test_a_sender_refuses_what_triton_refuses(pb: Any, tmp_path: Path) -> None:
    model = load(pb, tmp_path, "self.senders = [r.get_response_sender() for r in requests]; self.x = 1 / 0")
    response = pb.InferenceResponse([pb.Tensor("y", ONE)])
    with pytest.raises(ZeroDivisionError):
        model.respond([model.request([pb.Tensor("x", ONE)])])
    (sender,) = model.instance.senders
    for arguments, told in [
        ({"flags": 2}, "Unsupported flag provided"),
        ({}, "must be provided when the response flags is set to zero"),
        ({"flags": 1}, "cannot send complete final before sending a response"),
    ]:
        with pytest.raises(pb.TritonModelException, match=told):
            sender.send(**arguments)
    sender.send(response)
    with pytest.raises(pb.TritonModelException, match="cannot send more than one response"):
        sender.send(response)
    sender.send(flags=1)
    with pytest.raises(pb.TritonModelException, match="has been closed"):
        sender.send(flags=1)


NO_RESPONSE = "returned no response to a request, and took no response sender for it"
NO_FINAL = "sent no final response (TRITONSERVER_RESPONSE_COMPLETE_FINAL)"
IN_A_THREAD = """import threading
        def send(sender):
            sender.send(pb.InferenceResponse([pb.Tensor("y", np.ones(1, np.float32))]))
            {then}
        for request in requests:
            threading.Thread(target=send, args=(request.get_response_sender(),)).start()"""


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("return [None]", f"{NO_RESPONSE}, and has dropped the request: its client waits forever"),
        ("return None", f"{NO_RESPONSE}, and has dropped the request: its client waits forever"),
        ("self.kept = list(requests)", f"{NO_RESPONSE} within 0.2 s: its client waits forever"),
        (
            "[r.get_response_sender() for r in requests]",
            f"{NO_FINAL}, and has dropped the request: its client waits for it",
        ),
        (
            "self.kept = [r.get_response_sender() for r in requests]",
            f"{NO_FINAL} within 0.2 s: its client waits for it",
        ),
        (
            # A cycle holds it, which nothing else does.
            "s = [r.get_response_sender() for r in requests]; s.append(s)",
            f"{NO_FINAL}, and has dropped the request: its client waits for it",
        ),
    ],
)
def test_a_response_that_nobody_sends(
    pb: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str, said: str
) -> None:
    hosted = "triton_python_backend_utils._hosted"
    limit = 0.2 if "0.2" in said else 60.0
    monkeypatch.setattr(f"{hosted}.UNCLAIMED_TIMEOUT", limit)
    monkeypatch.setattr(f"{hosted}.FINAL_TIMEOUT", limit)
    began = time.monotonic()
    assert refused(pb, tmp_path, body) == f"model 'm' {said}"
    assert time.monotonic() - began < 10


@pytest.mark.parametrize("then", ["pass", "return sender", "del sender"])
def test_a_thread_that_ends_before_the_last_response(pb: Any, tmp_path: Path, then: str) -> None:
    model = decoupled(pb, tmp_path, IN_A_THREAD.format(then=then))
    began = time.monotonic()
    with pytest.raises(pb.TritonModelException) as refusal:
        model.respond([model.request([pb.Tensor("x", ONE)])])
    assert str(refusal.value) == (
        "model 'm' sent no final response (TRITONSERVER_RESPONSE_COMPLETE_FINAL) after 1 response, and has dropped the "
        "request: its client waits for it"
    )
    assert time.monotonic() - began < 10


def test_responses_with_long_pauses_are_waited_for(
    pb: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("triton_python_backend_utils._hosted.FINAL_TIMEOUT", 3.0)
    model = decoupled(
        pb, tmp_path, SENDS.replace("sender.send(pb", "import time; time.sleep(1.2); sender.send(pb")
    )
    (responses,) = model.respond([model.request([pb.Tensor("x", ONE)])])
    assert len(responses) == 4


def test_a_coroutine_and_a_request_that_comes_again(pb: Any, tmp_path: Path) -> None:
    (tmp_path / "1").mkdir()
    source = MODEL.format(body="return [await self.one(r) for r in requests]").replace(
        "def execute", "async def execute"
    )
    source += """
    seen = 0

    async def one(self, request):
        self.seen += 1
        if self.seen < 3:
            request.set_release_flags(pb.TRITONSERVER_REQUEST_RELEASE_RESCHEDULE)
            return None
        return pb.InferenceResponse([pb.Tensor("y", np.full(1, self.seen, np.float32))], parameters={"n": 3})
"""
    (tmp_path / "1" / "model.py").write_text(source)
    said = config([field("x", "FP32", [1])], [field("y", "FP32", [1])])
    model = pb.Model(str(tmp_path / "1" / "model.py"), str(tmp_path), said, name="m")
    ((response,),) = model.respond([model.request([pb.Tensor("x", ONE)])])
    assert response.output_tensors()[0].as_numpy().tolist() == [3.0]
    assert json.loads(response.parameters()) == {"n": 3}
    model.finalize()


def test_a_request_says_all_that_a_client_said(pb: Any) -> None:
    request = pb.InferenceRequest(
        "id",
        "talk",
        [pb.Tensor("x", ONE)],
        ["y"],
        "m",
        3,
        flags=3,
        timeout=7,
        parameters={"k": True, "n": 2},
    )
    assert (request.request_id(), request.correlation_id(), request.flags(), request.timeout()) == (
        "id",
        "talk",
        3,
        7,
    )
    assert json.loads(request.parameters()) == {"k": True, "n": 2}
    assert [hasattr(request, name) for name in ("model_name", "model_version", "preferred_memory")] == [
        False
    ] * 3
    assert request.trace().get_context() is None
    with pytest.raises(pb.TritonModelException, match="ends the stub"):
        request.is_cancelled()
    with pytest.raises(
        pb.TritonModelException, match="values to have type bool/int/str, found type <class 'float'>"
    ):
        pb.InferenceRequest(inputs=[], requested_output_names=[], model_name="m", parameters={"k": 1.5})
    with pytest.raises(pb.TritonModelException, match="Correlation ID must be integer or string"):
        pb.InferenceRequest(inputs=[], requested_output_names=[], model_name="m", correlation_id=1.5)
    with pytest.raises(TypeError, match="no requested_output_names, model_name"):
        pb.InferenceRequest(inputs=[])


def test_a_client_that_gave_no_parameters_gave_an_empty_object(pb: Any, tmp_path: Path) -> None:
    model = load(
        pb, tmp_path, "return [pb.InferenceResponse(error=pb.TritonError(r.parameters())) for r in requests]"
    )
    with pytest.raises(pb.TritonModelException, match=r"^\{\}$"):
        model.infer(x=ONE)


def test_no_number_stands_for_a_kind(pb: Any) -> None:
    for kind, args in ((pb.TritonError, ("text", 1)), (pb.MetricFamily, ("k", "text", 0))):
        with pytest.raises(TypeError, match=r"incompatible constructor arguments: int"):
            kind(*args)
    assert pb.TritonError("text").code() is pb.TritonError.INTERNAL


@pytest.mark.parametrize("array", [ONE, ONE.__dlpack__(), np.zeros((2, 2), np.int64).__dlpack__()])
def test_an_array_by_dlpack_ends_a_stub(pb: Any, array: Any) -> None:
    with pytest.raises(pb.TritonModelException, match="it ends the stub"):
        pb.Tensor.from_dlpack("x", array)


def test_histograms_observe(pb: Any) -> None:
    family = pb.MetricFamily("h", "text", pb.MetricFamily.HISTOGRAM)
    histogram = family.Metric({"a": "b"}, buckets=[1.0, 2.0])
    histogram.observe(1.5)
    assert histogram.observed == [1.5]
    for wrong in (histogram.value, lambda: histogram.increment(1), lambda: histogram.set(1), family.Metric):
        with pytest.raises(pb.TritonModelException):
            wrong()


def test_a_metric_does_not_outlive_its_family(pb: Any) -> None:
    counter = pb.MetricFamily("short", "text", pb.MetricFamily.COUNTER).Metric({})
    for use in (counter.value, lambda: counter.increment(1)):
        with pytest.raises(
            pb.TritonModelException, match="the corresponding 'MetricFamily' has been deleted"
        ):
            use()


def test_other_models_where_none_is_in_reach(pb: Any, tmp_path: Path) -> None:
    request = pb.InferenceRequest(inputs=[], requested_output_names=["y"], model_name="z")
    model = load(pb, tmp_path, "return []")
    assert request.exec().error().message() == (
        "Model z - Error when running inference: Failed for execute the inference request. Model 'z' is not ready."
    )
    (only,) = request.exec(decoupled=True)
    assert only.has_error()
    assert not pb.is_model_ready("z")
    with pytest.raises(pb.TritonModelException, match="unknown model"):
        pb.load_model("z")
    model.finalize()


def test_dlpack_without_torch_and_no_request_before_a_model_is_ready() -> None:
    check = """
import sys, numpy as np, triton_python_backend_utils as pb
tensor = pb.Tensor("x", np.arange(3, dtype=np.float32))
again = pb.Tensor.from_dlpack("y", tensor)
assert again.as_numpy().tolist() == [0, 1, 2] and tensor.__dlpack_device__() == (1, 0)
assert pb.Tensor.from_dlpack("y", tensor.to_dlpack()).as_numpy().tolist() == [0, 1, 2]
frozen = np.arange(3, dtype=np.int64); frozen.flags.writeable = False
assert pb.Tensor("x", frozen).to_dlpack() is not None
half = pb.Tensor.from_bits("x", np.array([[0x3F80, 0xC020]], np.uint16))
for again in (pb.Tensor.from_dlpack("y", half), pb.Tensor.from_dlpack("y", half.to_dlpack())):
    assert (again.number(), again.shape(), again.bits().tolist()) == (14, [1, 2], [[0x3F80, 0xC020]])
assert "torch" not in sys.modules
request = pb.InferenceRequest(inputs=[], requested_output_names=[], model_name="z")
try:
    request.exec()
except pb.TritonModelException as error:
    assert str(error) == "BLS is only supported during the 'execute' function."
else:
    raise AssertionError("a server raises")
sys.modules["torch"] = None
try:
    pb.Tensor.from_dlpack("y", object())
except pb.TritonModelException as error:
    assert "not known here" in str(error)
else:
    raise AssertionError("nobody can take that")
"""
    env = {"PYTHONPATH": str(STANDIN), "PATH": os.environ["PATH"]}
    subprocess.run([sys.executable, "-c", check], env=env, check=True)


# -- the module of an older release ------------------------------------------------------------------


def test_an_older_release_lacks_what_came_later(tmp_path: Path) -> None:
    check = """
import sys, numpy as np, triton_python_backend_utils as pb

newest = sorted(pb.__all__)
pb.lack(sys.argv[1].splitlines())

def told(work):
    try:
        work()
    except Exception as error:
        return f"{type(error).__name__}: {error}", pb.lacking_in(str(error))
    raise AssertionError("it is there")

def ask(name="m", **rest):
    return pb.InferenceRequest(inputs=[], requested_output_names=[], model_name=name, **rest)

def import_it():
    from triton_python_backend_utils import TRITONSERVER_REQUEST_RELEASE_ALL

request, family = ask(), pb.MetricFamily("f", "text", pb.MetricFamily.COUNTER)
config = pb.ModelConfig('{"name": "m", "max_batch_size": 0}')
half = np.zeros(1, np.uint16)
for work, name in (
    (lambda: request.is_cancelled, "InferenceRequest.is_cancelled"),
    (lambda: pb.InferenceRequest.set_release_flags, "InferenceRequest.set_release_flags"),
    (lambda: pb.TRITONSERVER_REQUEST_RELEASE_RESCHEDULE, "TRITONSERVER_REQUEST_RELEASE_RESCHEDULE"),
    (import_it, "TRITONSERVER_REQUEST_RELEASE_ALL"),
    (lambda: pb.TritonError.CANCELLED, "TritonError.CANCELLED"),
    (lambda: pb.TritonError("text", code=None), "TritonError.__init__(code)"),
    (lambda: pb.TritonError("text", None), "TritonError.__init__(code)"),
    (lambda: pb.MetricFamily.HISTOGRAM, "MetricFamily.HISTOGRAM"),
    (lambda: family.Metric({}, [1.0]), "MetricFamily.Metric(buckets)"),
    (lambda: family.Metric({}).observe(1), "Metric.observe"),
    (lambda: ask(parameters={}), "InferenceRequest.__init__(parameters)"),
    (lambda: ask(correlation_id="talk"), "a text as correlation_id of InferenceRequest"),
    (lambda: request.trace().get_context(), "InferenceTrace.get_context"),
    (lambda: pb.InferenceResponse([], parameters={}), "InferenceResponse.__init__(parameters)"),
    (lambda: pb.InferenceResponse([]).parameters(), "InferenceResponse.parameters"),
    (lambda: pb.ResponseIterator([]).cancel(), "ResponseIterator.cancel"),
    (lambda: config.set_model_transaction_policy({}), "ModelConfig.set_model_transaction_policy"),
    (lambda: config.add_input({"name": "x", "optional": True}), "'optional' in ModelConfig.add_input"),
    (lambda: pb.Tensor.from_bits("x", half), "BF16 tensors"),
):
    text, found = told(work)
    assert found == name, (text, found, name)
assert told(lambda: request.is_cancelled)[0] == (
    "AttributeError: 'c_python_backend_utils.InferenceRequest' object has no attribute 'is_cancelled'"
)
assert not hasattr(pb, "TRITONSERVER_REQUEST_RELEASE_ALL") and not hasattr(request, "is_cancelled")
assert told(lambda: pb.no_such_name) == (
    "AttributeError: module 'triton_python_backend_utils' has no attribute 'no_such_name'", ""
)
assert pb.TritonError("text").message() == "text" and not pb.InferenceResponse([]).has_error()
family.Metric({}).increment(1)
config.add_input({"name": "x", "data_type": "TYPE_FP32", "dims": [1]})
assert pb.lacking_in("another error") == ""
"""
    env = {"PYTHONPATH": str(STANDIN), "PATH": os.environ["PATH"]}
    names = "\n".join(one.name for one in ADDITIONS)
    subprocess.run([sys.executable, "-c", check, names], env=env, check=True)


LATER = {
    "get_response_sender in a model that is not decoupled": "[r.get_response_sender() for r in requests]",
    "None as a result of execute": "return [None]",
}


@pytest.mark.parametrize("name", LATER)
def test_an_older_release_refuses_what_a_model_may_do_later(
    pb: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr("triton_python_backend_utils._releases._lacking", {name})
    assert pb.lacking_in(refused(pb, tmp_path, LATER[name])) == name


@pytest.mark.parametrize(
    ("name", "body"),
    [
        ("async_exec in a decoupled model", "pb.InferenceRequest(**ASKED).async_exec()"),
        ("a coroutine as execute of a decoupled model", "import asyncio; return asyncio.sleep(0)"),
    ],
)
def test_an_older_release_lets_no_decoupled_model_wait(
    pb: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, body: str
) -> None:
    monkeypatch.setattr("triton_python_backend_utils._releases._lacking", {name})
    asked = "{'inputs': [], 'requested_output_names': [], 'model_name': 'z'}"
    model = decoupled(pb, tmp_path, body.replace("ASKED", asked))
    with pytest.raises(pb.TritonModelException) as caught:
        model.respond([model.request([pb.Tensor("x", ONE)])])
    assert pb.lacking_in(str(caught.value)) == name


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("return True", ""),
        ("return False", "it says False"),
        ("return 1", "is_ready() must return a boolean value"),
        ("raise OSError('no')", "OSError: no"),
    ],
)
def test_a_model_says_whether_it_is_ready(
    pb: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str, said: str
) -> None:
    model = load(pb, tmp_path, f"pass\n\n    def is_ready(self):\n        {body}")
    assert model.why_not_ready() == said
    monkeypatch.setattr("triton_python_backend_utils._releases._lacking", {"is_ready of a model"})
    assert model.why_not_ready() == ""
