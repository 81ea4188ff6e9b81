"""Host a model in this process as the stub does. Triton's module has no ``Model``: it is for code that hosts one."""

# ruff: noqa: UP006 - Python 3.8
from __future__ import annotations

import asyncio
import gc
import importlib.util
import json
import os
import sys
import threading
import time
from typing import Any, Callable, Dict, List, Sequence

import numpy as np

from . import _models
from ._config import using_decoupled_model_transaction_policy
from ._errors import TritonModelException
from ._releases import lacks, refuse
from ._requests import TRITONSERVER_REQUEST_RELEASE_RESCHEDULE, InferenceRequest
from ._responses import (
    TRITONSERVER_RESPONSE_COMPLETE_FINAL,
    Delivery,
    InferenceResponse,
)
from ._tensor import Tensor

_model_dir = ""
FINAL_TIMEOUT = 120.0
"""Limit in seconds for the next response of a model that took a response sender, and keeps it."""
UNCLAIMED_TIMEOUT = 60.0
"""Limit in seconds, after ``execute`` returned, for taking the response sender of a request that it keeps."""
_POLL = 0.05
_COLLECT_EVERY = 1.0
"""Seconds."""
_RESCHEDULES = 10_000
"""How often a request may be rescheduled."""
READY_TIMEOUT = 5.0
"""Seconds that a server waits for a model's ``is_ready``."""
_COROUTINE, _NONE = "a coroutine as execute of a decoupled model", "None as a result of execute"


def get_model_dir() -> str:
    """Return the version folder of the model that was loaded last."""
    return _model_dir


