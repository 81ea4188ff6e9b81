"""A replacement for the module of this name that Triton's stub provides to a model.

It lets a model run without a server: in unit tests, and in the probe of `envbuilder verify`, inside the packed
interpreter. So it needs only NumPy (torch only for tensors that cross by DLPack) and Python 3.8 or later. It has every
public name of the real module (the file ``triton_python_backend_utils.py`` of the Python backend, and what
``pb_stub.cc`` adds to it), is as strict as the real one, and raises errors with the same text (``pb_tensor.cc``,
``infer_response.cc``, ``pb_stub.cc`` of release 24.10). The names are those of the newest release; :func:`lack` removes
what an older one does not have.
"""

import json
import struct
from typing import NoReturn

import numpy as np

from ._config import (
    ModelConfig,
    get_input_config_by_name,
    get_output_config_by_name,
    using_decoupled_model_transaction_policy,
)
from ._errors import TritonError, TritonModelException
from ._hosted import Model, get_model_dir
from ._logger import Logger, Metric, MetricFamily
from ._models import is_model_ready, load_model, not_running, unload_model, use_router
from ._releases import CLASSES, lack, lacking_in, lacks, refuse_name
from ._requests import (
    TRITONSERVER_MEMORY_CPU,
    TRITONSERVER_MEMORY_GPU,
    TRITONSERVER_REQUEST_FLAG_SEQUENCE_END,
    TRITONSERVER_REQUEST_FLAG_SEQUENCE_START,
    TRITONSERVER_REQUEST_RELEASE_ALL,
    TRITONSERVER_REQUEST_RELEASE_RESCHEDULE,
    InferenceRequest,
    InferenceTrace,
    PreferredMemory,
    get_input_tensor_by_name,
)
from ._responses import (
    TRITONSERVER_RESPONSE_COMPLETE_FINAL,
    InferenceResponse,
    InferenceResponseSender,
    ResponseIterator,
    get_output_tensor_by_name,
)
from ._tensor import Tensor
from ._types import (
    TRITON_STRING_TO_NUMPY,
    deserialize_bytes_tensor,
    numpy_to_triton_type,
    serialize_byte_tensor,
    triton_string_to_numpy,
    triton_to_numpy_type,
)

__all__ = [
    "TRITONSERVER_MEMORY_CPU",
    "TRITONSERVER_MEMORY_GPU",
    "TRITONSERVER_REQUEST_FLAG_SEQUENCE_END",
    "TRITONSERVER_REQUEST_FLAG_SEQUENCE_START",
    "TRITONSERVER_REQUEST_RELEASE_ALL",
    "TRITONSERVER_REQUEST_RELEASE_RESCHEDULE",
    "TRITONSERVER_RESPONSE_COMPLETE_FINAL",
    "TRITON_STRING_TO_NUMPY",
    "InferenceRequest",
    "InferenceResponse",
    "InferenceResponseSender",
    "InferenceTrace",
    "Logger",
    "Metric",
    "MetricFamily",
    "Model",
    "ModelConfig",
    "PreferredMemory",
    "ResponseIterator",
    "Tensor",
    "TritonError",
    "TritonModelException",
    "deserialize_bytes_tensor",
    "get_input_config_by_name",
    "get_input_tensor_by_name",
    "get_model_dir",
    "get_output_config_by_name",
    "get_output_tensor_by_name",
    "is_model_ready",
    "json",
    "lack",
    "lacking_in",
    "lacks",
    "load_model",
    "not_running",
    "np",
    "numpy_to_triton_type",
    "serialize_byte_tensor",
    "struct",
    "triton_string_to_numpy",
    "triton_to_numpy_type",
    "unload_model",
    "use_router",
    "using_decoupled_model_transaction_policy",
]

HOST_ONLY = (
    "InferenceResponseSender",
    "InferenceTrace",
    "Metric",
    "Model",
    "ResponseIterator",
    "lack",
    "lacking_in",
    "lacks",
    "not_running",
    "use_router",
)
"""Names of this module that Triton's does not have: they are for the code that hosts a model."""
CLASSES.update(
    (kind.__name__, kind)
    for kind in (
        InferenceRequest,
        InferenceResponse,
        InferenceResponseSender,
        InferenceTrace,
        Metric,
        MetricFamily,
        ModelConfig,
        ResponseIterator,
        TritonError,
    )
)


def __getattr__(name: str) -> NoReturn:
    refuse_name("triton_python_backend_utils", name)
