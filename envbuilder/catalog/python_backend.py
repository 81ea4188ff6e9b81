"""What the Python backend needs, and which release added what to ``triton_python_backend_utils`` since 23.08.

Source: ``pb_stub.cc``, ``infer_request.cc``, ``pb_stub_utils.cc`` and ``triton_python_backend_utils.py`` of
triton-inference-server/python_backend, compared on each release branch from r23.08 to r26.07; each row has the number
of the pull request. Names that every release since 23.08 has are not listed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

FIRST_RELEASE: Final = "23.08"
"""The first release whose Python backend supports the execution environments that this tool writes."""
NEEDED: Final = frozenset({"numpy", "torch"})
"""The projects that every environment has: the stub imports the first, and the shipped runtime serves the second."""
PYTRITON: Final = "pytriton-0.7.0"
"""The Triton release in the ``nvidia-pytriton`` 0.7.0 wheel: server 2.51.0, which is 24.10."""
PYTRITON_RELEASE: Final = "24.10"


@dataclass(frozen=True, slots=True)
class Addition:
    """A name or capability that a release added."""

    name: str
    """``Class.attribute``, ``Class.method(argument)``, the name of a constant, or a description of a capability."""
    release: str
    """The first release that has it."""
    request: int
    """The number of the pull request that added it."""


ADDITIONS: Final = (
    Addition("TritonError.__init__(code)", "23.09", 292),
    Addition("TritonError.code", "23.09", 292),
    Addition("TritonError.UNKNOWN", "23.09", 292),
    Addition("TritonError.INTERNAL", "23.09", 292),
    Addition("TritonError.NOT_FOUND", "23.09", 292),
    Addition("TritonError.INVALID_ARG", "23.09", 292),
    Addition("TritonError.UNAVAILABLE", "23.09", 292),
    Addition("TritonError.UNSUPPORTED", "23.09", 292),
    Addition("TritonError.ALREADY_EXISTS", "23.09", 292),
    Addition("TritonError.CANCELLED", "23.10", 304),
    Addition("InferenceRequest.is_cancelled", "23.10", 304),
    Addition("InferenceResponseSender.is_cancelled", "23.10", 304),
    Addition("InferenceRequest.__init__(parameters)", "23.11", 313),
    Addition("InferenceRequest.set_release_flags", "23.11", 319),
    Addition("TRITONSERVER_REQUEST_RELEASE_ALL", "23.11", 319),
    Addition("TRITONSERVER_REQUEST_RELEASE_RESCHEDULE", "23.11", 319),
    Addition("ModelConfig.set_model_transaction_policy", "23.11", 317),
    Addition("'optional' in ModelConfig.add_input", "23.11", 317),
    Addition("InferenceTrace.get_context", "24.03", 346),
    Addition("a text as correlation_id of InferenceRequest", "24.04", 344),
    Addition("async_exec in a decoupled model", "24.04", 350),
    Addition("a coroutine as execute of a decoupled model", "24.04", 350),
    Addition("get_response_sender in a model that is not decoupled", "24.06", 364),
    Addition("None as a result of execute", "24.06", 364),
    Addition("BF16 tensors", "24.08", 371),
    Addition("MetricFamily.HISTOGRAM", "24.08", 374),
    Addition("MetricFamily.Metric(buckets)", "24.08", 374),
    Addition("Metric.observe", "24.08", 374),
    Addition("InferenceResponse.__init__(parameters)", "25.02", 394),
    Addition("InferenceResponse.parameters", "25.02", 394),
    Addition("ResponseIterator.cancel", "25.04", 398),
    Addition("is_ready of a model", "26.03", 430),
)


def lacked_by(release: str) -> tuple[str, ...]:
    """Return the names of additions that are newer than *release* (``24.10``, ``pytriton-0.7.0``)."""
    number = PYTRITON_RELEASE if release == PYTRITON else release
    return tuple(one.name for one in ADDITIONS if one.release > number)


def came_with(name: str) -> str | None:
    """Return the release that added *name*; None if it is not in :data:`ADDITIONS`."""
    return next((one.release for one in ADDITIONS if one.name == name), None)
