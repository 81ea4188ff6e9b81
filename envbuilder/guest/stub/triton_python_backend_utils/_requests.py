"""Requests: those that the server passes to a model, and those that a model sends to another one."""

# ruff: noqa: UP006 - Python 3.8
from __future__ import annotations

import asyncio
import copy
import enum
import functools
import json
import weakref
from typing import Any, Awaitable, Callable, Dict, List, Sequence, Set

from . import _models
from ._arguments import INT64, UINT32, UINT64, check_kind, refuse_type, text, whole
from ._errors import TritonError, TritonModelException
from ._releases import lacks, refuse
from ._responses import (
    Delivery,
    InferenceResponse,
    InferenceResponseSender,
    ResponseIterator,
    parameters_text,
)
from ._tensor import Tensor

TRITONSERVER_REQUEST_FLAG_SEQUENCE_START = 1
TRITONSERVER_REQUEST_FLAG_SEQUENCE_END = 2
TRITONSERVER_REQUEST_RELEASE_ALL = 1
TRITONSERVER_REQUEST_RELEASE_RESCHEDULE = 2


class MemoryType(enum.IntEnum):
    """Kinds of memory; as in Triton, no number is accepted in place of a member."""

    TRITONSERVER_MEMORY_GPU, TRITONSERVER_MEMORY_CPU = range(2)


TRITONSERVER_MEMORY_GPU, TRITONSERVER_MEMORY_CPU = MemoryType


class PreferredMemory:
    """The memory in which a model wants the outputs of another one."""

    def __init__(self, preferred_memory_type: MemoryType, preferred_device_id: int = 0) -> None:
        check_kind("PreferredMemory", preferred_memory_type, MemoryType)
        self.preferred_memory_type, self.preferred_device_id = preferred_memory_type, preferred_device_id


class InferenceTrace:
    """The trace of a request, always without a context."""

    def get_context(self) -> str | None:
        """Return the context that tracing propagates: None."""
        return None


_NO_PREFERENCE, _NO_TRACE = PreferredMemory(MemoryType.TRITONSERVER_MEMORY_CPU), InferenceTrace()


