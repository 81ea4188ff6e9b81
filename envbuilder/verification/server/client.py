"""Send requests for a model to a running server: by HTTP, by gRPC, and by a stream if the model is decoupled."""

from __future__ import annotations

import queue
from collections.abc import Callable, Iterable
from typing import Any, Final

import numpy as np
import tritonclient.grpc
import tritonclient.http
from tritonclient.grpc import model_config_pb2
from tritonclient.utils import InferenceServerException, triton_to_np_dtype

from envbuilder.guest.answers import Answer
from envbuilder.guest.bfloat16 import from_bits, to_bits
from envbuilder.guest.host import TEXT_ID
from envbuilder.util.files import read_ends
from envbuilder.verification.live import inputs as sample
from envbuilder.verification.live.deployed import DeployedModel
from envbuilder.verification.server.process import MOST_LOG, RunningServer

LOST: Final = np.empty(0, np.void)
"""An output whose values were lost in transfer. An output that is meant to be empty has a shape and a type."""
_UNLOADED: Final = "unloaded"
"""A server's reason for a version that it unloads because another one does not load."""
_SEQUENCE: Final = {"sequence_start": True, "sequence_end": True}
_Control: Final = model_config_pb2.ModelSequenceBatching.Control


def ask_http(running: RunningServer, deployed: DeployedModel, inputs: sample.Inputs) -> Answer:
    """Return the one response to a request by HTTP.

    Raises:
        InferenceServerException: the server refuses, or the model answers with an error.
    """
    with tritonclient.http.InferenceServerClient(running.http, network_timeout=running.patience) as client:
        return [_infer(tritonclient.http, client.infer, deployed, inputs)]


def ask_grpc(running: RunningServer, deployed: DeployedModel, inputs: sample.Inputs) -> Answer:
    """Return the responses to a request by gRPC: one, or those of a stream.

    Raises:
        InferenceServerException: the server refuses, or the model answers with an error.
    """
    with tritonclient.grpc.InferenceServerClient(running.grpc) as client:
        if deployed.decoupled:
            return _stream(client, deployed, inputs, running.patience)

        def infer(*args: Any, **options: Any) -> Any:
            return client.infer(*args, client_timeout=running.patience, **options)

        return [_infer(tritonclient.grpc, infer, deployed, inputs)]


def not_ready(running: RunningServer, deployed: DeployedModel) -> str | None:
    """Return why the server does not serve the model; None if it does."""
    name = deployed.name
    with tritonclient.http.InferenceServerClient(running.http, network_timeout=running.patience) as client:
        if client.is_model_ready(name, deployed.version if deployed.older else ""):
            return None
        index = [entry for entry in client.get_model_repository_index() if entry.get("name") == name]
        reasons = [entry["reason"] for entry in index if entry.get("reason") not in (None, "", _UNLOADED)]
        log = read_ends(running.log, MOST_LOG).splitlines()
        reasons += [line for line in log if line.startswith("E") and name in line] if not reasons else []
        return str(reasons[-1]) if reasons else "it does not say why"


def config_of(running: RunningServer, deployed: DeployedModel) -> model_config_pb2.ModelConfig | None:
    """Return the server's configuration of a model's version, each of which completes it; None if it returns none."""
    with tritonclient.grpc.InferenceServerClient(running.grpc) as client:
        try:
            config = client.get_model_config(
                deployed.name, _version(deployed), client_timeout=running.patience
            ).config
        except InferenceServerException:
            return None
        assert isinstance(config, model_config_pb2.ModelConfig)
        return config


def array_of(result: Any, name: str) -> np.ndarray[Any, Any]:
    """Return an output; :data:`LOST` if it has a shape but no bytes, for which clients raise an error."""
    try:
        array = result.as_numpy(name)
    except ValueError as error:
        if "array of size 0 into shape" not in str(error):
            raise
        array = None
    found: np.ndarray[Any, Any] = LOST if array is None else array
    # Clients before 26.06 return BF16 as float32, like the probe.
    return found.astype(np.float32) if found.dtype.name == "bfloat16" else found


def lost_outputs(answers: Iterable[Answer]) -> list[str]:
    """Return the outputs whose values were lost in transfer."""
    found = (item for answer in answers for response in answer for item in response.items())
    return sorted({name for name, array in found if array is LOST})


def outputs_of(result: Any) -> sample.Inputs:
    """Return the outputs of a response by name."""
    response = result.get_response()
    if isinstance(response, dict):
        return {one["name"]: array_of(result, one["name"]) for one in response.get("outputs", ())}
    return {one.name: array_of(result, one.name) for one in response.outputs}


