"""Do with a model what Triton's stub does, in this process: import its file, initialize it, send requests."""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import sys
import types
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from .answers import Answer
from .bfloat16 import from_bits, to_bits

if TYPE_CHECKING:
    from _torch_runtime.engine import Engine

BFLOAT16 = 14
"""Its value in Triton's enumeration."""
TEXT_ID = "1" * 128
"""A string as sequence id: servers up to 24.10 pad a shorter one to this length, and then refuse its tensor."""
COMPILE = "TORCH_COMPILE_OPTIONAL_PARAMETERS"
GROUP: dict[str, Any] = {
    "count": 1,
    "kind": "KIND_AUTO",
    "gpus": [],
    "secondary_devices": [],
    "profile": [],
    "passive": False,
    "host_policy": "",
}
"""Defaults of ``instance_group``."""
OPTIMIZATION: dict[str, Any] = {
    "priority": "PRIORITY_DEFAULT",
    "input_pinned_memory": {"enable": True},
    "output_pinned_memory": {"enable": True},
    "gather_kernel_buffer_threshold": 0,
    "eager_batching": False,
}
"""Defaults of ``optimization``."""
STUB = os.path.join(os.path.dirname(os.path.abspath(__file__)), "stub")
"""The folder that contains only the stub module."""


class ResponseError(RuntimeError):
    """A model answered a request with an error response."""