class InferenceRequest:
    """One request."""

    __slots__ = (
        "__weakref__",
        "_correlation_id",
        "_flags",
        "_id",
        "_inputs",
        "_model",
        "_parameters",
        "_requested",
        "_sender",
        "_timeout",
        "_trace",
        "_version",
        "cancelled",
        "delivery",
        "release_flags",
    )

    def __init__(
        self,
        request_id: str = "",
        correlation_id: Any = 0,
        inputs: Sequence[Tensor] | None = None,
        requested_output_names: Sequence[str] | None = None,
        model_name: str | None = None,
        model_version: int = -1,
        flags: int = 0,
        timeout: int = 0,
        preferred_memory: PreferredMemory = _NO_PREFERENCE,
        trace: InferenceTrace = _NO_TRACE,
        parameters: Dict[str, Any] | None = None,
    ) -> None:
        given = {"inputs": inputs, "requested_output_names": requested_output_names, "model_name": model_name}
        missing = [name for name, value in given.items() if value is None]
        if missing:
            raise TypeError(f"__init__(): incompatible constructor arguments: no {', '.join(missing)}")
        text_id = "a text as correlation_id of InferenceRequest"
        if isinstance(correlation_id, str) and lacks(text_id):
            refuse(
                text_id, TypeError("__init__(): incompatible constructor arguments: correlation_id is a text")
            )
        names = () if isinstance(requested_output_names, (str, bytes)) else requested_output_names or ()
        self._id, self._model, *wanted = (
            text("InferenceRequest", one) for one in (request_id, model_name, *names)
        )
        check_kind("InferenceRequest", preferred_memory, PreferredMemory)
        check_kind("InferenceRequest", trace, InferenceTrace)
        if isinstance(requested_output_names, (str, bytes)):
            raise refuse_type("InferenceRequest", requested_output_names)
        self._version = whole("InferenceRequest", model_version, INT64)
        if not isinstance(correlation_id, (int, str)):
            raise TritonModelException("Correlation ID must be integer or string")
        if isinstance(correlation_id, int) and not 0 <= correlation_id <= UINT64[1]:
            raise RuntimeError("Unable to cast Python instance to C++ type")
        if not all(isinstance(tensor, Tensor) for tensor in inputs or ()):
            raise TypeError("__init__(): incompatible constructor arguments: inputs")
        self._inputs = list(inputs or ())
        self._requested = list(dict.fromkeys(wanted))
        self._correlation_id = int(correlation_id) if isinstance(correlation_id, int) else correlation_id
        self._flags = whole("InferenceRequest", flags, UINT32)
        self._timeout = whole("InferenceRequest", timeout, UINT64)
        self._trace = trace
        self._parameters = parameters_text(parameters)
        self.release_flags = TRITONSERVER_REQUEST_RELEASE_ALL
        """The release flags that the model set, applied when ``execute`` returns."""
        self.delivery: Delivery | None = None
        """Where its responses go, if the server passed the request to the model."""
        self._sender: InferenceResponseSender | None = None
        self.cancelled = False
        """Whether the client cancelled the request."""

    def inputs(self) -> List[Tensor]:
        """Return the input tensors."""
        return self._inputs

    def requested_output_names(self) -> Set[str]:
        """Return the names of the requested outputs, unordered as in Triton."""
        return set(self._requested)

    def want(self, names: Sequence[str]) -> None:
        """Set the requested outputs, as the server does if the client named none."""
        self._requested = list(names)

    def request_id(self) -> str:
        """Return the request id of the client."""
        return self._id

    def correlation_id(self) -> Any:
        """Return the sequence id, a number or a text; 0 for none."""
        return self._correlation_id

    def flags(self) -> int:
        """Return ``TRITONSERVER_REQUEST_FLAG_…``."""
        return self._flags

    def set_flags(self, flags: int, /) -> None:
        """Set ``TRITONSERVER_REQUEST_FLAG_…``."""
        self._flags = whole("set_flags", flags, UINT32)

    def timeout(self) -> int:
        """Return the client's timeout in microseconds; 0 for none."""
        return self._timeout

    def parameters(self) -> str:
        """Return the parameters as JSON; ``{}`` if there are none."""
        return self._parameters

    def trace(self) -> InferenceTrace:
        """Return the trace."""
        return self._trace

    def asked_model(self) -> str:
        """Return the name of the called model. For the host: Triton's class has no such method."""
        return self._model

    def asked_version(self) -> int:
        """Return the requested version of the called model, -1 for the latest. For the host."""
        return self._version

    def said(self) -> Dict[str, Any]:
        """Return the constructor arguments of the request that are neither tensors nor names. For the host."""
        return {
            "request_id": self._id,
            "correlation_id": self._correlation_id,
            "flags": self._flags,
            "timeout": self._timeout,
            "parameters": json.loads(self._parameters),
        }

    def passed(self, delivery: Delivery) -> InferenceRequest:
        """Return this request as the server passes it to the model, whose responses *delivery* takes. For the host.

        It is a copy, so that the host learns when the model has let go of it and of its response sender.
        """
        request = copy.copy(self)
        request.delivery = delivery
        request._sender = InferenceResponseSender(delivery, lambda: self.cancelled)
        return request

    def holders(self) -> Callable[[], bool]:
        """Return a function that returns whether it or its response sender still exists. For the host."""
        found: List[Callable[[], object]] = [weakref.ref(self)]
        found += [weakref.ref(self._sender)] if self._sender is not None else []
        return lambda: any(one() is not None for one in found)

    def is_cancelled(self) -> bool:
        """Return whether the client cancelled the request."""
        if self.delivery is None:
            raise TritonModelException(
                "is_cancelled of a request that a model makes: it ends the stub of Triton 24.10"
            )
        return self.cancelled

    def get_response_sender(self) -> InferenceResponseSender:
        """Return the sender of responses to this request."""
        if self.delivery is None or self._sender is None:
            raise TritonModelException(
                "Response sender is not available for a request that a model has made."
            )
        by_default = "get_response_sender in a model that is not decoupled"
        if not self.delivery.decoupled and lacks(by_default):
            text = "'get_response_sender' function must be called only when the model is using the decoupled "
            refuse(by_default, TritonModelException(text + "transaction policy."))
        self.delivery.claimed = True
        return self._sender

    def set_release_flags(self, flags: int, /) -> None:
        """Set whether the request is done, or rescheduled (``TRITONSERVER_REQUEST_RELEASE_RESCHEDULE``)."""
        self.release_flags = whole("set_release_flags", flags, UINT32)

    def exec(self, decoupled: bool = False) -> Any:
        """Send the request to the model and return its response, or an iterator of responses if *decoupled*.

        As in Triton, a failure is an error of the response; a call outside of serving raises.
        """
        _models.require_serving()
        try:
            responses = _models.infer(self, decoupled)
        except TritonModelException as error:
            responses = [InferenceResponse(error=TritonError(str(error)))]
        return ResponseIterator(responses) if decoupled else responses[0]

    def async_exec(self, decoupled: bool = False) -> Awaitable[Any]:
        """Return an awaitable with the result of :meth:`exec`."""
        decoupled_too = "async_exec in a decoupled model"
        if _models.is_decoupled() and lacks(decoupled_too):
            text = "Async BLS request execution is not support in the decoupled API."
            refuse(decoupled_too, TritonModelException(text))
        loop = asyncio.get_running_loop()
        return loop.run_in_executor(None, functools.partial(self.exec, decoupled))


def get_input_tensor_by_name(inference_request: InferenceRequest, name: str) -> Tensor | None:
    """Return the input called *name*, or None."""
    return next((tensor for tensor in inference_request.inputs() if tensor.name() == name), None)
