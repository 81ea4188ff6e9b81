"""Responses, returned by ``execute`` or sent by a response sender."""

# ruff: noqa: UP006 - Python 3.8
from __future__ import annotations

import json
import threading
import time
from typing import Any, Callable, Dict, Iterator, List, Sequence

from ._arguments import UINT32, check_kind, whole
from ._errors import TritonError, TritonModelException
from ._tensor import Tensor

TRITONSERVER_RESPONSE_COMPLETE_FINAL = 1


def parameters_text(parameters: Dict[str, Any] | None) -> str:
    """Return *parameters* as JSON, the form in which Triton keeps them.

    Raises:
        TritonModelException: a key is not a str, or a value is none of str, int and bool.
    """
    if parameters is not None and not isinstance(parameters, dict):
        raise TritonModelException(f"Expect N8pybind114dictE, got {type(parameters)}")
    for key, value in (parameters or {}).items():
        if not isinstance(key, str):
            raise TritonModelException(f"Expect parameters keys to have type str, found type {type(key)}")
        if not isinstance(value, (str, int)):
            text = "Expect parameters values to have type bool/int/str, found type"
            raise TritonModelException(f"{text} {type(value)}")
    return json.dumps(parameters or {})


class InferenceResponse:
    """The response to one request: tensors, or an error."""

    __slots__ = ("_error", "_parameters", "_tensors")

    def __init__(
        self,
        output_tensors: Sequence[Tensor] = (),
        error: TritonError | None = None,
        parameters: Dict[str, Any] | None = None,
    ) -> None:
        if any(tensor is None for tensor in output_tensors):
            raise TritonModelException("Output tensor for inference response should not be empty.")
        if not all(isinstance(tensor, Tensor) for tensor in output_tensors):
            raise TypeError("__init__(): incompatible constructor arguments: output_tensors")
        if error is not None and not isinstance(error, TritonError):
            raise TypeError(f"__init__(): incompatible constructor arguments: {type(error).__name__}")
        self._tensors = list(output_tensors)
        self._error = error
        self._parameters = parameters_text(parameters)

    def output_tensors(self) -> List[Tensor]:
        """Return the output tensors."""
        return self._tensors

    def has_error(self) -> bool:
        """Return whether it is an error."""
        return self._error is not None

    def error(self) -> TritonError | None:
        """Return the error, or None."""
        return self._error

    def parameters(self) -> str:
        """Return the parameters as JSON; ``{}`` if there are none."""
        return self._parameters

    def keep(self, wanted: Sequence[str]) -> InferenceResponse:
        """Return a copy with the outputs *wanted*, as the server sends it to the client."""
        sent = InferenceResponse(error=self._error)
        sent._parameters = self._parameters
        sent._tensors = [tensor.sent() for tensor in self._tensors if tensor.name() in wanted]
        return sent


class Delivery:
    """The responses to one request, as its client would receive them. For the host."""

    def __init__(self, decoupled: bool, check: Callable[[InferenceResponse], Any]) -> None:
        self.decoupled, self._check = decoupled, check
        self._lock = threading.Lock()
        self.sent: List[InferenceResponse] = []
        """The responses that the client would have received."""
        self.closed = threading.Event()
        """Set when the final flag was sent."""
        self.final_alone = False
        """Whether the final flag came without a response."""
        self.claimed = False
        """Whether the model took the response sender."""
        self.last = time.monotonic()
        """When the last response was sent, or this was created."""

    def take(self, response: InferenceResponse | None, flags: int) -> None:
        """Take what a sender sends.

        Raises:
            TritonModelException: Triton would refuse it.
        """
        with self._lock:
            self._refuse(response, flags)
            if response is not None:
                self.sent.append(self._check(response))
            self.last = time.monotonic()
            if flags:
                self.final_alone = response is None
                self.closed.set()

    def _refuse(self, response: InferenceResponse | None, flags: int) -> None:
        if not self.decoupled and response is not None and self.sent:
            raise TritonModelException(
                "Unable to send response. Non-decoupled model cannot send more than one response."
            )
        if not self.decoupled and response is None and flags and not self.sent:
            raise TritonModelException(
                "Unable to send response. Non-decoupled model cannot send complete final before sending a response."
            )
        if self.closed.is_set():
            raise TritonModelException("Unable to send response. Response sender has been closed.")


class InferenceResponseSender:
    """Sends the responses to one request, from any thread, until one has the final flag."""

    def __init__(self, delivery: Delivery, cancelled: Callable[[], bool]) -> None:
        self._delivery, self._is_cancelled = delivery, cancelled

    def send(self, response: InferenceResponse | None = None, flags: int = 0) -> None:
        """Send *response*; the one with the final flag is the last, and may be None."""
        flags = whole("send", flags, UINT32)
        if response is not None:
            check_kind("send", response, InferenceResponse)
        if flags not in (0, TRITONSERVER_RESPONSE_COMPLETE_FINAL):
            raise TritonModelException("Unable to send response. Unsupported flag provided.")
        if flags == 0 and response is None:
            raise TritonModelException(
                "Inference Response object must be provided when the response flags is set to zero."
            )
        self._delivery.take(response, flags)

    def is_cancelled(self) -> bool:
        """Return whether the client cancelled the request."""
        return self._is_cancelled()


class ResponseIterator:
    """The responses of a decoupled model to a request of another model; each ``for`` starts over.

    The last one has no tensors if the model sent its final flag without a response.
    """

    def __init__(self, responses: Sequence[InferenceResponse]) -> None:
        self._responses = list(responses)
        self._next = 0

    def __iter__(self) -> Iterator[InferenceResponse]:
        self._next = 0
        return self

    def __next__(self) -> InferenceResponse:
        if self._next == len(self._responses):
            raise StopIteration
        self._next += 1
        return self._responses[self._next - 1]

    def cancel(self) -> None:
        """Cancel the remaining responses."""
        self._responses = self._responses[: self._next]


def get_output_tensor_by_name(inference_response: InferenceResponse, name: str) -> Tensor | None:
    """Return the output *name*, or None."""
    return next((tensor for tensor in inference_response.output_tensors() if tensor.name() == name), None)