class Host:
    """One version of one model, as described by a *job*."""

    def __init__(self, job: dict[str, Any]) -> None:
        self.job = job
        self.config: dict[str, Any] = job["config"]
        self.max_batch = int(self.config.get("max_batch_size", 0))
        self.folder = os.path.join(job["model"], job["version"])
        self.path = os.path.join(self.folder, job["file"])
        """The file that Triton imports."""
        self.compile_options: dict[str, Any] = json.loads(
            (self.config.get("parameters") or {}).get(COMPILE, {}).get("string_value") or "{}"
        )
        inputs = self.config.get("input") or []
        self.half_inputs = {one["name"] for one in inputs if one["data_type"] == "TYPE_BF16"}
        self.sequence: dict[str, Any] | None = self.config.get("sequence_batching")
        controls = (self.sequence or {}).get("control_input") or []
        self._text_ids = [one["name"] for one in controls if _is_text_id(one["control"][0])]
        fields = [*inputs, *(self.config.get("output") or [])]
        self.reshaped = {one["name"]: one for one in fields if "shape" in (one.get("reshape") or {})}
        self.module: Any = None
        self.asked = ""
        """A description of the last request."""
        self.otherwise = False
        """Whether it accepts, or may accept, other values than those that it refused."""
        add_paths(job)

    def import_file(self) -> Any:
        """Import the model's file as the stub does, ``VERSION.STEM``; the runtime then prepares the process."""
        if not os.path.isfile(self.path):
            raise stand_in().TritonModelException(f"Python model file not found in '{self.path}'")
        stem = os.path.splitext(os.path.basename(self.path))[0]
        hide_host_names()
        stand_in().lack(self.job.get("lacks") or ())
        with _imported_first():
            module = importlib.import_module(f"{self.job['version']}.{stem}")
        if hasattr(module, "runtime_module"):
            module.runtime_module("process").prepare_process(1)
        self.module = module
        return module

    def complete_config(self) -> dict[str, Any] | None:
        """Return the configuration completed by the model's ``auto_complete_config``; None: it has none.

        Raises:
            TritonModelException: it returns something else.
        """
        pb_utils = stand_in()
        config = pb_utils.ModelConfig(json.dumps(self.config))
        model = self.import_file().TritonPythonModel
        if not hasattr(model, "auto_complete_config"):
            return None
        config = model.auto_complete_config(config)
        if not isinstance(config, pb_utils.ModelConfig):
            raise pb_utils.TritonModelException(
                f"auto_complete_config function in model '{self.config['name']}' must return a valid pb.ModelConfig "
                "object."
            )
        completed: dict[str, Any] = json.loads(json.dumps(config.as_dict()))
        return completed

    def load(self, kind: str, options: dict[str, Any]) -> Any:
        """Initialize the model on a device of *kind*, ``CPU`` or ``GPU``, with *options* for torch.compile."""
        parameters = dict(self.config.get("parameters") or {})
        parameters[COMPILE] = {"string_value": json.dumps(options)}
        parameters["RECOMPILE"] = {"string_value": "allow"}  # to count what a server would have to compile
        group = [{"count": 1, "kind": f"KIND_{kind}", **({"gpus": [0]} if kind == "GPU" else {})}]
        return self._model(kind, {**self.config, "parameters": parameters, "instance_group": group})

    def load_own(self) -> Any:
        """Initialize a user's ``TritonPythonModel`` on the device in its configuration."""
        config = completed(self.config)
        (group, *_) = config["instance_group"]
        return self._model(group["kind"].replace("KIND_", ""), config, str((group["gpus"] or [0])[0]))

    def _model(self, kind: str, config: dict[str, Any], device: str = "0") -> Any:
        module = self.module if self.module is not None else self.import_file()
        name, version = self.config["name"], self.job["version"]
        return stand_in().Model(
            module, self.job["model"], config, name=name, version=version, kind=kind, device=device
        )

    def engine(self, model: Any) -> Engine:
        """Return the runtime's public object for tools of a *model* that it serves."""
        engine: Engine = model.instance.engine
        return engine

    def ask(
        self,
        model: Any,
        requests: list[dict[str, Any]],
        *,
        final: bool = False,
        said: dict[str, Any] | None = None,
    ) -> list[Answer]:
        """Return the answers to *requests*, sent as one batch: for each its responses, as arrays by output name.

        Args:
            model: the loaded model.
            requests: arrays by input name.
            final: whether to keep the empty response that a final flag without a response makes.
            said: further arguments of each ``InferenceRequest``, such as parameters and ids.

        Raises:
            ResponseError: one of the responses is an error.
        """
        self.asked = " and ".join(described(request) for request in requests)
        answers = []
        for responses in model.respond([self._request(model, one, said or {}) for one in requests]):
            answer = []
            for response in responses:
                if response.has_error():
                    raise ResponseError(response.error().message())
                sent = {tensor.name(): as_array(tensor) for tensor in response.output_tensors()}
                if len(sent) < len(response.output_tensors()):
                    raise RuntimeError("two outputs of a response have one name")
                answer.append({name: self._shaped(name, array, "dims") for name, array in sent.items()})
            flag = model.decoupled and not final and answer[-1:] == [{}]
            answers.append(answer[:-1] if flag else answer)
        return answers

    def _request(self, model: Any, arrays: dict[str, Any], said: dict[str, Any]) -> Any:
        tensors = [self._tensor(name, array) for name, array in arrays.items()]
        if self.sequence is None:
            return model.request(tensors, **said)
        tensors += [self._control(control) for control in self.sequence.get("control_input") or []]
        tensors += [self._state(state) for state in self.sequence.get("state") or []]
        id = TEXT_ID if self._text_ids else 1
        # A sequence of one request, unless the calling model sent its own sequence id and flags. An iterative one has
        # no end flag: the model may ask for the request again.
        flags = 1 if self.sequence.get("iterative_sequence") else 3
        own = {} if said.get("correlation_id") else {"correlation_id": id, "flags": flags}
        return model.request(tensors, **{**said, **own})

    def _tensor(self, name: str, array: Any) -> Any:
        """Return an input as Triton passes it."""
        array = self._shaped(name, array, "shape").copy()  # a model may write into it
        return tensor_of(name, array, half=name in self.half_inputs)

    def _shaped(self, name: str, array: Any, to: str) -> Any:
        """Convert *array* between the clients' ``dims`` and the model's ``shape``."""
        field = self.reshaped.get(name)
        if field is None:
            return array
        dims = field["reshape"]["shape"] if to == "shape" else field["dims"]
        shape = [len(array), *dims] if self.max_batch > 0 else list(dims)
        return array.reshape(shape) if shape.count(-1) <= 1 else array

    def _state(self, state: dict[str, Any]) -> Any:
        """Return the tensor that the sequence batcher adds to the first request of a sequence for a state."""
        import numpy as np

        pb_utils = stand_in()
        initial = (state.get("initial_state") or [{}])[0]
        dims = [1 if dim == -1 else dim for dim in initial.get("dims") or state["dims"]]
        shape = [1, *dims] if self.max_batch > 0 else dims
        if initial.get("data_file"):
            return self._stored_state(state, initial["data_file"], shape)
        if state["data_type"] == "TYPE_BF16":
            return tensor_of(state["input_name"], np.zeros(shape, np.float32), half=True)
        kind = pb_utils.triton_string_to_numpy(state["data_type"])
        return pb_utils.Tensor(state["input_name"], np.full(shape, b"" if kind is np.object_ else 0, kind))

    def _stored_state(self, state: dict[str, Any], name: str, shape: list[int]) -> Any:
        """Return the initial state from a file of the model directory."""
        import numpy as np

        pb_utils = stand_in()
        with open(os.path.join(self.job["model"], "initial_state", name), "rb") as file:
            data = file.read()
        if state["data_type"] == "TYPE_STRING":
            return pb_utils.Tensor(
                state["input_name"], pb_utils.deserialize_bytes_tensor(data).reshape(shape)
            )
        half = state["data_type"] == "TYPE_BF16"
        kind = np.uint16 if half else pb_utils.triton_string_to_numpy(state["data_type"])
        array = np.frombuffer(data, kind, count=int(np.prod(shape))).reshape(shape)
        return tensor_of(state["input_name"], from_bits(array) if half else array, half=half)

    def _control(self, control: dict[str, Any]) -> Any:
        """Return the tensor that the sequence batcher adds to a sequence of one request."""
        import numpy as np

        pb_utils, told = stand_in(), control["control"][0]
        shape = [1, 1] if self.max_batch > 0 else [1]
        if told.get("kind") == "CONTROL_SEQUENCE_CORRID":
            kind = pb_utils.triton_string_to_numpy(told["data_type"])
            id = TEXT_ID.encode() if kind is np.object_ else 1
            return pb_utils.Tensor(control["name"], np.full(shape, id, kind))
        for key, kind in (("int32", np.int32), ("fp32", np.float32), ("bool", np.bool_)):
            values = told.get(f"{key}_false_true")
            if values:
                return pb_utils.Tensor(control["name"], np.full(shape, values[1], kind))
        return pb_utils.Tensor(control["name"], np.ones(shape, np.int32))


