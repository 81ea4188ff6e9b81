"""The other models of a repository, each in a separate process as in Triton, called through a pipe.

A model's ``exec`` comes here (:class:`Neighbours`); at the other end is :func:`serve`. Messages are pickled: both
ends are this program, and run code of the same archive and models.
"""

# ruff: noqa: UP006 - Python 3.8
from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
import threading
from typing import Any, BinaryIO, Dict, List, Tuple

from .answers import Answer
from .ensemble import LATEST, run_ensemble
from .host import BFLOAT16, Host, ResponseError, as_array, completed, stand_in, tensor_of, words


class Neighbours:
    """Calls the models that a *job* lists under ``neighbours``: by name, a job for each, or why there is none.

    The job of a model with several served versions is that of the latest; its ``versions`` are the jobs of the others.
    """

    def __init__(self, job: dict[str, Any]) -> None:
        self.known: Dict[str, Any] = job.get("neighbours") or {}
        self.job = job
        ensemble = (job.get("config") or {}).get("ensemble_scheduling")
        self.above: List[List[str]] = [*(job.get("above") or []), *([] if ensemble else [_place(job)])]
        """Who waits for an answer: names and versions, the model of this process last."""
        self.children: Dict[Tuple[str, str], Child] = {}
        self.lock = threading.Lock()
        self.unknown: List[str] = []
        """Why a call cannot be answered here, although a server could."""

    # -- called by the stub module

    def infer(self, request: Any, decoupled: bool) -> List[Any]:
        """Return the responses to a request; see the stub module's ``Router``."""
        pb_utils = stand_in()
        inputs = {tensor.name(): as_array(tensor) for tensor in request.inputs()}
        name = request.asked_model()
        version = request.asked_version()
        config = self._known(name, version)["config"]
        wanted = sorted(request.requested_output_names())
        fault = find_fault(config, request.inputs(), wanted)
        if fault is not None:
            raise pb_utils.TritonModelException(f"Model {name} - Error when running inference: {fault}")
        if not decoupled and (config.get("model_transaction_policy") or {}).get("decoupled"):
            raise pb_utils.TritonModelException(
                f"Model {name} is using the decoupled. The current BLS request call doesn't support models using "
                "the decoupled transaction policy. Please use 'decoupled=True' argument to the 'exec' or 'async_exec' "
                "calls for decoupled models."
            )
        answer = self.answer(name, inputs, wanted, said=request.said(), version=version)
        half = {one["name"] for one in config.get("output") or [] if one["data_type"] == "TYPE_BF16"}
        return [
            pb_utils.InferenceResponse([tensor_of(k, v, half=k in half) for k, v in one.items()])
            for one in answer or [{}]
        ]

    def load(self, name: str, config: str, files: Dict[str, bytes]) -> None:
        """Reload a model, with other files or another configuration instead of its own."""
        if files:
            raise self._not_known(f"load_model('{name}') with files that the model generates")
        if name not in self.known:
            self.unknown.append(f"it loads the model '{name}', which is not available")
            raise self._not_loaded(name)
        known = self._known(name)
        if config:
            self.known[name] = {**known, "config": {**known["config"], **json.loads(config)}}
        self.unload(name, False)
        self._child(self.known[name])

    def unload(self, name: str, dependents: bool) -> None:
        """Unload a model."""
        for place in [place for place in self.children if place[0] == name]:
            self.children.pop(place).close()

    def ready(self, name: str, version: str) -> bool:
        """Return whether a server would have the model: also one that cannot run here, or the calling one."""
        job = self.known.get(name) or (self.job if name == _place(self.job)[0] else {})
        if "reason" in job:
            return "config" in job  # without one, no server can load it
        if "model" not in job:
            return False
        return version in ("", job["version"], *(job.get("versions") or ()))

    # -- implementation

    def answer(
        self,
        name: str,
        inputs: dict[str, Any],
        wanted: List[str],
        *,
        said: dict[str, Any] | None = None,
        version: int = LATEST,
    ) -> Answer:
        """Return the responses of the model *name* to *inputs*, arrays by name.

        *wanted* are the requested outputs, empty for all; *said* are further arguments of ``InferenceRequest``.
        """
        job = self._known(name, version)
        config = job["config"]
        if config.get("ensemble_scheduling"):
            return run_ensemble(config, inputs, self.step, wanted)
        found = self._child(job).ask((inputs, list(wanted), said or {}))
        if "unknown" in found:
            self.unknown += found["unknown"]
        if "error" in found:
            raise stand_in().TritonModelException(found["error"])
        answer: Answer = found["answer"]
        return answer

    def step(self, name: str, inputs: dict[str, Any], wanted: List[str], *, version: int) -> Answer:
        """Return the responses of a step of an ensemble, which has to fit the model's configuration."""
        config = self._known(name, version)["config"]
        half = {one["name"] for one in config.get("input") or [] if one["data_type"] == "TYPE_BF16"}
        tensors = [tensor_of(key, array, half=key in half) for key, array in inputs.items()]
        fault = find_fault(config, tensors, wanted)
        if fault is not None:
            raise stand_in().TritonModelException(fault)
        return self.answer(name, inputs, wanted, version=version)

    def close(self) -> None:
        """End every child."""
        for child in self.children.values():
            child.close()
        self.children.clear()

    def _known(self, name: str, version: int = LATEST) -> dict[str, Any]:
        """Return the job of a model's *version*."""
        if name not in self.known:
            own = name == _place(self.job)[0]
            self.unknown.append(
                "it calls itself" if own else f"it calls the model '{name}', which is not available"
            )
            raise _not_running(name)
        known: dict[str, Any] = self.known[name]
        if "reason" in known:
            raise self._not_known(f"it calls the model '{name}', {known['reason']}")
        if version == LATEST or str(version) == known.get("version", "1"):
            return known
        if str(version) not in (known.get("versions") or {}):
            raise _not_running(name)
        older: dict[str, Any] = known["versions"][str(version)]
        if "reason" in older:
            raise self._not_known(f"it calls version {version} of the model '{name}', {older['reason']}")
        return older

    def _not_loaded(self, name: str) -> Exception:
        """Return the error of a server (measured: 24.10) for a model that its repository does not have."""
        own = _place(self.job)[0]
        error: Exception = stand_in().TritonModelException(
            f"Failed to load model: Failed to process the request for model '{own}_0', message: failed to load "
            f"'{name}', failed to poll from model repository"
        )
        return error

    def _not_known(self, why: str) -> Exception:
        self.unknown.append(why)
        error: Exception = stand_in().TritonModelException(f"{why}: this needs a server")
        return error

    def _child(self, job: dict[str, Any]) -> Child:
        name, version = _place(job)
        with self.lock:
            if (name, version) not in self.children:
                busy = self.above.count([name, version])
                if busy >= _instances(job["config"]):
                    # Unless they have returned, and call it from a thread.
                    raise self._not_known(
                        f"it calls '{name}' while all of its instances ({busy}) may be waiting for that call"
                    )
                lacks = self.job.get("lacks") or []
                more = {"task": "serve", "neighbours": self.known, "lacks": lacks, "above": self.above}
                self.children[name, version] = Child(name, {**job, **more}, self.job["scratch"])
            return self.children[name, version]