def _infer(
    module: Any, infer: Callable[..., Any], deployed: DeployedModel, inputs: sample.Inputs
) -> sample.Inputs:
    result = infer(
        deployed.name, _tensors(module, deployed, inputs), model_version=_version(deployed), **_more(deployed)
    )
    return outputs_of(result)


def _stream(client: Any, deployed: DeployedModel, inputs: sample.Inputs, patience: float) -> Answer:
    arrived: queue.Queue[tuple[Any, Any]] = queue.Queue()
    client.start_stream(lambda result, error: arrived.put((result, error)))
    try:
        client.async_stream_infer(
            deployed.name,
            _tensors(tritonclient.grpc, deployed, inputs),
            model_version=_version(deployed),
            enable_empty_final_response=True,
            **_more(deployed),
        )
        answer: Answer = []
        while True:
            try:
                result, error = arrived.get(timeout=patience)
            except queue.Empty:
                raise InferenceServerException(
                    f"no response within {patience:g} s; {len(answer)} came before, none of them final"
                ) from None
            if error is not None:
                raise error
            response = result.get_response()
            if response.outputs:
                answer.append(outputs_of(result))
            if response.parameters["triton_final_response"].bool_param:
                return answer
    finally:
        client.stop_stream(cancel_requests=True)


def _tensors(module: Any, deployed: DeployedModel, inputs: sample.Inputs) -> list[Any]:
    sent = []
    for field in deployed.config.input:
        if field.name in inputs:  # otherwise it is optional
            array = inputs[field.name]
            tensor = module.InferInput(field.name, list(array.shape), sample.data_type(field))
            tensor.set_data_from_numpy(_as_bfloat16(array) if sample.data_type(field) == "BF16" else array)
            sent.append(tensor)
    return sent


def _as_bfloat16(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return float32 values of BF16 in the client's type: clients before 26.06 take and truncate float32."""
    exact: np.ndarray[Any, Any] = from_bits(to_bits(array)).astype(triton_to_np_dtype("BF16"))
    return exact


def _version(deployed: DeployedModel) -> str:
    """Return the version to request: the one that was probed, unless the server may serve only others."""
    chosen = deployed.config.version_policy.WhichOneof("policy_choice") is not None
    return "" if chosen and not deployed.older else deployed.version


def _more(deployed: DeployedModel) -> dict[str, Any]:
    batching = deployed.config.sequence_batching
    if not deployed.config.HasField("sequence_batching"):
        return {}
    # An iterative sequence is one request, which the model may ask for again: after an end flag a server would not.
    flags = {**_SEQUENCE, "sequence_end": not batching.iterative_sequence}
    return {**flags, "sequence_id": TEXT_ID if has_text_ids(deployed) else 1}


def has_text_ids(deployed: DeployedModel) -> bool:
    """Return whether the model gets sequence ids as strings."""
    fields = deployed.config.sequence_batching.control_input
    return any(
        control.kind == _Control.CONTROL_SEQUENCE_CORRID and control.data_type == model_config_pb2.TYPE_STRING
        for field in fields
        for control in field.control
    )


def ask_together(
    running: RunningServer, deployed: DeployedModel, inputs: sample.Inputs, count: int
) -> tuple[list[str], int]:
    """Send *count* simultaneous requests; return the errors, and how many executions the server counted."""
    came: queue.Queue[Any] = queue.Queue()
    with tritonclient.grpc.InferenceServerClient(running.grpc) as client:
        before = _executions(client, deployed.name)
        for _ in range(count):
            client.async_infer(
                deployed.name,
                _tensors(tritonclient.grpc, deployed, inputs),
                lambda result, error: came.put(error),
                model_version=_version(deployed),
                client_timeout=running.patience,
            )
        errors = [came.get(timeout=2 * running.patience) for _ in range(count)]
        return [str(error) for error in errors if error is not None], _executions(
            client, deployed.name
        ) - before


def _executions(client: Any, name: str) -> int:
    found = client.get_inference_statistics(name, as_json=True).get("model_stats", [])
    return sum(int(one.get("execution_count", 0)) for one in found)


def refuses_short_id(running: RunningServer, deployed: DeployedModel, inputs: sample.Inputs) -> str | None:
    """Return the server's error for a sequence id of fewer than 128 bytes; None if it accepts it."""
    with tritonclient.grpc.InferenceServerClient(running.grpc) as client:
        more = {**_SEQUENCE, "sequence_id": "1", "client_timeout": running.patience}
        try:
            client.infer(deployed.name, _tensors(tritonclient.grpc, deployed, inputs), **more)
        except InferenceServerException as error:
            return str(error)
    return None