@contextlib.contextmanager
def _imported_first() -> Iterator[None]:
    """Remove names from the stub module that Triton's lacks while a server completes a configuration."""
    stand_in()
    module = sys.modules["triton_python_backend_utils"]
    name = "get_model_dir"
    taken = getattr(module, name)
    delattr(module, name)
    try:
        yield
    finally:
        setattr(module, name, taken)


def _is_text_id(control: dict[str, Any]) -> bool:
    return control.get("kind") == "CONTROL_SEQUENCE_CORRID" and control.get("data_type") == "TYPE_STRING"


def completed(config: dict[str, Any]) -> dict[str, Any]:
    """Return the *config* of a user's ``TritonPythonModel`` with a server's defaults."""
    most, gpu = int(config.get("max_batch_size", 0)), os.path.exists("/dev/nvidia0")
    made = {
        "version_policy": {"latest": {"num_versions": 1}},
        **config,
        "default_model_filename": config.get("default_model_filename") or "model.py",
        "optimization": {**OPTIMIZATION, **(config.get("optimization") or {})},
        "instance_group": [],
    }
    named = [
        {"name": f"{config['name']}_{number}"} for number, _ in enumerate(config.get("instance_group") or ())
    ]
    for name, group in zip(named or [{"name": config["name"]}], config.get("instance_group") or [{}]):
        said = {key: value for key, value in group.items() if value}
        one = {**GROUP, **name, **said}
        if one["kind"] == "KIND_AUTO":
            one["kind"] = "KIND_GPU" if gpu else "KIND_CPU"
        if one["kind"] == "KIND_GPU" and not one["gpus"]:
            one["gpus"] = [0]
        made["instance_group"].append(one)
    batching, sequence = config.get("dynamic_batching"), config.get("sequence_batching")
    if batching is not None:
        made["dynamic_batching"] = _preferring(batching, most)
    if sequence is not None:
        idle = sequence.get("max_sequence_idle_microseconds") or 1_000_000
        made["sequence_batching"] = {**sequence, "max_sequence_idle_microseconds": idle}
        if "oldest" in sequence:
            made["sequence_batching"]["oldest"] = _preferring(sequence["oldest"], most)
    return made