def _place(job: dict[str, Any]) -> List[str]:
    return [str((job.get("config") or {}).get("name", "")), str(job.get("version", ""))]


def _instances(config: dict[str, Any]) -> int:
    return sum(int(group["count"]) for group in completed(config)["instance_group"])


def _not_running(name: str) -> Exception:
    pb_utils = stand_in()
    error: Exception = pb_utils.TritonModelException(pb_utils.not_running(name))
    return error


def find_fault(config: dict[str, Any], tensors: List[Any], wanted: List[str]) -> str | None:
    """Return the server's error for a BLS request that does not fit the called model's *config*; None if it fits.

    The texts are those of ``infer_request.cc`` in Triton core.
    """
    model, known = config["name"], {one["name"]: one for one in config.get("input") or []}
    outputs = [one["name"] for one in config.get("output") or []]
    for name in wanted:
        if name not in outputs:
            return f"unexpected inference output '{name}' for model '{model}'"
    given = {tensor.name(): tensor for tensor in tensors}
    for name in given:
        if name not in known:
            return f"unexpected inference input '{name}' for model '{model}'"
    missing = [name for name, one in known.items() if not one.get("optional") and name not in given]
    if missing:
        return (
            f"[request id: <id_unknown>] expected {len(known)} inputs but got {len(given)} inputs for model '{model}'. "
            f"Got input(s) {list(given)}, but missing required input(s) {missing}. Please provide all required "
            "input(s)."
        )
    for name, tensor in given.items():
        fault = _find_misfit(known[name], tensor, int(config.get("max_batch_size", 0)))
        if fault is not None:
            return f"[request id: <id_unknown>] {fault[0]} model '{model}'{fault[1]}"
    return None


