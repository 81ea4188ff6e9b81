"""A model that computes nothing, the ceiling of what a Python model can reach: zeros of the right shape."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    """Reads the first input and answers with the first output."""

    def initialize(self, args: dict[str, str]) -> None:
        """Note names and dims."""
        config = json.loads(args["model_config"])
        self.input = config["input"][0]["name"]
        self.output = config["output"][0]["name"]
        self.dims = [int(size) for size in config["output"][0]["dims"]]

    def execute(self, requests: list[Any]) -> list[Any]:
        """Answer each request by itself."""
        responses = []
        for request in requests:
            data = pb_utils.get_input_tensor_by_name(request, self.input).as_numpy()
            zeros = np.zeros((len(data), *self.dims), np.float32)
            responses.append(pb_utils.InferenceResponse([pb_utils.Tensor(self.output, zeros)]))
        return responses