def _preferring(batching: dict[str, Any], most: int) -> dict[str, Any]:
    """Return the dynamic batching settings with a server's default for preferred sizes."""
    if batching.get("preferred_batch_size") or most <= 0:
        return batching
    return {**batching, "preferred_batch_size": [most]}


def add_paths(job: dict[str, Any]) -> None:
    """Append to ``sys.path`` the folders that the stub appends for the model of a *job*."""
    for path in (os.path.join(job["model"], job["version"]), job["model"], STUB):
        if path not in sys.path:
            sys.path.append(path)


def stand_in() -> Any:
    """Return the stub module.

    If a package of the environment has that name, the stub uses the package's file and adds its own names to it,
    and so does this.
    """
    import triton_python_backend_utils as found

    if os.path.dirname(str(found.__file__)).startswith(STUB):
        return hosting.get("module", found)
    own = "_envbuilder_guest.stub.triton_python_backend_utils"
    module = importlib.import_module(own)
    for name in module.__all__:
        if name not in ("json", "np", "struct", *module.HOST_ONLY):
            setattr(found, name, getattr(module, name))
    return module


hosting: dict[str, Any] = {}
"""Under ``module``: the stub module with the names for hosts, after :func:`hide_host_names` removed them from it."""


def hide_host_names() -> None:
    """Remove names for hosts from the stub module, so that a model that uses them fails here as on a server."""
    module = stand_in()
    if isinstance(module, types.ModuleType) and module is sys.modules.get("triton_python_backend_utils"):
        hosting["module"] = types.SimpleNamespace(
            **{name: getattr(module, name) for name in module.__all__}, HOST_ONLY=module.HOST_ONLY
        )
        for name in module.HOST_ONLY:
            delattr(module, name)
            module.__all__.remove(name)


def lacking_in(text: str) -> str:
    """Return the addition of a later release whose absence made a model fail with *text*; empty if none did."""
    module = sys.modules.get("triton_python_backend_utils")
    return "" if module is None else str(stand_in().lacking_in(text))


def described(request: dict[str, Any]) -> str:
    """Return the kinds and shapes of a request's inputs."""
    kinds = {"O": "strings", "S": "strings"}
    return ", ".join(
        f"{name} {kinds.get(array.dtype.kind, str(array.dtype))}{list(array.shape)}"
        for name, array in request.items()
    )


def words(error: BaseException) -> str:
    """Describe an error in one or a few lines, its cause last."""
    name = type(error).__name__
    return (str(error) if name in ("TritonModelException", "ResponseError") else f"{name}: {error}")[:2000]


def tensor_of(name: str, array: Any, *, half: bool) -> Any:
    """Return an array as Triton's tensor; *half*: with its values as BF16."""
    kind = stand_in().Tensor
    return kind.from_bits(name, to_bits(array)) if half else kind(name, array).sent()


def as_array(tensor: Any) -> Any:
    """Return a Triton tensor, on any device, as a NumPy array."""
    if tensor.is_cpu():
        return from_bits(tensor.bits()) if tensor.number() == BFLOAT16 else tensor.content()
    from torch.utils.dlpack import from_dlpack

    value = from_dlpack(tensor.to_dlpack()).cpu()
    return value.float().numpy() if tensor.number() == BFLOAT16 else value.numpy()
