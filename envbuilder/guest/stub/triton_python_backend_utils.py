"""An honest stand-in for the module of this name that Triton's stub offers to a model.

It lets a runtime run without a server: in unit tests, and in the probe of `envbuilder verify`, inside the packed
interpreter. So it needs NumPy and nothing else (torch only where a tensor crosses by DLPack), Python 3.8 and later.
It fails where Triton fails and with Triton's words (``pb_tensor.cc``, ``infer_response.cc``, ``pb_stub.cc`` of
release 24.10), and it forgives nothing that Triton does not forgive.
"""

# ruff: noqa: UP006 - Python 3.8
from __future__ import annotations

import importlib.util
import json
import os
import sys
from typing import Any, Dict, List, Sequence

import numpy as np

_DTYPES = {
    "BOOL": np.bool_,
    "UINT8": np.uint8,
    "UINT16": np.uint16,
    "UINT32": np.uint32,
    "UINT64": np.uint64,
    "INT8": np.int8,
    "INT16": np.int16,
    "INT32": np.int32,
    "INT64": np.int64,
    "FP16": np.float16,
    "FP32": np.float32,
    "FP64": np.float64,
    "STRING": np.object_,
}


class TritonModelException(Exception):
    """What a model raises; Triton tells it to the client, or to the log while a model loads."""


class TritonError:
    """The error of one response."""

    UNKNOWN, INTERNAL, NOT_FOUND, INVALID_ARG, UNAVAILABLE, UNSUPPORTED, ALREADY_EXISTS, CANCELLED = range(8)

    def __init__(self, message: str, code: int = 1) -> None:
        self._message, self._code = message, code

    def message(self) -> str:
        """Return the text."""
        return self._message

    def code(self) -> int:
        """Return the kind of error."""
        return self._code


class Tensor:
    """A named tensor: an array, or (BF16, or on a GPU) a tensor of torch."""

    def __init__(self, name: str, data: np.ndarray[Any, Any]) -> None:
        if name == "":
            raise TritonModelException("Tensor name cannot be an empty string.")
        if not isinstance(data, np.ndarray):
            raise TypeError(f"__init__(): incompatible constructor arguments: {type(data).__name__}")
        kind = np.object_ if data.dtype.kind == "S" else data.dtype.type
        if kind not in _DTYPES.values():
            raise TritonModelException("NumPy dtype is not supported.")
        self._name = name
        self._data: Any = _as_bytes(data) if kind is np.object_ else data
        if not data.flags.c_contiguous:
            self._data = np.ascontiguousarray(data)
        self._dtype = next(n for n, t in _DTYPES.items() if t is kind)

    @classmethod
    def from_dlpack(cls, name: str, source: Any) -> Tensor:
        """Take over a DLPack capsule, or an object that can make one."""
        import torch.utils.dlpack

        if name == "":
            raise TritonModelException("Tensor name cannot be an empty string.")
        data: Any = torch.utils.dlpack.from_dlpack(source)
        if not data.is_contiguous():
            raise TritonModelException(
                "DLPack tensor is not contiguous. Only contiguous DLPack tensors that are stored in C-Order "
                "are supported."
            )
        tensor = cls.__new__(cls)
        tensor._name = name
        tensor._data = data
        tensor._dtype = _torch_dtype_name(data.dtype)
        if tensor._dtype != "BF16" and data.device.type == "cpu":
            tensor._data = data.numpy()
        return tensor

    def name(self) -> str:
        """Return its name."""
        return self._name

    def shape(self) -> List[int]:
        """Return its shape."""
        return [int(size) for size in self._data.shape]

    def triton_dtype(self) -> int:
        """Return the number of its data type in Triton's enumeration."""
        return 14 if self._dtype == "BF16" else list(_DTYPES).index(self._dtype) + 1

    def is_cpu(self) -> bool:
        """Say whether it is in the host's memory."""
        return isinstance(self._data, np.ndarray) or self._data.device.type == "cpu"

    def as_numpy(self) -> np.ndarray[Any, Any]:
        """Return it as an array that shares its memory."""
        if not self.is_cpu():
            raise TritonModelException("Tensor is stored in GPU and cannot be converted to NumPy.")
        if self._dtype == "BF16":
            raise TritonModelException(
                "Tensor dtype is BF16 and cannot be converted to NumPy. Use to_dlpack() and from_dlpack() instead."
            )
        array: np.ndarray[Any, Any] = self._data
        return array

    def to_dlpack(self) -> Any:
        """Return it as a DLPack capsule."""
        if self._dtype == "STRING":
            raise TritonModelException("TYPE_BYTES tensors cannot be converted to DLPack.")
        import torch
        from torch.utils.dlpack import to_dlpack  # type: ignore[attr-defined]  # public, yet not in its __all__

        return to_dlpack(torch.from_numpy(self._data) if isinstance(self._data, np.ndarray) else self._data)