class Model:
    """A loaded model: does what the stub does with it, and the server's checks of its responses."""

    def __init__(
        self,
        runtime: Any,
        model_directory: str,
        config: Dict[str, Any],
        *,
        name: str | None = None,
        version: str = "1",
        kind: str = "CPU",
        device: str = "0",
    ) -> None:
        """Initialize *runtime*, a Python file or an imported module, for the model in *model_directory*.

        *config* is the configuration as decoded from JSON (``data_type: "TYPE_FP32"``); *kind* is CPU, GPU or MODEL.
        """
        global _model_dir
        self.name = name or os.path.basename(os.path.normpath(model_directory))
        self._outputs = [output["name"] for output in config.get("output", [])]
        self.decoupled = using_decoupled_model_transaction_policy(config)
        """Whether it may send any number of responses."""
        _model_dir = os.path.join(model_directory, version)
        module = _import_file(runtime, self.name) if isinstance(runtime, str) else runtime
        self.instance: Any = module.TritonPythonModel()
        self._loop: asyncio.AbstractEventLoop | None = None
        if hasattr(self.instance, "initialize"):  # optional, as in Triton
            self.instance.initialize(
                {
                    "model_config": json.dumps(config),
                    "model_instance_kind": kind,
                    "model_instance_name": _first_group(config).get("name", self.name + "_0") + "_0",
                    "model_instance_device_id": device,
                    "model_repository": model_directory,
                    "model_version": version,
                    "model_name": self.name,
                }
            )
        _models.begin_serving(self.decoupled)

    def respond(self, requests: Sequence[InferenceRequest]) -> List[List[InferenceResponse]]:
        """Pass *requests* to the model as one batch; return the responses that a server would send to each, in order.

        The last response of a decoupled model may be empty: then the final flag came without a response.

        Raises:
            TritonModelException: the server would refuse a response, or ``execute`` raises.
        """
        for request in requests:
            request.want(sorted(request.requested_output_names()) or self._outputs)
            for wanted in request.requested_output_names():
                if wanted not in self._outputs:
                    raise TritonModelException(
                        f"unexpected inference output '{wanted}' for model '{self.name}'"
                    )
        deliveries = [Delivery(self.decoupled, self._sent(request)) for request in requests]
        held = self._pass(requests, deliveries)
        return [self._collected(delivery, still) for delivery, still in zip(deliveries, held)]

    def execute(self, requests: Sequence[InferenceRequest]) -> List[InferenceResponse]:
        """Pass *requests* to a model that sends one response to each, and return these; see :meth:`respond`."""
        return [responses[0] for responses in self.respond(requests)]

    def infer(self, **inputs: np.ndarray[Any, Any]) -> Dict[str, np.ndarray[Any, Any]]:
        """Send one request with arrays by input name, and return the outputs by name.

        Raises:
            TritonModelException: the model answered with an error, whose text is the message.
        """
        (response,) = self.execute(
            [self.request([Tensor(name, data).sent() for name, data in inputs.items()])]
        )
        error = response.error()
        if error is not None:
            raise TritonModelException(error.message())
        return {tensor.name(): tensor.content() for tensor in response.output_tensors()}

    def request(self, tensors: Sequence[Tensor], **rest: Any) -> InferenceRequest:
        """Return a request to this model as the server passes it; *rest* are arguments of ``InferenceRequest``."""
        return InferenceRequest(
            **{"inputs": tensors, "requested_output_names": [], "model_name": self.name, **rest}
        )

    def why_not_ready(self) -> str:
        """Call the model's ``is_ready``, if it has one; return why a server would report it as not ready, or empty."""
        if not hasattr(self.instance, "is_ready") or lacks("is_ready of a model"):
            return ""
        began = time.monotonic()
        try:
            said = self.instance.is_ready()
            if asyncio.iscoroutine(said):
                said = asyncio.run_coroutine_threadsafe(said, self._running_loop()).result()
        except Exception as error:
            return f"{type(error).__name__}: {error}"
        if time.monotonic() - began > READY_TIMEOUT:
            return f"it takes longer than {READY_TIMEOUT:g} s"
        if not isinstance(said, bool):
            return "is_ready() must return a boolean value"
        return "" if said else "it says False"

    def finalize(self) -> None:
        """Unload the model."""
        _models.end_serving()
        if hasattr(self.instance, "finalize"):
            self.instance.finalize()
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._loop = None

    # -- one call of execute

    def _pass(
        self, requests: Sequence[InferenceRequest], deliveries: Sequence[Delivery]
    ) -> List[Callable[[], bool]]:
        """Pass *requests* to the model; return for each whether the model still holds it or its response sender."""
        passed = [request.passed(delivery) for request, delivery in zip(requests, deliveries)]
        held = [request.holders() for request in passed]
        for _ in range(_RESCHEDULES):
            for request in passed:
                request.release_flags = 1
            self._execute(passed)
            again = TRITONSERVER_REQUEST_RELEASE_RESCHEDULE
            passed = [request for request in passed if request.release_flags == again]
            if not passed:
                break
        return held

    def _execute(self, requests: List[InferenceRequest]) -> None:
        if not hasattr(self.instance, "execute"):
            raise TritonModelException(f"Python model {_model_dir} does not implement `execute` method.")
        returned = self.instance.execute(list(requests))
        if asyncio.iscoroutine(returned):
            if self.decoupled and lacks(_COROUTINE):
                returned.close()
                refuse(_COROUTINE, self._returns_something())
            future = asyncio.run_coroutine_threadsafe(returned, self._running_loop())
            # A server runs that of a decoupled model in the background; its exception shows as a missing response.
            returned = future.result()
        if returned is None and not (lacks(_NONE) and not self.decoupled):
            return
        if self.decoupled:
            raise self._returns_something()
        if not isinstance(returned, list):
            error = TritonModelException(
                f"Expected a list in the execute return, found type '{type(returned)}'."
            )
            if returned is None:
                refuse(_NONE, error)
            raise error
        if len(returned) != len(requests):
            raise TritonModelException(
                "Number of InferenceResponse objects do not match the number of InferenceRequest objects. "
                f"InferenceRequest(s) size is:{len(requests)}, and InferenceResponse(s) size is:{len(returned)}"
            )
        for request, response in zip(requests, returned):
            if response is not None:
                self._return(request, response)
            elif lacks(_NONE) and request.release_flags != TRITONSERVER_REQUEST_RELEASE_RESCHEDULE:
                refuse(_NONE, _no_response(response))

    def _return(self, request: InferenceRequest, response: Any) -> None:
        if request.release_flags == TRITONSERVER_REQUEST_RELEASE_RESCHEDULE:
            raise TritonModelException(
                "Expected a None object in the execute function return list for reschduled request, found type "
                f"'{type(response)}'."
            )
        if not isinstance(response, InferenceResponse):
            raise _no_response(response)
        assert request.delivery is not None
        request.delivery.take(response, TRITONSERVER_RESPONSE_COMPLETE_FINAL)

    def _sent(self, request: InferenceRequest) -> Callable[[InferenceResponse], InferenceResponse]:
        wanted = sorted(request.requested_output_names())
        # Like the stub, drop the outputs that were not requested.
        return lambda response: response.keep(wanted)

    def _collected(self, delivery: Delivery, held: Callable[[], bool]) -> List[InferenceResponse]:
        """Wait for the last response, as long as anybody can send it: the request or its sender is *held*."""
        returned = collected = time.monotonic()
        while not delivery.closed.wait(_POLL) and held():
            now = time.monotonic()
            limit = FINAL_TIMEOUT if delivery.claimed else UNCLAIMED_TIMEOUT
            if now - max(returned, delivery.last) > limit:
                raise self._unanswered(delivery, f" within {limit:g} s")
            if now - collected > _COLLECT_EVERY:  # what is held by a cycle only is not held
                gc.collect()
                collected = time.monotonic()
        if not delivery.closed.is_set():
            raise self._unanswered(delivery, ", and has dropped the request")
        final = [InferenceResponse()] if delivery.final_alone and self.decoupled else []
        return [*delivery.sent, *final]

    def _unanswered(self, delivery: Delivery, how: str) -> TritonModelException:
        if not delivery.claimed:
            return TritonModelException(
                f"model '{self.name}' returned no response to a request, and took no response sender for it{how}: its "
                "client waits forever"
            )
        count = len(delivery.sent)
        after = f" after {count} response{'s' if count > 1 else ''}" if count else ""
        return TritonModelException(
            f"model '{self.name}' sent no final response (TRITONSERVER_RESPONSE_COMPLETE_FINAL){after}{how}: its "
            "client waits for it"
        )

    def _returns_something(self) -> TritonModelException:
        return TritonModelException(
            f"Python model '{self.name}' is using the decoupled mode and the execute function must return None."
        )

    def _running_loop(self) -> asyncio.AbstractEventLoop:
        """Return the event loop for coroutines, which runs in a separate thread as in the stub."""
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
            threading.Thread(target=_run, args=(self._loop,), daemon=True).start()
        return self._loop


def _no_response(found: Any) -> TritonModelException:
    return TritonModelException(
        "Expected an 'InferenceResponse' object in the execute function return list, found type "
        f"'{type(found)}'."
    )


def _first_group(config: Dict[str, Any]) -> Dict[str, Any]:
    group: Dict[str, Any] = (config.get("instance_group") or [{}])[0]
    return group


def _run(loop: asyncio.AbstractEventLoop) -> None:
    asyncio.set_event_loop(loop)
    try:
        loop.run_forever()
    finally:
        loop.close()


def _import_file(path: str, name: str) -> Any:
    if "triton_python_backend_utils" not in sys.modules:
        raise RuntimeError("this package's folder must be on sys.path, and it imported by its own name")
    spec = importlib.util.spec_from_file_location("_runtime_" + name, path)
    if spec is None or spec.loader is None:
        raise RuntimeError(f"{path} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