def _find_misfit(field: dict[str, Any], tensor: Any, most: int) -> Tuple[str, str] | None:
    """Return the error for a tensor that does not fit the input *field*: the text before and after the model's name.

    *most* is the model's ``max_batch_size``. None: the tensor fits.
    """
    name, kind, shape = field["name"], field["data_type"].replace("TYPE_", ""), tensor.shape()
    kinds = [key.replace("TYPE_", "") for key in stand_in().TRITON_STRING_TO_NUMPY]
    found = "BF16" if tensor.number() == BFLOAT16 else kinds[tensor.number() - 1]
    if found != kind:
        said = [one.replace("STRING", "BYTES") for one in (found, kind)]
        return f"inference input '{name}' data-type is '{said[0]}', but", f" expects '{said[1]}'"
    dims = ([-1] if most > 0 else []) + [int(dim) for dim in field["dims"]]
    rows = shape[0] if most > 0 and shape else 1
    if len(shape) != len(dims) or any(dim not in (-1, size) for dim, size in zip(dims, shape)):
        expected, got = (str(one).replace(" ", "") for one in (dims, shape))
        return f"unexpected shape for input '{name}' for", f". Expected {expected}, got {got}. "
    if rows > most > 0:
        return f"inference request batch-size must be <= {most} for", ""
    return None


class Child:
    """One model in a separate process."""

    def __init__(self, name: str, job: dict[str, Any], scratch: str) -> None:
        path = os.path.join(
            scratch, f"neighbour-{os.getpid()}-{threading.get_ident()}-{len(os.listdir(scratch))}.json"
        )
        with open(path, "w", encoding="utf-8") as file:
            json.dump({**job, "scratch": scratch, "answer": path + ".answer"}, file)
        main = os.path.join(os.path.dirname(os.path.abspath(__file__)), "__main__.py")
        read, their_write = os.pipe()
        their_read, write = os.pipe()
        ends = (their_read, their_write)
        command = [sys.executable, "-I", "-X", "utf8=0", "-B", main, path, *map(str, ends)]
        self.process = subprocess.Popen(command, pass_fds=ends)
        for end in ends:
            os.close(end)
        self.reader, self.writer = os.fdopen(read, "rb"), os.fdopen(write, "wb")
        self.lock = threading.Lock()
        self.name = name
        loaded = self._receive()
        if "error" in loaded:
            self.close()
            raise stand_in().TritonModelException(f"Model '{name}' is not ready: {loaded['error']}")

    def ask(self, request: Any) -> dict[str, Any]:
        """Send a request and return its result."""
        with self.lock:
            pickle.dump(request, self.writer)
            self.writer.flush()
            return self._receive()

    def close(self) -> None:
        """End it: it exits when its pipe is closed."""
        for file in (self.writer, self.reader):
            file.close()
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def _receive(self) -> dict[str, Any]:
        try:
            found: dict[str, Any] = pickle.load(self.reader)
        except EOFError:
            return {"error": f"the process of model '{self.name}' ended with {self.process.wait()}"}
        return found


def serve(job: dict[str, Any], read: int, write: int) -> None:
    """Load the model of a *job*, and answer requests from the pipe until it is closed."""
    reader, writer = os.fdopen(read, "rb"), os.fdopen(write, "wb")
    neighbours = Neighbours(job)
    host = Host(job)
    try:
        stand_in().use_router(neighbours)
        module = host.import_file()
        own = not hasattr(module, "runtime_module")
        model = host.load_own() if own else host.load("CPU", {"disable": True})
    except BaseException as error:
        return _send(writer, {"error": words(error)})
    _send(writer, {})
    while True:
        try:
            inputs, wanted, said = pickle.load(reader)
        except EOFError:
            break
        found: dict[str, Any] = {}
        try:
            (found["answer"],) = host.ask(model, [inputs], final=True, said=said)
            if wanted:
                found["answer"] = [{k: one[k] for k in one if k in wanted} for one in found["answer"]]
        except ResponseError as error:
            found["error"] = str(error)
        except Exception as error:
            instance = f"{host.config['name']}_0"
            found["error"] = (
                f"Failed to process the request(s) for model '{instance}', message: {words(error)}"
            )
        if neighbours.unknown:
            found["unknown"] = neighbours.unknown[:]
        _send(writer, found)
    model.finalize()
    neighbours.close()


def _send(writer: BinaryIO, found: dict[str, Any]) -> None:
    pickle.dump(found, writer)
    writer.flush()