def _as_bytes(data: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return *data* as it comes out of Triton's serialization: every element is bytes."""
    items = [item if isinstance(item, bytes) else str(item).encode("utf-8") for item in data.reshape(-1)]
    result = np.empty(len(items), dtype=np.object_)
    result[:] = items
    return result.reshape(data.shape)


def _torch_dtype_name(dtype: Any) -> str:
    import torch

    if dtype is torch.bfloat16:
        return "BF16"
    kind = np.dtype(str(dtype).replace("torch.", "")).type
    return next(n for n, t in _DTYPES.items() if t is kind)


class InferenceRequest:
    """One request; *requested_output_names* empty means all, as a client may say it."""

    def __init__(
        self,
        inputs: Sequence[Tensor] = (),
        requested_output_names: Sequence[str] = (),
        request_id: str = "",
        **rest: Any,
    ) -> None:
        self._inputs = list(inputs)
        self._requested = list(requested_output_names)
        self._id = request_id

    def inputs(self) -> List[Tensor]:
        """Return its tensors."""
        return self._inputs

    def requested_output_names(self) -> List[str]:
        """Return the outputs that the client wants."""
        return self._requested

    def request_id(self) -> str:
        """Return the client's id."""
        return self._id

    def is_cancelled(self) -> bool:
        """Say whether the client has gone."""
        return False


class InferenceResponse:
    """The answer to one request: tensors, or an error."""

    def __init__(
        self, output_tensors: Sequence[Tensor] = (), error: TritonError | None = None, **rest: Any
    ) -> None:
        if any(tensor is None for tensor in output_tensors):
            raise TritonModelException("Output tensor for inference response should not be empty.")
        self._tensors = list(output_tensors)
        self._error = error

    def output_tensors(self) -> List[Tensor]:
        """Return its tensors."""
        return self._tensors

    def has_error(self) -> bool:
        """Say whether it is an error."""
        return self._error is not None

    def error(self) -> TritonError | None:
        """Return the error, or None."""
        return self._error


class Logger:
    """Keeps what is logged; ``lines`` holds (level, message)."""

    lines: List[Any] = []  # noqa: RUF012 - one log for the process, as in Triton

    @classmethod
    def log(cls, message: str, level: str = "info") -> None:
        """Log *message* at *level*."""
        cls.lines.append((level, message))

    @classmethod
    def log_info(cls, message: str) -> None:
        """Log for information."""
        cls.log(message, "info")

    @classmethod
    def log_warn(cls, message: str) -> None:
        """Log a warning."""
        cls.log(message, "warn")

    @classmethod
    def log_error(cls, message: str) -> None:
        """Log an error."""
        cls.log(message, "error")

    @classmethod
    def log_verbose(cls, message: str) -> None:
        """Log for whoever asked for more."""
        cls.log(message, "verbose")


class Metric:
    """One series of a family."""

    def __init__(self, kind: int) -> None:
        self._kind, self._value = kind, 0.0

    def increment(self, value: float) -> None:
        """Add *value*; a counter takes no negative one."""
        if self._kind == MetricFamily.COUNTER and value < 0:
            raise TritonModelException("Failed to increment metric value: a counter never goes down")
        self._value += value

    def set(self, value: float) -> None:
        """Set a gauge to *value*."""
        if self._kind == MetricFamily.COUNTER:
            raise TritonModelException("Failed to set metric value: a counter cannot be set")
        self._value = value

    def value(self) -> float:
        """Return the value."""
        return self._value


class MetricFamily:
    """Series of one name; ``families`` holds those of this process, each with its series."""

    COUNTER, GAUGE = 0, 1
    families: Dict[str, Dict[Any, Metric]] = {}  # noqa: RUF012 - one registry for the process, as in Triton

    def __init__(self, name: str, description: str, kind: int) -> None:
        self._series = self.families.setdefault(name, {})
        self._kind = kind

    def Metric(self, labels: Dict[str, str]) -> Metric:
        """Return a new series."""
        if not isinstance(labels, dict):
            raise TritonModelException("Failed to create metric. Labels must be a dictionary.")
        return self._series.setdefault(tuple(sorted(labels.items())), Metric(self._kind))


def get_input_tensor_by_name(inference_request: InferenceRequest, name: str) -> Tensor | None:
    """Return the input called *name*, or None."""
    return next((tensor for tensor in inference_request.inputs() if tensor.name() == name), None)


def get_output_tensor_by_name(inference_response: InferenceResponse, name: str) -> Tensor | None:
    """Return the output called *name*, or None."""
    return next((tensor for tensor in inference_response.output_tensors() if tensor.name() == name), None)


_model_dir = ""


def get_model_dir() -> str:
    """Return the version folder of the model that was loaded last."""
    return _model_dir


class Model:
    """A model in this process: what the stub does with a runtime, and what the server checks of its answers."""

    def __init__(
        self,
        runtime: str,
        model_directory: str,
        config: Dict[str, Any],
        *,
        name: str | None = None,
        version: str = "1",
        kind: str = "CPU",
        device: str = "0",
    ) -> None:
        """Import the file *runtime* and initialize it for the model in *model_directory*.

        *config* is the configuration as JSON has it (``data_type: "TYPE_FP32"``); *kind* is CPU, GPU or MODEL.
        """
        global _model_dir
        self.name = name or os.path.basename(os.path.normpath(model_directory))
        self._outputs = [output["name"] for output in config.get("output", [])]
        _model_dir = os.path.join(model_directory, version)
        if "triton_python_backend_utils" not in sys.modules:
            raise RuntimeError(
                "this file's folder must be on sys.path, and the module imported by its own name"
            )
        spec = importlib.util.spec_from_file_location("_runtime_" + self.name, runtime)
        if spec is None or spec.loader is None:
            raise RuntimeError(f"{runtime} is not a Python file")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        self.instance: Any = module.TritonPythonModel()
        if not hasattr(self.instance, "initialize"):  # as Triton, which asks before it calls
            return
        self.instance.initialize(
            {
                "model_config": json.dumps(config),
                "model_instance_kind": kind,
                "model_instance_name": self.name + "_0_0",
                "model_instance_device_id": device,
                "model_repository": model_directory,
                "model_version": version,
                "model_name": self.name,
            }
        )

    def execute(self, requests: Sequence[InferenceRequest]) -> List[InferenceResponse]:
        """Give *requests* to the model as one batch and return what a server would send.

        Raises:
            TritonModelException: the server would refuse the answer.
        """
        for request in requests:
            request._requested = request._requested or list(self._outputs)
            for wanted in request._requested:
                if wanted not in self._outputs:
                    raise TritonModelException(
                        f"unexpected inference output '{wanted}' for model '{self.name}'"
                    )
        responses = self.instance.execute(list(requests))
        if not isinstance(responses, list) or len(responses) != len(requests):
            raise TritonModelException(
                "Number of InferenceResponse objects do not match the number of InferenceRequest objects. "
                f"InferenceRequest(s) size is:{len(requests)}, and InferenceResponse(s) size is:{len(responses)}"
            )
        for request, response in zip(requests, responses):
            self._check(response)
            response._tensors = [
                t for t in response._tensors if t.name() in request._requested
            ]  # as the stub does
        return responses

    def _check(self, response: Any) -> None:
        if not isinstance(response, InferenceResponse):
            raise TritonModelException(
                "Expected an 'InferenceResponse' object in the execute function return list, found type "
                f"'{type(response)}'."
            )
        for tensor in response.output_tensors():
            if tensor.name() not in self._outputs:
                raise TritonModelException(
                    f"unexpected inference output '{tensor.name()}' for model '{self.name}'"
                )
            # The server copies what it sends: later changes of a buffer do not reach the client.
            tensor._data = (
                tensor._data.copy() if isinstance(tensor._data, np.ndarray) else tensor._data.clone()
            )

    def infer(self, **inputs: np.ndarray[Any, Any]) -> Dict[str, np.ndarray[Any, Any]]:
        """Ask one request of arrays and return its outputs.

        Raises:
            TritonModelException: the model answered with an error, which is the message.
        """
        (response,) = self.execute([InferenceRequest([Tensor(name, data) for name, data in inputs.items()])])
        error = response.error()
        if error is not None:
            raise TritonModelException(error.message())
        return {tensor.name(): tensor.as_numpy() for tensor in response.output_tensors()}

    def finalize(self) -> None:
        """Unload the model."""
        if hasattr(self.instance, "finalize"):
            self.instance.finalize()
