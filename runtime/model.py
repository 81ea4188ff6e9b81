"""Serve a PyTorch model behind Triton's Python backend: a TritonPythonModel for anybody's ``nn.Module``.

The same file works in three places: as ``VERSION/torch_runtime.py`` in a model directory (with
``default_model_filename: "torch_runtime.py"``), as ``BACKENDS/NAME/model.py`` (a Python-based backend), and as
the platform handler ``pytorch`` of Triton 23.08 and 23.09. It needs torch (2.0 and later), NumPy and Triton's
``triton_python_backend_utils``, on Python 3.8 and later.

The sections follow a model's life: environment, parameters, loading, compiling, batching, answering.
"""

# ruff: noqa: B905 - zip(strict=) is of Python 3.10
from __future__ import annotations

import dataclasses
import difflib
import fcntl
import gc
import getpass
import hashlib
import importlib.util
import inspect
import itertools
import json
import locale
import math
import mmap
import os
import pickle
import platform
import pwd
import re
import struct
import sys
import tempfile
import time
import traceback
import types
import zipfile
import zlib
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import triton_python_backend_utils as pb_utils

if TYPE_CHECKING:
    import torch


class ModelError(Exception):
    """What a person has to change before the model can be served; the message says it in words."""


# ---- environment -------------------------------------------------------------------------------------------


def prepare_process(instances: int) -> None:
    """Give this process what an activated shell would have given it; call it before torch is imported."""
    _make_locale_utf8()
    prefix = sys.prefix
    # Children (the compiler, compile workers) must not load the environment's libstdc++ in place of their own.
    path = os.environ.get("LD_LIBRARY_PATH", "").split(os.pathsep)
    kept = [part for part in path if part and os.path.normpath(part) != os.path.join(prefix, "lib")]
    os.environ.pop("LD_LIBRARY_PATH", None)
    if kept:
        os.environ["LD_LIBRARY_PATH"] = os.pathsep.join(kept)
    _restore_variables(prefix)
    _make_caches_writable()
    # Server, clients and other stubs share the CPUs: a thread that spins takes one from whom it waits for.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    # Compile workers are children of sys.executable: none where it cannot be started, or would only wait.
    workers = min(32, cpu_count() // instances) if os.access(sys.executable or "", os.X_OK) else 1
    os.environ.setdefault("TORCHINDUCTOR_COMPILE_THREADS", str(max(1, workers)))


def import_torch() -> None:
    """Import torch for this module, in a prepared process; what follows needs it.

    Not when the module is imported: without --disable-auto-complete-config a second stub imports this file only to
    ask for the configuration, and would pay for torch a second time.
    """
    global torch
    import torch
    import torch.utils.dlpack


def _make_locale_utf8() -> None:
    """Make ``open()`` decode UTF-8: the stub's interpreter is isolated, its locale ``C`` whatever LC_ALL says."""
    for name in ("C.UTF-8", "C.utf8", "en_US.UTF-8"):
        try:
            locale.setlocale(locale.LC_CTYPE, name)
            return
        except locale.Error:
            continue


def _restore_variables(prefix: str) -> None:
    """Set what the environment's activation would have set: servers from 25.08 on never run it."""
    record = os.path.join(prefix, "share", "envbuilder", "environment.json")
    if not os.path.exists(record):
        return
    with open(record, encoding="utf-8") as file:
        variables = json.load(file)["variables"]
    for name, value in variables.items():
        os.environ.setdefault(name, value.replace("{prefix}", prefix))


def _make_caches_writable() -> None:
    """Name a user where the uid has none, and a cache folder where the usual one cannot be written."""
    try:
        pwd.getpwuid(os.getuid())
    except KeyError:
        os.environ.setdefault("USER", "uid{}".format(os.getuid()))  # noqa: UP032 - getpass.getuser asks it
    user = os.environ.get("USER", str(os.getuid()))
    fallback = os.path.join(tempfile.gettempdir(), f"torchinductor_{user}")
    for name in ("TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR"):
        usual = os.environ.get(name)
        if usual is None and name == "TRITON_CACHE_DIR":
            usual = os.path.join(os.path.expanduser("~"), ".triton")
        if usual is not None and not _is_writable(usual):
            os.environ[name] = os.path.join(fallback, name.lower())


def _is_writable(folder: str) -> bool:
    """Say whether *folder* can be written, or made."""
    while not os.path.exists(folder) and os.path.dirname(folder) != folder:
        folder = os.path.dirname(folder)
    return os.access(folder, os.W_OK | os.X_OK)


def cpu_count() -> int:
    """Return how many CPUs this process may use: its affinity, and the quota of its control group."""
    count = len(os.sched_getaffinity(0))
    try:
        with open("/sys/fs/cgroup/cpu.max", encoding="ascii") as file:
            quota, period = file.read().split()
    except (OSError, ValueError):
        return count
    return count if quota == "max" else max(1, min(count, int(quota) // int(period)))


# ---- parameters --------------------------------------------------------------------------------------------

COMPILE = "TORCH_COMPILE_OPTIONAL_PARAMETERS"
OPTIONS = {"fullgraph": bool, "dynamic": bool, "backend": str, "mode": str, "options": dict, "disable": bool}
"""What torch.compile may be told, and of which type it is."""
DTYPES = ("float32", "float64", "float16", "bfloat16")
FLOATS = ("FP16", "FP32", "FP64", "BF16")


class Parameters:
    """The parameters of a configuration, each read in the constructor and checked there."""

    def __init__(self, config: dict[str, Any]) -> None:
        given = config.get("parameters") or {}
        self._values = {key: str(value["string_value"]) for key, value in given.items()}
        self._known: list[str] = []
        share = max(1, cpu_count() // instance_count(config))
        self.threads = self._number("NUM_THREADS", "INTRA_OP_THREAD_COUNT")
        self.most_threads = self.threads or share
        self.interop_threads = self._number("NUM_INTEROP_THREADS", "INTER_OP_THREAD_COUNT") or share
        self.compile_options = self._compile_options()
        self.asks_torch_compile = self._text(COMPILE) is not None
        self.inference_mode = self._flag("INFERENCE_MODE", default=True)
        self.disable_cudnn = self._flag("DISABLE_CUDNN")
        self.cache_cleaning = self._flag("ENABLE_CACHE_CLEANING")
        self.weight_sharing = self._flag("ENABLE_WEIGHT_SHARING")
        self.model_class = self._text("MODEL_CLASS")
        self.model_function = self._text("MODEL_FUNCTION")
        self.model_kwargs = self._object("MODEL_KWARGS")
        self.dtype = self._choice("DTYPE", DTYPES)
        self.warmup = self._warmup(config)
        self.fallback = self._choice("COMPILE_FALLBACK", ("error", "eager")) == "eager"
        self.recompile_limit = self._number("RECOMPILE_LIMIT")
        if self.model_class and self.model_function:
            raise ModelError("MODEL_CLASS and MODEL_FUNCTION exclude each other: one thing is served")

    def unknown(self) -> list[tuple[str, str]]:
        """Return each parameter that is not ours but looks like it, with the one it looks like."""
        others = [name for name in self._values if name not in self._known]
        near = [(name, difflib.get_close_matches(name.upper(), self._known, 1, 0.8)) for name in others]
        return [(name, match[0]) for name, match in near if match]

    def _text(self, name: str) -> str | None:
        self._known.append(name)
        return self._values.get(name)

    def _number(self, *names: str) -> int | None:
        """Return the whole number above 0 under one of *names*, which mean the same."""
        found = {}
        for name in names:
            text = self._text(name)
            if text is not None:
                if not re.fullmatch(r"\s*0*[1-9][0-9]*\s*", text):
                    raise ModelError(f"{name} must be a whole number above 0, not {text!r}")
                found[name] = int(text)
        if len(set(found.values())) > 1:
            both = " and ".join(f"{name} = {number}" for name, number in found.items())
            raise ModelError(f"{both} contradict each other: they mean the same, keep one")
        return next(iter(found.values()), None)

    def _flag(self, name: str, default: bool = False) -> bool:
        text = self._text(name)
        if text is None:
            return default
        if text.strip().lower() not in ("true", "1", "false", "0"):
            raise ModelError(f"{name} must be true or false, not {text!r}")
        return text.strip().lower() in ("true", "1")

    def _choice(self, name: str, allowed: tuple[str, ...]) -> str | None:
        text = self._text(name)
        if text is not None and text not in allowed:
            raise ModelError(f"{name} must be one of {', '.join(allowed)}, not {text!r}")
        return text

    def _json(self, name: str) -> Any:
        text = self._text(name)
        try:
            return None if text is None else json.loads(text)
        except ValueError as error:
            raise ModelError(f"{name} is not JSON: {error}; it reads {text!r}") from error

    def _object(self, name: str) -> dict[str, Any]:
        value = self._json(name)
        if value is not None and not isinstance(value, dict):
            raise ModelError(f"{name} must be a JSON object, not {json.dumps(value)}")
        return value or {}

    def _compile_options(self) -> dict[str, Any]:
        options = self._object(COMPILE)
        for key, value in options.items():
            if key not in OPTIONS:
                raise ModelError(f"{COMPILE} has no option {key!r}: allowed are {', '.join(OPTIONS)}")
            if not isinstance(value, OPTIONS[key]):
                expected = OPTIONS[key].__name__
                raise ModelError(f"{COMPILE}: {key} must be a {expected}, not {json.dumps(value)}")
        if "mode" in options and "options" in options:
            raise ModelError(f"{COMPILE} has both mode and options: torch.compile takes one of them")
        return options

    def _warmup(self, config: dict[str, Any]) -> dict[str, Any]:
        """Return ``{"batch": [sizes] or None, "dims": {input: dims}}``; no sizes for the text ``false``."""
        if self._json("WARMUP") is False:
            return {"batch": [], "dims": {}}
        warmup = {"batch": None, "dims": {}, **self._object("WARMUP")}
        for key in warmup:
            if key not in ("batch", "dims"):
                raise ModelError(f"WARMUP has no key {key!r}: allowed are batch, dims")
        sizes, largest = warmup["batch"], int(config.get("max_batch_size", 0)) or 1
        if sizes is not None and not isinstance(sizes, list):
            raise ModelError(f"WARMUP: batch must be a list of sizes, not {json.dumps(sizes)}")
        for size in sizes or []:
            if not isinstance(size, int) or size < 1:
                raise ModelError(f"WARMUP: batch holds sizes above 0, not {json.dumps(size)}")
            if size > largest:
                raise ModelError(f"WARMUP: batch size {size} is above max_batch_size {largest}")
        inputs = {field.name: list(field.dims) for field in read_fields(config, "input")}
        if not isinstance(warmup["dims"], dict):
            raise ModelError(f"WARMUP: dims must be sizes by input, not {json.dumps(warmup['dims'])}")
        for name, dims in warmup["dims"].items():
            if name not in inputs:
                text = f"WARMUP: dims names {name!r}, which is no input of the configuration: "
                raise ModelError(text + ", ".join(inputs))
            wanted = inputs[name]
            fits = isinstance(dims, list) and len(dims) == len(wanted)
            if not fits or any(type(d) is not int or d < 1 or w not in (-1, d) for d, w in zip(dims, wanted)):
                text = f"WARMUP: dims of {name!r} must fit the configuration's {wanted}, they are "
                raise ModelError(text + json.dumps(dims))
        return warmup


def instance_count(config: dict[str, Any]) -> int:
    """Return how many instances of the model the configuration asks for."""
    groups = config.get("instance_group") or [{}]
    return max(1, sum(int(group.get("count", 1)) * max(1, len(group.get("gpus", []))) for group in groups))


# ---- loading -----------------------------------------------------------------------------------------------

PACKAGE = "triton_model_"


class Files(NamedTuple):
    """The files of a version folder that are served: paths, or None."""

    source: str | None
    weights: str | None
    exported: str | None


def find_files(folder: str, default_name: str) -> Files:
    """Say which files in *folder* make the model; *default_name* is ``default_model_filename``.

    Raises:
        ModelError: there is nothing to serve.
    """
    stem, extension = "model", ""
    named = os.path.join(folder, default_name) if default_name else ""
    if named and os.path.exists(named) and not os.path.samefile(named, __file__):
        stem, extension = os.path.splitext(default_name)

    def existing(*extensions: str) -> str | None:
        paths = [os.path.join(folder, stem + extension) for extension in extensions]
        return next((p for p in paths if os.path.exists(p) and not os.path.samefile(p, __file__)), None)

    exported, source, weights = existing(".pt2"), existing(".py"), existing(".safetensors", ".pt")
    if exported and extension in (".pt2", ""):  # complete: a model.py beside it is what it was made from
        return Files(None, None, exported)
    if weights and weights.endswith(".safetensors") and existing(".pt"):
        raise ModelError(f"both {stem}.safetensors and {stem}.pt in {folder}: keep the one that is meant")
    if source or weights:
        return Files(source, weights, None)
    names = f"{stem}.py, {stem}.pt, {stem}.safetensors or {stem}.pt2"
    raise ModelError(f"nothing to serve in {folder}: no {names}")


def kind_of(path: str) -> str:
    """Say what the file at *path* holds: ``torchscript``, ``state_dict``, ``exported`` or ``aotinductor``.

    Raises:
        ModelError: it is none of them; the message has its first bytes.
    """
    file = os.path.basename(path)
    with open(path, "rb") as opened:
        head = opened.read(64)
    if path.endswith(".safetensors") or head.startswith(b"\x80"):  # the format of torch.save before 1.6
        return "state_dict"
    if not head.startswith(b"PK\x03\x04"):
        hint = "(a download that failed, or a Git LFS pointer?)"
        raise ModelError(f"{file} is not a file that PyTorch wrote: it begins with {head[:32]!r} {hint}")
    if not zipfile.is_zipfile(path):
        raise ModelError(f"{file} is cut short or damaged: a zip archive without its end")
    with zipfile.ZipFile(path) as archive:
        whole = archive.namelist()
    names = [name.split("/", 1)[-1] for name in whole]
    if any(name.startswith("data/aotinductor/") for name in names):
        return "aotinductor"
    if any(name.startswith(("models/", "serialized_exported_program")) for name in [*names, *whole]):
        return "exported"
    return "torchscript" if "constants.pkl" in names else "state_dict"


def import_source(path: str, package: str) -> types.ModuleType:
    """Import the model file at *path* as ``<package>.model``, with its folder importable.

    A package of its own makes ``from .blocks import X`` work, lets objects pickle, and keeps two models with
    helper modules of the same name apart.
    """
    folder = os.path.dirname(path)
    _forget_other_folders(folder)
    sys.path.insert(0, folder)
    parent = types.ModuleType(package)
    parent.__path__ = [folder]
    sys.modules[package] = parent
    name = f"{package}.{os.path.splitext(os.path.basename(path))[0]}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise ModelError(f"{os.path.basename(path)} cannot be imported: {describe(error, folder)}") from error
    return module


def _forget_other_folders(folder: str) -> None:
    """Forget top-level modules that were imported from version folders of other models in this process."""
    packages = [name for name in sys.modules if name.startswith(PACKAGE) and "." not in name]
    others = {path for name in packages for path in sys.modules[name].__path__} - {folder}
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if file and "." not in name and os.path.dirname(file) in others:
            del sys.modules[name]
    sys.path[:] = [part for part in sys.path if part != folder and part not in others]


def describe(error: BaseException, folder: str) -> str:
    """Say *error* in one line, with the place in the user's *folder* where it was raised."""
    first, *others = str(error).strip().split("\n")
    said = [line.strip() for line in others if "error: " in line][:1]  # a C++ compiler's own words
    text = ": ".join([type(error).__name__, *filter(None, [first]), *said])
    frames = [f for f in traceback.extract_tb(error.__traceback__) if os.path.dirname(f.filename) == folder]
    if not folder or not frames:
        return text
    return f"{text} ({os.path.basename(frames[-1].filename)}, line {frames[-1].lineno})"


def find_model(module: types.ModuleType, parameters: Parameters) -> Any:
    """Return the one class (a subclass of ``nn.Module``) or plain function in *module* that is to be served.

    Raises:
        ModelError: none, several, or not the one that MODEL_CLASS or MODEL_FUNCTION names.
    """

    def is_class(value: Any) -> bool:
        return inspect.isclass(value) and issubclass(value, torch.nn.Module)

    file = os.path.basename(str(module.__file__))
    own = {n: v for n, v in vars(module).items() if getattr(v, "__module__", None) == module.__name__}
    classes = [n for n, v in own.items() if is_class(v)]
    functions = [n for n, v in own.items() if inspect.isfunction(v) and not n.startswith("_")]
    for parameter, wanted, fits, names in (
        ("MODEL_CLASS", parameters.model_class, is_class, classes),
        ("MODEL_FUNCTION", parameters.model_function, callable, functions),
    ):
        value = getattr(module, wanted or "", None)
        if wanted and fits(value):
            return value
        if wanted:
            found = ", ".join(names) or "nothing"
            raise ModelError(f"{parameter}: there is no {wanted!r} in {file}; found: {found}")
    names, kind, parameter = classes, "nn.Module", "MODEL_CLASS"
    if not classes:
        names, kind, parameter = functions, "function", "MODEL_FUNCTION"
    if not names:
        raise ModelError(f"{file} defines no nn.Module and no function")
    if len(names) > 1:
        several = f"{file} defines several {kind}s: {', '.join(names)}"
        raise ModelError(f"{several}; {parameter} says which is served")
    return own[names[0]]


def read_state(path: str) -> dict[str, torch.Tensor]:
    """Read a state_dict, its tensors mapped from the file; never run code that is in it."""
    if path.endswith(".safetensors"):
        return _read_safetensors(path)
    name, option = os.path.basename(path), {}
    if "mmap" in inspect.signature(torch.load).parameters and zipfile.is_zipfile(path):  # torch 2.1 and later
        option = {"mmap": True}
    try:
        state = torch.load(path, map_location="cpu", weights_only=True, **option)
    except Exception as error:
        refused = re.search(r"GLOBAL (\S+)", str(error))
        if refused:
            text = f"{name} wants {refused[1]} while it is unpickled, which could run code: refused; "
            raise ModelError(text + "save it again as torch.save(module.state_dict(), path)") from error
        raise ModelError(f"{name} cannot be read: {describe(error, '')}") from error
    if isinstance(state, dict) and isinstance(state.get("state_dict"), dict):
        state = state["state_dict"]
    if not isinstance(state, dict) or not all(isinstance(v, torch.Tensor) for v in state.values()):
        raise ModelError(f"{name} holds no state_dict but a {type(state).__name__}")
    return dict(state)


def _read_safetensors(path: str) -> dict[str, torch.Tensor]:
    """Read the format of https://github.com/huggingface/safetensors: length, JSON header, raw tensors."""
    dtypes = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16", "I64": "int64"}
    dtypes.update({"I32": "int32", "I16": "int16", "I8": "int8", "U8": "uint8", "BOOL": "bool"})
    try:
        with open(path, "rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            header = json.loads(file.read(length).decode("utf-8"))
            header.pop("__metadata__", None)
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
        state = {}
        for key, entry in header.items():
            begin, end = entry["data_offsets"]
            dtype = getattr(torch, dtypes[entry["dtype"]])
            state[key] = tensor_at(mapped, 8 + length + begin, end - begin, dtype, entry["shape"])
    except (ValueError, KeyError, TypeError, struct.error, RuntimeError, MemoryError, OverflowError) as error:
        name = os.path.basename(path)
        raise ModelError(f"{name} is not a safetensors file: {describe(error, '')}") from error
    return state


def tensor_at(
    memory: mmap.mmap, offset: int, size: int, dtype: torch.dtype, shape: list[int]
) -> torch.Tensor:
    """Return the tensor that lies in *size* bytes of mapped *memory* from *offset* on."""
    if not size:
        return torch.empty(shape, dtype=dtype)
    return torch.frombuffer(memory, dtype=torch.uint8, count=size, offset=offset).view(dtype).reshape(shape)


def load_state(module: torch.nn.Module, path: str) -> None:
    """Give *module* the state_dict in the file at *path*.

    Raises:
        ModelError: it belongs to another model; missing, unexpected and misshapen keys are named.
    """
    state, expected = read_state(path), module.state_dict()
    for prefix in ("module.", "_orig_mod.", "module."):
        if not set(state) & set(expected) and all(key.startswith(prefix) for key in state):
            state = {key[len(prefix) :]: value for key, value in state.items()}
    missing, unexpected = [k for k in expected if k not in state], [k for k in state if k not in expected]
    problems = []
    for what, keys in (("missing", missing), ("unexpected", unexpected)):
        if keys:
            more = f" and {len(keys) - 8} more" if len(keys) > 8 else ""
            problems.append(f"{what}: {', '.join(keys[:8])}{more}")
    for key, tensor in expected.items():
        if key in state and state[key].shape != tensor.shape:
            problems.append(f"{key} has the shape {list(state[key].shape)}, the model {list(tensor.shape)}")
    if problems:
        file, model = os.path.basename(path), type(module).__name__
        raise ModelError(f"{file} does not fit {model}: {'; '.join(problems)}")
    # The parameters become the mapped pages themselves (torch 2.1 and later), in the dtype of the file.
    option = {"assign": True} if "assign" in inspect.signature(module.load_state_dict).parameters else {}
    module.load_state_dict(state, **option)


def load(files: Files, package: str, parameters: Parameters, device: torch.device | None) -> Any:
    """Load what *files* hold onto *device* (None: where the model puts itself), ready to be called."""
    if files.source is None:
        return load_saved(str(files.exported or files.weights), device)
    found, weights = find_model(import_source(files.source, package), parameters), files.weights
    if not inspect.isclass(found):
        if weights:
            file, function = os.path.basename(weights), getattr(found, "__name__", "the function")
            raise ModelError(f"{file} has nowhere to go: {function} is a function, not an nn.Module")
        return found
    try:
        module = found(**parameters.model_kwargs)
    except Exception as error:
        where = describe(error, os.path.dirname(files.source))
        raise ModelError(f"the constructor of {found.__name__} raised {where}") from error
    assert isinstance(module, torch.nn.Module)
    if weights:
        kind = kind_of(weights)
        if kind != "state_dict":
            file = os.path.basename(weights)
            raise ModelError(f"{file} beside model.py must hold a state_dict, it holds {kind}")
        load_state(module, weights)
    return module


def load_saved(path: str, device: torch.device | None) -> Any:
    """Load a file that is a model by itself."""
    name, kind, version = os.path.basename(path), kind_of(path), torch.__version__
    if kind == "state_dict":
        hint = "put the model.py that defines it beside them"
        raise ModelError(f"{name} holds weights without a model: {hint}")
    try:
        if kind == "torchscript":
            return torch.jit.load(path, map_location=device)  # type: ignore[no-untyped-call]  # torch's
        if kind == "aotinductor":
            return torch._inductor.aoti_load_package(path)
        return torch.export.load(path).module()
    except Exception as error:
        newer = re.search(r"version (\d+), but the maximum .* version for reading is (\d+)", str(error))
        if newer:
            both = f"its format is {newer[1]}, torch {version} reads up to {newer[2]}"
            raise ModelError(f"{name} was written by a newer torch: {both}") from error
        raise ModelError(f"torch {version} cannot load {name} ({kind}): {describe(error, '')}") from error


class SharedWeights:
    """Lets the instances of one model on one device hold its weights once.

    The first instance offers its tensors on a board, a small file of this user's under the folder for temporary
    files; the others take them. On a CPU they lie in a memory file of the kernel, mapped copy-on-write: it goes with
    the last process that maps it, and a model that writes to a buffer writes to its own page. On a GPU they cross by
    CUDA IPC, whose memory belongs to the instance that offered it.
    """

    def __init__(self, args: dict[str, str], folder: str) -> None:
        # Another server, configuration or state of the files is another board: a reload never meets old weights.
        files = sorted((e.name, e.stat().st_mtime_ns, e.stat().st_size) for e in os.scandir(folder))
        identity = (os.getppid(), folder, args["model_config"], args["model_instance_device_id"], files)
        digest = hashlib.sha256(repr(identity).encode()).hexdigest()[:16]
        self._name = f"triton-weights-{os.getuid()}-{digest}"
        self._board = os.path.join(tempfile.gettempdir(), self._name)
        self._memory: int | None = None
        self._offered = False

    def share(self, module: torch.nn.Module, device: torch.device) -> None:
        """Take the weights of *module* from another instance, or offer them."""
        tensors = dict([*module.named_parameters(), *module.named_buffers()])
        if not tensors:
            return
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW
        with open(os.open(self._board, flags, 0o600), "r+b") as board:
            if os.fstat(board.fileno()).st_uid != os.getuid():
                raise ModelError(f"ENABLE_WEIGHT_SHARING: {self._board} belongs to another user")
            fcntl.flock(board, fcntl.LOCK_EX)  # whoever comes later waits here until there is an offer
            text = board.read()
            take, offer = self._take, self._offer
            if device.type == "cuda":
                take, offer = self._take_ipc, self._offer_ipc
            found = take(text, tensors) if text else None
            if found is None:
                board.seek(0)
                board.truncate()
                text, found = offer(tensors)
                board.write(text)
                self._offered = True
        with torch.no_grad():
            for name, tensor in tensors.items():
                tensor.data = found[name]

    def _layout(self, tensors: dict[str, torch.Tensor]) -> list[list[Any]]:
        """Return name, offset, dtype and shape of each tensor, in one piece of memory."""
        layout, offset = [], 0
        for name, tensor in tensors.items():
            layout.append([name, offset, str(tensor.dtype), list(tensor.shape)])
            offset += -(-tensor.numel() * tensor.element_size() // 64) * 64
        return layout

    def _offer(self, tensors: dict[str, torch.Tensor]) -> tuple[bytes, dict[str, torch.Tensor]]:
        self._memory = os.memfd_create(self._name)
        layout = self._layout(tensors)
        with open(self._memory, "wb", closefd=False) as file:
            for (_, offset, _, _), tensor in zip(layout, tensors.values()):
                file.seek(offset)
                raw = tensor.detach().contiguous().reshape(-1)
                file.write(raw.view(torch.uint8).numpy().data if raw.numel() else b"")
            file.truncate(file.seek(0, os.SEEK_END) + 64)
        text = json.dumps({"pid": os.getpid(), "fd": self._memory, "layout": layout}).encode()
        return text, self._map(self._memory, layout)

    def _take(self, text: bytes, tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor] | None:
        offer = json.loads(text)
        path = f"/proc/{offer['pid']}/fd/{offer['fd']}"
        try:
            if offer["layout"] != self._layout(tensors) or self._name not in os.readlink(path):
                return None
            with open(path, "rb") as file:
                return self._map(file.fileno(), offer["layout"])
        except OSError:  # the instance that offered them is gone
            return None

    def _map(self, descriptor: int, layout: list[list[Any]]) -> dict[str, torch.Tensor]:
        memory, found = mmap.mmap(descriptor, 0, access=mmap.ACCESS_COPY), {}
        for name, offset, dtype, shape in layout:
            kind: torch.dtype = getattr(torch, dtype.replace("torch.", ""))
            size = math.prod(shape) * torch.empty(0, dtype=kind).element_size()
            found[name] = tensor_at(memory, offset, size, kind, shape)
        return found

    def _offer_ipc(self, tensors: dict[str, torch.Tensor]) -> tuple[bytes, dict[str, torch.Tensor]]:
        from multiprocessing.reduction import ForkingPickler

        import torch.multiprocessing  # noqa: F401 - teaches ForkingPickler CUDA tensors

        data = {name: tensor.detach() for name, tensor in tensors.items()}
        return os.getpid().to_bytes(8, "little") + bytes(ForkingPickler.dumps(data)), data

    def _take_ipc(self, text: bytes, tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor] | None:
        import torch.multiprocessing  # noqa: F401 - its reductions are what is unpickled

        if not os.path.exists(f"/proc/{int.from_bytes(text[:8], 'little')}"):
            return None
        found: dict[str, torch.Tensor] = pickle.loads(text[8:])
        return found if self._layout(found) == self._layout(tensors) else None

    def close(self) -> None:
        """Withdraw the offer; who has taken it keeps it."""
        if self._offered and os.path.exists(self._board):
            os.remove(self._board)
        if self._memory is not None:
            os.close(self._memory)
            self._memory = None


def pick_device(kind: str, device_id: str, module: Any) -> torch.device:
    """Return the device of an instance; for KIND_MODEL where *module* put itself, or the first there is."""
    if kind == "GPU":
        return torch.device("cuda", int(device_id))
    if kind == "CPU":
        return torch.device("cpu")
    if isinstance(module, torch.nn.Module):
        for tensor in [*module.parameters(), *module.buffers()]:
            return tensor.device
    return torch.device("cuda:0" if torch.cuda.is_available() else "cpu")


# ---- compiling ---------------------------------------------------------------------------------------------


class Compiler:
    """Compiles one model, and counts what Dynamo compiles after it said to be ready."""

    def __init__(self, parameters: Parameters, device: torch.device, fixed_dims: bool) -> None:
        self._options = {k: v for k, v in parameters.compile_options.items() if k != "disable"}
        self._limit = parameters.recompile_limit
        self._prefix = StablePrefix()
        self.static = parameters.compile_options.get("dynamic") is False
        # On a CPU, weights that stay are laid out once as its matrix multiplications like them best. That is a copy of
        # them, the opposite of sharing; and each new shape costs a millisecond, too much where dims vary, too.
        self._freeze = device.type == "cpu" and fixed_dims and not parameters.weight_sharing
        self._freeze &= self._options.get("options", {}).get("freezing", True)
        graphs = self._options.get("mode") in ("reduce-overhead", "max-autotune")
        graphs = graphs or bool(self._options.get("options", {}).get("triton.cudagraphs"))
        self.reuses_buffers = graphs and device.type == "cuda"

    def compile(self, target: Callable[..., Any]) -> Callable[..., Any]:
        """Return *target* compiled; the work itself is done by the first calls."""
        import torch._dynamo.utils
        import torch._inductor.config

        self._counters = torch._dynamo.utils.counters
        self._graphs = int(self._counters["stats"]["unique_graphs"])
        if self._limit is not None:
            config = torch._dynamo.config  # the limit has one name before torch 2.7 and another since
            name = "recompile_limit" if hasattr(config, "recompile_limit") else "cache_size_limit"
            setattr(config, name, self._limit)
        if self._options.get("backend", "inductor") == "inductor":
            self._prefix.use()
            torch._inductor.config.freezing = self._freeze  # Dynamo asks it, and not the options of the call
        return torch.compile(without_call(target), **self._options)

    def was_disturbed(self) -> bool:
        """Say whether another server may have taken the headers away that a compiler was reading."""
        return self._prefix.was_taken()

    def new_graphs(self) -> int:
        """Return how many graphs were compiled since the last call."""
        before, self._graphs = self._graphs, int(self._counters["stats"]["unique_graphs"])
        return self._graphs - before


def without_call(target: Callable[..., Any]) -> Callable[..., Any]:
    """Return the forward of a module whose call does nothing else: each call is several frames shorter."""
    if not isinstance(target, torch.nn.Module) or type(target).__call__ is not torch.nn.Module.__call__:
        return target
    hooks = target._forward_hooks or target._forward_pre_hooks
    forward: Callable[..., Any] = target.forward
    return target if hooks else forward


def can_compile(target: Callable[..., Any], inputs: list[Field]) -> bool:
    """Say whether torch.compile takes *target*: not what is compiled already, not strings (constants to it)."""
    done = isinstance(target, torch.jit.ScriptModule) or type(target).__name__ == "AOTICompiledModel"
    return not done and all(field.data_type != "STRING" for field in inputs)


def mark_dynamic(values: list[Any], fields: list[Field], batched: bool) -> None:
    """Mark the batch dimension and the ``-1`` dims of example *values*, so that one graph serves every size."""
    import torch._dynamo

    mark = getattr(torch._dynamo, "maybe_mark_dynamic", None) or torch._dynamo.mark_dynamic
    for value, field in zip(values, fields):
        sizes = ((-1,) if batched else ()) + field.dims
        for axis, size in enumerate(sizes):
            if value is not None and size == -1 and value.shape[axis] > 1:
                mark(value, axis)


# ---- compiled ahead of time --------------------------------------------------------------------------------

KEY_FILE = "envbuilder.json"
REASON = ".why-not"
"""What follows the path of a package where there cannot be one; the file says why."""
CPU_FLAGS = re.compile(
    r"(abm|adx|aes|amx|avx|bmi|f16c|fma|gfni|movbe|pclmul|pni|popcnt|sha|sse|ssse|vaes|vpclmul)"
)
"""What a compiler that is told ``-march=native`` may make use of, as /proc/cpuinfo names it."""


def compiled_file(folder: str, device: torch.device, extension: str = "pt2") -> str:
    """Return where the model in *folder*, compiled ahead of time for a *device*, is looked for.

    ``pt2``: a package of AOTInductor; ``zip``: the caches of Inductor, for a model that cannot be exported.
    """
    return os.path.join(folder, f"compiled.{device.type}.{extension}")


def fitting_key(folder: str, files: Files, config: dict[str, Any], device: torch.device) -> dict[str, Any]:
    """Return what compiled code has to be made for to be of use here, each part under its name."""
    own = Parameters(config)
    described = [config.get("max_batch_size", 0), read_fields(config, "input"), read_fields(config, "output")]
    described += [own.model_class, own.model_function, own.model_kwargs, own.dtype, own.compile_options]
    return {
        "torch": torch.__version__,
        "CUDA": torch.version.cuda,
        "device": device_capability(device),
        "environment": environment_digest(),
        "model file": digest_files(model_files(folder, files)),
        "configuration": hashlib.sha256(json.dumps(described, sort_keys=True).encode()).hexdigest(),
    }


def environment_digest() -> str:
    """Return what tells this environment from others, wherever it lies; nothing where it has no manifest."""
    manifest = os.path.join(sys.prefix, "share", "envbuilder", "manifest.json")
    return digest_files([manifest]) if os.path.exists(manifest) else ""


def device_capability(device: torch.device) -> dict[str, Any]:
    """Say for what code may be compiled that runs on *device*."""
    if device.type == "cuda":
        return {"architecture": "sm_{}{}".format(*torch.cuda.get_device_capability(device)), "flags": []}
    with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
        line = next((line for line in file if re.match(r"(flags|Features)\b", line)), "")
    architecture = f"{platform.machine()} {torch.backends.cpu.get_cpu_capability()}"
    flags = sorted({flag for flag in line.partition(":")[2].split() if CPU_FLAGS.match(flag)})
    return {"architecture": architecture, "flags": flags}


def model_files(folder: str, files: Files) -> list[str]:
    """List what a model may be made from, but for its weights: the files in its folder, and modules above it."""
    above = os.path.dirname(folder)
    found = [entry.path for entry in os.scandir(above) if entry.name.endswith(".py") and entry.is_file()]
    for root, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if name != "__pycache__"]
        found += [os.path.join(root, name) for name in names if not name.startswith("compiled.")]
    return sorted(path for path in found if path != files.weights and not os.path.samefile(path, __file__))


def digest_files(paths: list[str]) -> str:
    """Return the sha256 of the names and contents of *paths*."""
    digest = hashlib.sha256()
    for path in paths:
        with open(path, "rb") as file:
            digest.update(f"{os.path.basename(path)} {os.fstat(file.fileno()).st_size}\n".encode())
            for chunk in iter(lambda: file.read(2**20), b""):
                digest.update(chunk)
    return digest.hexdigest()


def kept_package(key: dict[str, Any]) -> str:
    """Return where the package with this *key* is kept, among Inductor's caches, once a model was compiled to it."""
    folder = os.environ.get("TORCHINDUCTOR_CACHE_DIR")
    folder = folder or os.path.join(tempfile.gettempdir(), f"torchinductor_{getpass.getuser()}")
    digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()
    return os.path.join(folder, "packages", f"{digest[:32]}.pt2")


def is_trusted(path: str) -> bool:
    """Say whether there is a file at *path* that this user made, or root: of nobody else code is taken."""
    return os.path.exists(path) and os.stat(path).st_uid in (0, os.getuid())


def key_difference(key: dict[str, Any], fitting: dict[str, Any]) -> str | None:
    """Say in which part the *key* of compiled code differs from the *fitting* one; None: in none."""
    for part, here in fitting.items():
        made = key.get(part)
        if part == "device" and made:
            lacking = sorted(set(made["flags"]) - set(here["flags"]))
            if made["architecture"] != here["architecture"]:
                return f"it is for {made['architecture']}, this device is {here['architecture']}"
            if lacking:
                return f"it is for a processor with {', '.join(lacking)}, which this one has not"
        elif made != here and part in ("torch", "CUDA"):
            return f"it is for {part} {made}, this is {part} {here}"
        elif made != here:
            return f"it was made with another {part}"
    return None


def read_key(path: str) -> dict[str, Any]:
    """Return the key of the compiled code at *path*.

    Raises:
        ModelError: the file is not whole.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
            if damaged is not None:
                raise ModelError(f"it is damaged: {os.path.basename(damaged)} in it")
            name = next(name for name in archive.namelist() if name.split("/")[-1] == KEY_FILE)
            key: dict[str, Any] = json.loads(archive.read(name).decode("utf-8"))
            return key
    except StopIteration:
        raise ModelError(f"it has no key, a file {KEY_FILE} in it") from None
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError) as error:
        raise ModelError(f"it is cut short or damaged: {error}") from error


MOST_SHAPES = 4096
"""How many shapes of inputs a package keeps in mind."""


class NotExportableError(Exception):
    """Why a model cannot be compiled to a package, in words; torch.compile may well serve it."""


def presences(inputs: list[Field]) -> list[list[bool]]:
    """Return which inputs may be there together: all sets of optional ones, or all and none of many."""
    optional = [field.optional for field in inputs]
    if sum(optional) > 2:
        return [[True] * len(optional), [not one for one in optional]]
    return [
        list(choice) for choice in itertools.product(*[(True, False) if o else (True,) for o in optional])
    ]


def export(
    model: Any,
    call: Callable[[Any, list[Any]], list[Any]],
    values: list[Any],
    inputs: list[Field],
    max_batch: int,
) -> tuple[Any, dict[str, Any]]:
    """Export *model* for example *values* of its inputs, None where one is absent; batch and ``-1`` dims may vary.

    *call* calls the model for values of its inputs and returns its outputs, both in the order of the configuration.

    Returns: the program, and what a :class:`Package` has to know of it: the ``dims`` of its inputs, numbers or names
    of what varies, and the ``ranges`` of those. A batch of one is what export itself does not vouch for.
    """

    class Served(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, *tensors: Any) -> Any:
            given = iter(tensors)
            return tuple(call(self.model, [None if value is None else next(given) for value in values]))

    batch = (-1,) if max_batch > 1 else (1,) if max_batch else ()
    present = [(field, value) for field, value in zip(inputs, values) if value is not None]
    try:
        dims = tuple(
            {axis: torch.export.Dim.DYNAMIC for axis, size in enumerate(batch + field.dims) if size == -1}
            for field, _ in present
        )
        program = torch.export.export(
            Served().eval(), tuple(value for _, value in present), dynamic_shapes=(dims,)
        )
    except Exception as error:
        raise NotExportableError(f"torch.export: {describe(error, '')}") from error
    shown = {node.name: node.meta.get("val") for node in program.graph.nodes if node.op == "placeholder"}
    sizes = [list(shown[name].shape) for name in program.graph_signature.user_inputs]
    for size in itertools.chain(*sizes):
        if not isinstance(size, int) and not size.node.expr.is_Symbol:
            raise NotExportableError(f"a dim of an input depends on another one: {size}")
    named = [[size if isinstance(size, int) else str(size.node.expr) for size in one] for one in sizes]
    ranges = {}
    for symbol, bounds in program.range_constraints.items():
        upper = int(bounds.upper) if bounds.upper.is_Integer else None
        ranges[str(symbol)] = [max(2, int(bounds.lower)), upper]
    used = {size for one in named for size in one if isinstance(size, str)}
    if used - set(ranges):
        raise NotExportableError("the bounds of its dims are not known")
    return program, {"dims": named, "ranges": {name: ranges[name] for name in sorted(used)}}


def export_variants(model: TritonPythonModel) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Export a loaded *model* for each set of inputs that may be there.

    Returns: the programs by name, and what a package's key says of each.
    """
    programs, variants = {}, []
    for number, present in enumerate(presences(model._inputs)):
        name, values = f"variant{number}", model._examples_of(present)
        programs[name], shapes = export(model._eager, model._call, values, model._inputs, model._max_batch)
        variants.append({"name": name, "present": present, **shapes})
    return programs, variants


def write_package(path: str, programs: dict[str, Any], options: dict[str, Any]) -> bool:
    """Compile exported *programs*, by the names of their variants, to a package at *path*.

    Returns: whether the weights are inside; else they are the module's own.
    """
    try:
        from torch._inductor.graph import GraphLowering
        from torch._inductor.package import package_aoti  # type: ignore[attr-defined]  # torch's
    except ImportError:
        raise NotExportableError(f"torch {torch.__version__} makes no AOTInductor packages") from None
    if hasattr(GraphLowering, "can_inline_constant"):  # small weights would be written into the code
        GraphLowering.can_inline_constant = staticmethod(lambda value: False)  # type: ignore[assignment, method-assign]
    # On a CPU, what max_autotune chooses has its weights packed for the processor: they are no longer the module's.
    packs = options.get("max_autotune") or options.get("max_autotune_gemm")
    packs = packs and all(t.is_cpu for program in programs.values() for t in program.example_inputs[0])
    inside = bool(packs) or any(program.constants for program in programs.values())
    options = {
        **options,
        "aot_inductor.package": True,
        "aot_inductor.package_constants_in_so": inside,
        "freezing": False,  # the weights stay the module's own, and may be others next time
        "joint_graph_constant_folding": False,  # weights that are all 1 would be taken for constants
        "cpp.dynamic_threads": True,  # it may serve with other threads, and on another machine
    }
    made: dict[str, Any] = {}
    for name, program in programs.items():
        arguments, _ = program.example_inputs
        try:
            made[name] = torch._inductor.aot_compile(program.module(), arguments, options=options)
        except Exception as error:
            raise NotExportableError(f"AOTInductor: {describe(error, '')}") from error
    package_aoti(path, made)
    return inside


def write_key(path: str, key: dict[str, Any]) -> None:
    """Put the *key* into the package at *path*, and the package in its place at once."""
    draft = path + ".draft"
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(draft, "w") as new:
        for member in old.infolist():
            if not member.filename.endswith("/" + KEY_FILE):
                new.writestr(member, old.read(member))
        root = old.namelist()[0].split("/")[0]
        new.writestr(f"{root}/extra/{KEY_FILE}", json.dumps(key, sort_keys=True))
    os.replace(draft, path)


def module_tensors(module: Any) -> dict[str, torch.Tensor]:
    """Return the weights and buffers of a module by name; nothing for a function."""
    if not isinstance(module, torch.nn.Module):
        return {}
    tensors: dict[str, torch.Tensor] = dict(module.named_parameters(remove_duplicate=False))
    tensors.update(module.named_buffers(remove_duplicate=False))
    return tensors


class Package:
    """A model that AOTInductor compiled ahead of time: no compiler is needed, and no Inductor imported.

    It has a variant for each set of optional inputs that may be absent. Its weights are the module's own, unless
    it was made with them inside: other weights of the same names and shapes need no other package.
    """

    def __init__(self, path: str, key: dict[str, Any], module: Any, device: torch.device) -> None:
        self.path = path
        index = device.index if device.type == "cuda" else -1
        tensors, weights = module_tensors(module), describe_weights(module)
        for name, made in key["weights"].items():
            if weights.get(name) != made:
                raise ModelError(
                    f"the weights differ: {name} was {made}, it is {weights.get(name, 'not there')}"
                )
        self._variants: dict[tuple[bool, ...], tuple[Any, list[list[Any]], dict[str, list[Any]]]] = {}
        self._loaders: dict[tuple[Any, ...], Any] = {}
        self.constants = {f"model.{name}": tensors[name].detach() for name in key["weights"]}
        for variant in key["variants"]:
            loader = torch._C._aoti.AOTIModelPackageLoader(path, variant["name"], True, 1, index)
            names = loader.get_constant_fqns()
            if self.constants and names:
                loader.load_constants({name: self.constants[name] for name in names}, False, True, True)
            self._variants[tuple(variant["present"])] = (loader, variant["dims"], variant["ranges"])

    def run(self, values: list[Any]) -> list[Any] | None:
        """Return the outputs for *values*, in the order of the configuration; None: not what it was made for."""
        shapes = tuple([None if value is None else value.shape for value in values])
        if shapes not in self._loaders:
            if len(self._loaders) == MOST_SHAPES:
                self._loaders.clear()
            self._loaders[shapes] = self._loader(shapes)
        loader = self._loaders[shapes]
        if loader is None:
            return None
        outputs: list[Any] = loader.run([value for value in values if value is not None])
        return outputs

    def _loader(self, shapes: tuple[Any, ...]) -> Any:
        """Return what is loaded for inputs of these *shapes*, if anything: compiled code takes sizes for granted."""
        variant = self._variants.get(tuple([shape is not None for shape in shapes]))
        if variant is None:
            return None
        loader, dims, ranges = variant
        sizes: dict[str, int] = {}
        for shape, expected in zip([shape for shape in shapes if shape is not None], dims):
            for size, name in zip(shape, expected):
                if sizes.setdefault(name, size) != size or (isinstance(name, int) and size != name):
                    return None
        for name, (least, most) in ranges.items():
            if sizes[name] < least or (most is not None and sizes[name] > most):
                return None
        return loader


def nearly_equal(found: Any, wanted: Any) -> bool:
    """Say whether two outputs are the same but for rounding."""
    a, b = torch.as_tensor(found), torch.as_tensor(wanted)
    if a.shape != b.shape or a.dtype != b.dtype:
        return False
    if not a.is_floating_point():
        return torch.equal(a, b)
    close = 2e-2 if a.dtype.itemsize == 2 else 1e-3
    largest = float(b.abs().nan_to_num(0, 0, 0).max()) if b.numel() else 0.0
    return torch.allclose(a, b, rtol=close, atol=close * largest, equal_nan=True)


def describe_weights(module: Any) -> dict[str, str]:
    """Return what compiled code takes for granted of the weights of a module."""
    return {name: describe_tensor(tensor) for name, tensor in module_tensors(module).items()}


def describe_tensor(tensor: torch.Tensor) -> str:
    """Return what compiled code knows of a weight."""
    dtype = str(tensor.dtype).replace("torch.", "")
    strides = "" if tensor.is_contiguous() else f" with strides {list(tensor.stride())}"
    return f"{dtype} {list(tensor.shape)}{strides}"


def restore_caches(path: str) -> None:
    """Put the caches in the file at *path* where Inductor looks for them; what is there already stays.

    Raises:
        OSError: the folder cannot be written, or is full.
    """
    import torch._inductor.config
    from torch._inductor.codecache import cache_dir  # type: ignore[attr-defined]  # where all versions have it

    if hasattr(torch._inductor.config, "cpp_cache_precompile_headers"):  # their place is in what is looked up
        torch._inductor.config.cpp_cache_precompile_headers = False
    with zipfile.ZipFile(path) as archive:
        for member in archive.infolist():
            place = os.path.join(cache_dir(), *member.filename.split("/"))
            if member.filename == KEY_FILE or os.path.exists(place):
                continue
            os.makedirs(os.path.dirname(place), exist_ok=True)
            draft = f"{place}.{os.getpid()}"
            try:
                with open(draft, "wb") as file:
                    file.write(archive.read(member))
                os.replace(draft, place)  # another server may do the same at this moment
            finally:
                if os.path.exists(draft):
                    os.remove(draft)


class StablePrefix:
    """A name for the environment that is the same after each start: a link in the folder for temporary files.

    Triton names the folder anew each time that it extracts an archive, and the names of headers are in what
    Inductor's caches are looked up by: under another name everything would compile again.
    """

    def __init__(self) -> None:
        self._link = os.path.join(tempfile.gettempdir(), f"torch-environment-{environment_digest()[:16]}")
        self._used = False

    def use(self) -> None:
        """Give the compiler the stable name, where there is one."""
        import sysconfig

        import torch._inductor.cpp_builder
        import torch.utils.cpp_extension

        if not environment_digest() or not self._point():
            return
        self._used = True
        variables = sysconfig.get_config_vars()
        for name in ("installed_base", "LIBDIR"):
            variables[name] = self._stable(variables.get(name))
        for module in (torch.utils.cpp_extension, torch._inductor.cpp_builder):
            for name in ("_TORCH_PATH", "TORCH_LIB_PATH", "_LINKER_SCRIPT"):
                if hasattr(module, name):
                    setattr(module, name, self._stable(getattr(module, name)))
        try:  # the link may lead to the folder of another server by then, which takes it along when it stops
            from torch._dynamo.callback import callback_handler

            callback_handler.register_start_callback(self._point_again)
        except (ImportError, AttributeError):  # torch before 2.4
            pass

    def _point_again(self, *_: Any) -> None:
        self._point()

    def _stable(self, path: Any) -> Any:
        """Return *path* by its stable name, if it is one in the environment."""
        inside = isinstance(path, str) and (path + os.sep).startswith(sys.prefix + os.sep)
        return self._link + path[len(sys.prefix) :] if inside else path

    def was_taken(self) -> bool:
        """Say whether another server with this environment made the link lead to its own folder."""
        return self._used and not self._is_ours()

    def _is_ours(self) -> bool:
        return os.path.islink(self._link) and os.readlink(self._link) == sys.prefix

    def _point(self) -> bool:
        """Make the link lead to this environment; say whether it is a link to trust."""
        try:
            if not self._is_ours():
                draft = f"{self._link}.{os.getpid()}"
                os.symlink(sys.prefix, draft)
                os.replace(draft, self._link)
            return os.lstat(self._link).st_uid in (0, os.getuid())  # nobody else says where headers are
        except OSError:
            return False


# ---- batching ----------------------------------------------------------------------------------------------

TORCH_DTYPES = {f"{kind.upper()}{n}": f"{kind}{n}" for kind in ("int", "uint") for n in (8, 16, 32, 64)}
TORCH_DTYPES.update(BOOL="bool", FP16="float16", FP32="float32", FP64="float64", BF16="bfloat16")


class Field(NamedTuple):
    """One input or output of the configuration."""

    name: str
    data_type: str
    dims: tuple[int, ...]
    optional: bool


def read_fields(config: dict[str, Any], key: str) -> list[Field]:
    """Return the inputs or outputs (*key*) of *config*, with the dims that the model itself sees."""
    fields = []
    for entry in config.get(key) or []:
        dims = (entry.get("reshape") or {}).get("shape", entry["dims"])
        data_type = entry["data_type"][len("TYPE_") :]
        optional = bool(entry.get("optional", False))
        fields.append(Field(entry["name"], data_type, tuple(int(size) for size in dims), optional))
    return fields


class Arguments:
    """How the inputs of the configuration become the arguments of a call."""

    def __init__(self, target: Callable[..., Any], inputs: list[Field]) -> None:
        self._names = [field.name for field in inputs]
        defaults = argument_defaults(target)
        self.by_name = bool(defaults) and all(name in defaults for name in self._names)
        self._defaults = list(defaults.values())
        self._order: list[int] = []
        if self.by_name and type(target).__name__ == "GraphModule" and len(self._names) == len(defaults):
            # An exported program takes its arguments as it was given them when it was exported: by position.
            self.by_name = False
            self._order = [self._names.index(name) for name in defaults]

    def arrange(self, values: list[Any]) -> tuple[list[Any], dict[str, Any]]:
        """Return positional and keyword arguments for *values*, None where an optional input is absent."""
        if self.by_name:
            return [], {name: value for name, value in zip(self._names, values) if value is not None}
        values = [values[index] for index in self._order] if self._order else list(values)
        while values and values[-1] is None:
            values.pop()
        for index, value in enumerate(values):
            if value is None:
                values[index] = self._default(index)
        return values, {}

    def _default(self, index: int) -> Any:
        if index < len(self._defaults) and self._defaults[index] is not inspect.Parameter.empty:
            return self._defaults[index]
        raise ModelError(f"input {self._names[index]!r} is absent and the model has no default for it")


def argument_defaults(target: Any) -> dict[str, Any]:
    """Return the parameters of a model's forward or a function, with their defaults or ``Parameter.empty``."""
    if isinstance(target, torch.jit.ScriptModule):
        forward: Any = target.forward
        arguments = forward.schema.arguments[1:]
        empty = inspect.Parameter.empty
        return {a.name: a.default_value if a.has_default_value() else empty for a in arguments}
    function = target.forward if isinstance(target, torch.nn.Module) else target
    variadic = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    parameters = inspect.signature(function).parameters.values()
    return {p.name: p.default for p in parameters if p.kind not in variadic}


def read_column(requests: list[Any], field: Field) -> list[Any]:
    """Return one input of all *requests*, without a copy: tensors, or arrays where DLPack has no such type.

    Raises:
        AttributeError: a request is without it.
    """
    get, name = pb_utils.get_input_tensor_by_name, field.name
    if field.data_type in ("STRING", "BOOL"):
        tensors = [get(request, name) for request in requests]
        return [
            t.as_numpy() if t.is_cpu() else torch.utils.dlpack.from_dlpack(t.to_dlpack()) for t in tensors
        ]
    from_dlpack = torch.utils.dlpack.from_dlpack
    return [from_dlpack(get(request, name).to_dlpack()) for request in requests]


def read_request(request: Any, inputs: list[Field]) -> list[Any]:
    """Return the inputs of one *request*, None for an optional one that is absent.

    Raises:
        ModelError: another one is absent.
    """
    values: list[Any] = []
    for field in inputs:
        if pb_utils.get_input_tensor_by_name(request, field.name) is not None:
            values += read_column([request], field)
        elif field.optional:
            values.append(None)
        else:
            raise ModelError(f"the input {field.name!r} is missing")
    return values


def group_key(values: list[Any]) -> tuple[Any, ...]:
    """Return what has to be equal for two requests to be concatenated: all dims but the first."""
    return tuple([None if value is None else value.shape[1:] for value in values])


def concatenate(column: Sequence[Any]) -> Any:
    """Concatenate an input of several requests."""
    if len(column) == 1 or column[0] is None:
        return column[0]
    return np.concatenate(column) if isinstance(column[0], np.ndarray) else torch.cat(tuple(column))


def split(value: Any, counts: list[int]) -> Any:
    """Return what :func:`concatenate` would have joined: *counts* rows of *value* each."""
    if len(counts) == 1:
        return [value]
    if isinstance(value, np.ndarray):
        return np.split(value, np.cumsum(counts)[:-1])
    return torch.split_with_sizes(value, counts)


def decode(array: Any, flat: bool) -> Any:
    """Return BYTES as (nested, unless *flat*) lists of strings; what is not UTF-8 survives the way back."""
    texts = [item.decode("utf-8", "surrogateescape") for item in array.reshape(-1)]
    return texts if flat else np.array(texts, dtype=object).reshape(array.shape).tolist()


def encode(texts: Any, dims: tuple[int, ...], batched: bool) -> Any:
    """Return (nested lists of) strings or bytes as the array of bytes objects that Triton sends."""
    array = np.array(texts, dtype=object)
    flat = [t.encode("utf-8", "surrogateescape") if isinstance(t, str) else t for t in array.reshape(-1)]
    shape = array.shape
    if batched and len(shape) == 1 and dims == (1,):
        shape = (*shape, 1)
    result = np.empty(len(flat), dtype=object)
    result[:] = flat
    return result.reshape(shape)


# ---- answering ---------------------------------------------------------------------------------------------


def name_outputs(result: Any, outputs: list[Field]) -> list[Any]:
    """Return the value for each of *outputs* in *result*: by name where it has names, else by position.

    Raises:
        ModelError: an output of the configuration is not there.
    """
    if isinstance(result, torch.Tensor) and len(outputs) == 1:
        return [result]
    names = [field.name for field in outputs]
    fields: dict[str, Any] | None = None
    if isinstance(result, dict):
        fields = result
    elif dataclasses.is_dataclass(result):
        fields = {f.name: getattr(result, f.name) for f in dataclasses.fields(result)}
    elif isinstance(result, tuple) and hasattr(result, "_fields"):
        fields = dict(zip(result._fields, result))
    if fields is not None:
        absent = [name for name in names if name not in fields]
        if not absent:
            return [fields[name] for name in names]
        if isinstance(result, dict):
            found = ", ".join(map(str, fields))
            raise ModelError(f"the model returned {found}; missing: {', '.join(absent)}")
        result = tuple(fields.values())
    # A list is what an output of BYTES consists of; a tuple has the outputs in it, and so has any other list.
    strings = isinstance(result, list) and [field.data_type for field in outputs] == ["STRING"]
    values = [result] if strings or not isinstance(result, (tuple, list)) else list(result)
    if len(values) < len(names):
        count = f"{len(values)} output{'s' if len(values) != 1 else ''}"
        wanted = f"{len(names)}: {', '.join(names)}"
        raise ModelError(f"the model returned {count}, the configuration names {wanted}")
    return values[: len(names)]


def to_send(value: Any, field: Field, batched: bool, dtype: str | None) -> Any:
    """Return an output as what can be sent: a contiguous tensor, or an array where DLPack has no such type."""
    if field.data_type == "STRING":
        return encode(value, field.dims, batched)
    value = value if isinstance(value, torch.Tensor) else torch.as_tensor(value)
    if value.requires_grad:
        value = value.detach()
    if not batched and value.dim() == 0 and len(field.dims) == 1:
        value = value.reshape(1)  # without batching Triton has no scalars, their dims are [ 1 ]
    if dtype is not None and value.is_floating_point() and field.data_type in FLOATS:
        value = value.to(getattr(torch, TORCH_DTYPES[field.data_type]))
    if value.dtype is torch.bool:  # NumPy 1 makes 0-dim arrays 1-dim
        return np.ascontiguousarray(value.cpu().numpy()).reshape(value.shape)
    return value.contiguous()


def to_triton(name: str, parts: Sequence[Any]) -> list[Any]:
    """Return the *parts* of an output, of what :func:`to_send` made, as Triton's tensors."""
    if isinstance(parts[0], np.ndarray):
        return [pb_utils.Tensor(name, part) for part in parts]
    from_dlpack = pb_utils.Tensor.from_dlpack
    to_dlpack = torch.utils.dlpack.to_dlpack  # type: ignore[attr-defined]  # public, yet not in its __all__
    if parts[0].is_cuda:  # the tensors themselves: the stub can wait for the stream that computes them
        return [from_dlpack(name, part) for part in parts]
    return [from_dlpack(name, to_dlpack(part)) for part in parts]


def check_output(value: Any, field: Field, batched: bool) -> None:
    """Compare an output with the configuration.

    Raises:
        ModelError: its dtype or its rank is another one.
    """
    found = "STRING" if value.dtype == np.object_ else str(value.dtype).replace("torch.", "")
    expected = TORCH_DTYPES.get(field.data_type, field.data_type)
    dims, shape, rank = list(field.dims), list(value.shape), len(field.dims) + batched
    problem = None
    if found != expected:
        problem = f"expected {expected} (TYPE_{field.data_type} in the configuration), found {found}"
    elif len(shape) != rank:
        batch = "the batch and " if batched else ""
        problem = f"expected {rank} dimensions ({batch}dims {dims}), found {shape}"
    elif any(wanted not in (-1, size) for wanted, size in zip(dims, shape[batched:])):
        problem = f"expected dims {dims}, found {shape[batched:]}"
    if problem:
        raise ModelError(f"output {field.name!r}: {problem}")


class Metrics:
    """The metrics of a model, where the server has metrics. Telling the server costs a message: once a second."""

    TEXTS = {  # noqa: RUF012 - a constant
        "recompiles": "Graphs compiled after warm-up",
        "failed_requests": "Requests answered with an error",
        "batches": "Calls of the model",
        "batch_rows": "Rows in all calls of the model; by batches, the mean batch size",
        "compile_seconds": "Seconds of compiling and warming while loading",
    }

    def __init__(self, name: str, version: str) -> None:
        self._values = dict.fromkeys(self.TEXTS, 0)
        self._series: dict[str, Any] = {}
        self._told = time.monotonic()
        labels = {"model": name, "version": version}
        try:
            family = pb_utils.MetricFamily
            for key, text in self.TEXTS.items():
                kind = family.GAUGE if key == "compile_seconds" else family.COUNTER
                metric = family(name=f"pytorch_runtime_{key}", description=text, kind=kind)
                self._series[key] = (metric, metric.Metric(labels=labels))  # the first keeps the second alive
        except Exception as error:  # releases without metrics for models, or a server started without metrics
            self._series = {}
            pb_utils.Logger.log_verbose(f"{name}: no metrics: {error}")

    def compiled(self, seconds: float) -> None:
        """Tell how long warm-up took."""
        if self._series:
            self._series["compile_seconds"][1].set(seconds)

    def count(self, key: str, number: int = 1) -> None:
        """Add *number* to the counter *key*."""
        self._values[key] += number

    def tell(self, at_once: bool = False) -> None:
        """Give the server what was counted since the last time, if that was a second ago."""
        if not self._series or (not at_once and time.monotonic() - self._told < 1.0):
            return
        self._told = time.monotonic()
        for key, value in self._values.items():
            if value:
                self._series[key][1].increment(value)
                self._values[key] = 0


SHORT_CALL = 0.01  # seconds
NOT_ITS_ANSWERS = "its answers are not the model's"


class TritonPythonModel:
    """What Triton calls: `initialize` once, `execute` for each batch of requests, `finalize` once."""

    def initialize(self, args: dict[str, str]) -> None:
        """Load, compile and warm the model.

        Raises:
            TritonModelException: with the model, its version, and what to change.
        """
        try:
            self._initialize(args)
        except ModelError as error:
            name, version = args["model_name"], args["model_version"]
            raise pb_utils.TritonModelException(f"model {name!r}, version {version}: {error}") from error

    def _initialize(self, args: dict[str, str]) -> None:
        config = json.loads(args["model_config"])
        if (config.get("model_transaction_policy") or {}).get("decoupled"):
            text = "decoupled is not served, each request has one response"
            raise ModelError(f"model_transaction_policy: {text}")
        times = [time.monotonic()]
        prepare_process(instance_count(config))
        import_torch()
        times.append(time.monotonic())
        self._name, self._config = args["model_name"], config
        self._parameters = parameters = Parameters(config)
        for name, near in parameters.unknown():
            self._warn(f"unknown parameter {name}, did you mean {near}?")
        self._set_up_torch()
        self._max_batch = int(config.get("max_batch_size", 0))
        self._batched = self._max_batch > 0
        self._inputs, self._outputs = read_fields(config, "input"), read_fields(config, "output")
        optional = any(field.optional for field in self._inputs)
        self._absences = (False, True) if optional else (False,)  # with and without the optional inputs
        self._varied = optional or any(-1 in field.dims for field in self._inputs)
        self._metrics = Metrics(self._name, args["model_version"])
        self._load(args)
        times.append(time.monotonic())
        self._checked = False
        with self._mode:
            self._warm_up()
        times.append(time.monotonic())
        # What was imported and compiled stays: the collector need not look through it again between requests.
        gc.collect()
        gc.freeze()
        begun, imported, loaded, warmed = times
        self._info(
            f"ready in {warmed - begun:.2f} s: {imported - begun:.2f} s importing torch, "
            f"{loaded - imported:.2f} s loading, {warmed - loaded:.2f} s compiling and warming"
        )

    def _set_up_torch(self) -> None:
        parameters = self._parameters
        torch.set_num_threads(parameters.most_threads)
        if torch.get_num_interop_threads() != parameters.interop_threads:
            try:
                torch.set_num_interop_threads(parameters.interop_threads)
            except RuntimeError as error:  # torch takes it once in a process, before its first parallel work
                self._warn(f"interop threads stay as they are: {error}")
        torch.backends.cudnn.enabled = not parameters.disable_cudnn
        self._mode = torch.inference_mode() if parameters.inference_mode else torch.no_grad()

    def _warn(self, text: str) -> None:
        pb_utils.Logger.log_warn(f"{self._name}: {text}")

    def _info(self, text: str) -> None:
        pb_utils.Logger.log_info(f"{self._name}: {text}")

    def _load(self, args: dict[str, str]) -> None:
        """Load what the version folder holds, put it on its device, wrap it in torch.compile."""
        folder = os.path.join(args["model_repository"], args["model_version"])
        files = find_files(folder, self._config.get("default_model_filename", ""))
        package = PACKAGE + re.sub(r"\W", "_", f"{self._name}_{args['model_version']}")
        kind, device_id = args["model_instance_kind"], args["model_instance_device_id"]
        wanted = pick_device(kind, device_id, None) if kind in ("CPU", "GPU") else None
        target = load(files, package, self._parameters, wanted)
        self._device = pick_device(kind, device_id, target)
        self._shared: SharedWeights | None = None
        if isinstance(target, torch.nn.Module):
            if files == Files(files.source, None, None) and next(target.parameters(), None) is not None:
                what = type(target).__name__
                self._warn(f"{what} has parameters and no weights file: served as constructed")
            dtype = getattr(torch, self._parameters.dtype) if self._parameters.dtype else None
            target = target.to(device=self._device, dtype=dtype)
            for parameter in target.parameters():
                parameter.requires_grad_(False)
            if type(target).__module__.split(".")[0] != "torch" or isinstance(target, torch.jit.ScriptModule):
                target.eval()  # an exported program is in the mode in which it was exported
            if self._parameters.weight_sharing:
                self._shared = SharedWeights(args, folder)
                self._shared.share(target, self._device)
        self._folder, self._files = folder, files
        self._on_cpu = self._device.type == "cpu"
        plain = all(field.data_type not in ("STRING", "BOOL") for field in self._inputs)
        self._as_they_are = plain and self._on_cpu and not self._parameters.dtype
        self._arguments = Arguments(target, self._inputs)
        self._eager: Any = target
        self._target: Any = target
        self._compiler: Compiler | None = None
        self._package: Package | None = None
        self._restored = False
        disabled = self._parameters.compile_options.get("disable")
        self._compiles = not disabled and can_compile(target, self._inputs)

    def _find_package(self) -> Package | None:
        """Return the model compiled ahead of time, if there is one that fits."""
        path = compiled_file(self._folder, self._device)
        key = self._fitting(path) if self._compiles else None
        if key is None:
            return None
        try:
            return Package(path, key, self._eager, self._device)
        except Exception as error:  # whatever the loader meets, the model itself can be compiled
            self._not_used(path, self._words(error))
            return None

    def _fitting(self, path: str) -> dict[str, Any] | None:
        """Return the key of the compiled code at *path*, if it is there and fits; else say which part differs."""
        if not os.path.exists(path):
            return None
        try:
            key = read_key(path)
            fitting = fitting_key(self._folder, self._files, self._config, self._device)
            if "weights file" in key:  # it is of use with the very weights that it was made with
                fitting["weights file"] = self._weights_digest()
            differs = key_difference(key, fitting)
        except ModelError as error:
            differs = str(error)
        if differs is None:
            return key
        self._not_used(path, differs)
        return None

    def _weights_digest(self) -> str:
        return digest_files([self._files.weights] if self._files.weights else [])

    def _not_used(self, path: str, why: str) -> None:
        self._warn(f"{os.path.basename(path)} is not used: {why}; compiling instead")

    def _make_package(self) -> Package | None:
        """Return the model compiled to a package, now or when it was loaded before; None: torch.compile has to do it.

        It is kept among Inductor's caches, and so is the reason why there cannot be one.
        """
        key = fitting_key(self._folder, self._files, self._config, self._device)
        path = kept_package(key)
        try:
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path + ".lock", "w") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)  # another instance may be making it at this moment
                if is_trusted(path + REASON):
                    with open(path + REASON, encoding="utf-8") as file:
                        raise NotExportableError(file.read())
                found = self._fitting(path) if is_trusted(path) else None
                if found is None:
                    self._compile_package(path, key)
                    found = self._fitting(path)
            return Package(path, found, self._eager, self._device) if found else None
        except Exception as error:  # no compiler, a full disk: torch.compile can do it, or says why not
            why = str(error) if isinstance(error, NotExportableError) else self._words(error)
            self._info(f"left to torch.compile: {why}")
            return None

    def _compile_package(self, path: str, key: dict[str, Any]) -> None:
        """Compile the model to a package at *path*."""
        began = time.monotonic()
        try:
            programs, variants = export_variants(self)
        except NotExportableError as error:
            self._keep_reason(path, str(error))
            raise
        for variant in variants if self._batched else ():
            for first, *_ in variant["dims"]:
                if variant["ranges"].get(first, [0])[0] == 2:
                    variant["ranges"][first][0] = 1  # one row is tried, too, before it is served
        draft = f"{path[: -len('.pt2')]}.draft.pt2"
        if write_package(draft, programs, {}):
            key = {**key, "weights": {}, "weights file": self._weights_digest()}
        else:
            key = {**key, "weights": describe_weights(self._eager)}
        write_key(draft, {**key, "variants": variants})
        os.replace(draft, path)
        self._info(f"compiled to {path} in {time.monotonic() - began:.1f} s")

    def _keep_reason(self, path: str, why: str) -> None:
        """Keep the reason why there is no package at *path*: the next start need not find it again."""
        with open(path + REASON, "w", encoding="utf-8") as file:
            file.write(why)

    def _examples_of(self, present: list[bool]) -> list[Any]:
        """Return examples of the inputs that are *present*, None for the others."""
        examples = self._examples(min(6, self._max_batch) or 1)
        return self._tensors([value if there else None for value, there in zip(examples, present)])

    def _compile(self) -> None:
        path = compiled_file(self._folder, self._device, "zip")
        if self._fitting(path) is not None:
            try:
                restore_caches(path)
                self._restored = True
            except (OSError, zipfile.BadZipFile) as error:
                self._not_used(path, str(error))
        self._compiler = Compiler(self._parameters, self._device, fixed_dims=not self._varied)
        try:
            self._target = self._compiler.compile(self._eager)
        except Exception as error:
            self._fall_back(error)

    # -- warm-up: what torch.compile costs is paid here, and not by a request

    def _warm_up(self) -> None:
        began = time.monotonic()
        given = self._find_package()
        if given and self._serves(given):
            return
        sizes, runs = self._warm_sizes(), []
        for absent in self._absences if sizes else ():
            if self._runs_eagerly(self._examples(sizes[0], absent), absent):
                runs.append(absent)
        exports = self._compiles and self._on_cpu and not self._parameters.asks_torch_compile
        exports &= not os.path.exists(
            compiled_file(self._folder, self._device, "zip")
        )  # who made it has tried
        made = self._make_package() if exports and runs == list(self._absences) else None
        if made and self._serves(made):
            return self._metrics.compiled(time.monotonic() - began)
        if made:
            self._keep_reason(made.path, NOT_ITS_ANSWERS)
        if self._on_cpu and False in runs and not self._parameters.threads:
            self._settle_threads(min(sizes))
        if self._compiles:
            self._compile()
        for absent in runs:
            for size in sizes:
                values = self._examples(size, absent)
                try:
                    for _ in range(3):  # CUDA graphs and TorchScript's profiler settle in the third call
                        self._run(self._target, values, mark=True)
                except Exception as error:
                    if self._compiler is None:
                        raise ModelError(self._failed(f"a batch of {size}", error)) from error
                    self._fall_back(error)
        if self._restored:
            self._warm_other_branches()
        if self._compiler:
            graphs, seconds = self._compiler.new_graphs(), time.monotonic() - began
            self._metrics.compiled(seconds)
            self._info(f"compiled {graphs} graphs in {seconds:.1f} s")

    def _serves(self, package: Package) -> bool:
        """Serve from *package*, unless it fails or its answers are not the model's."""
        self._package, why = package, None
        try:
            tried = [self._agrees(package, absent) for absent in self._absences]
            why = NOT_ITS_ANSWERS if False in tried else None
        except Exception as error:
            tried, why = [], self._failed("an example", error)
        if why is not None:
            self._not_used(package.path, why)
            self._package = None
            return False
        self._target = package
        self._info(f"served from {os.path.basename(package.path)}")
        if True in tried and self._on_cpu and not self._parameters.threads:
            self._settle_threads(1)
        return True

    def _agrees(self, package: Package, absent: bool) -> bool | None:
        """Say whether *package* and the model itself give the same answers; None where the model gives none."""
        found = None
        for size in (min(2, self._max_batch), 1) if self._batched else (1,):
            values = self._examples(size, absent, varied=True)
            try:
                wanted = self._run(self._eager, values)
            except Exception:  # sizes that were guessed, or absent inputs: it was tried when it was made
                return found
            found = all(map(nearly_equal, self._run(package, values), wanted))
            if not found:
                return False
        return found

    def _warm_other_branches(self) -> None:
        """Ask a model that cannot be exported, as it looks at its data, for more than zeros."""
        for value in (1, -1):
            values = self._examples(min(2, self._max_batch) or 1)
            for example, field in zip(values, self._inputs):
                if field.data_type in (*FLOATS, "BOOL"):
                    example[...] = value
            try:
                self._run(self._target, values, mark=True)
            except Exception as error:
                pb_utils.Logger.log_verbose(f"{self._name}: {self._failed(f'inputs of {value}', error)}")

    def _warm_sizes(self) -> list[int]:
        """Return the batch sizes to warm, the one that is compiled for all first."""
        sizes = self._parameters.warmup["batch"]
        if sizes is not None:
            return list(sizes)
        if not self._batched:
            return [1]
        if self._compiles and self._parameters.compile_options.get("dynamic") is False:
            return list(range(1, self._max_batch + 1))
        return sorted({1, min(2, self._max_batch), self._max_batch}, reverse=True)

    def _examples(self, size: int, absent: bool = False, varied: bool = False) -> list[Any]:
        """Return an example of every input; None for an optional one, where they are to be *absent*."""
        return [None if absent and f.optional else self._example(f, size, varied) for f in self._inputs]

    def _example(self, field: Field, size: int, varied: bool = False) -> Any:
        """Return an input in the shape that the configuration, or WARMUP, gives it: zeros, or (*varied*) not."""
        dims = self._parameters.warmup["dims"].get(field.name, field.dims)
        # Guessed sizes differ from batch sizes: dims of one size are taken to be one by Dynamo.
        shape = [32 + 8 * i + (32 + 8 * i == size) if d == -1 else d for i, d in enumerate(dims)]
        shape = [size, *shape] if self._batched else shape
        if field.data_type == "STRING":
            return np.full(shape, b"", dtype=object)
        tensor = torch.zeros(shape, dtype=getattr(torch, TORCH_DTYPES[field.data_type]))
        if varied:  # 0 and 1 are indexes into anything
            values = torch.linspace(-1, 1, tensor.numel()).reshape(shape)
            tensor = (values if tensor.is_floating_point() else values > 0).to(tensor.dtype)
        return tensor.numpy() if field.data_type == "BOOL" else tensor

    def _runs_eagerly(self, values: list[Any], absent: bool) -> bool:
        """Run the model as it is, and check its outputs; False where it may be our guess that fails."""
        dims = self._parameters.warmup["dims"]
        guessed = [f.name for f in self._inputs if -1 in f.dims and f.name not in dims]
        try:
            self._run(self._eager, values)
        except Exception as error:
            if absent:
                why = self._failed("an input without its optional parts", error)
                self._warn(f"not warmed for that: {why}")
            elif isinstance(error, ModelError):
                raise
            elif not guessed:
                what = "an input of zeros as the configuration describes it"
                raise ModelError(self._failed(what, error)) from error
            else:
                why = self._failed("guessed sizes", error)
                hint = f'say WARMUP: {{"dims": {{...}}}} for {", ".join(guessed)}'
                self._warn(f"not warmed, the first requests will compile; {why}; {hint}")
            return False
        return True

    def _settle_threads(self, size: int) -> None:
        """Halve the threads while that costs a call of *size* rows less than a quarter.

        Server and clients use the same CPUs, and to wake a thread for each layer of a small model costs more than the
        layer. A call that takes longer than SHORT_CALL keeps its threads.
        """
        values = self._examples(size)

        def best(threads: int) -> float:
            torch.set_num_threads(threads)
            seconds = []
            for _ in range(5):
                began = time.perf_counter()
                self._run(self._package or self._eager, values)
                seconds.append(time.perf_counter() - began)
            return min(seconds)

        threads = self._parameters.most_threads
        try:
            fastest = best(threads)
            while threads > 1 and fastest <= SHORT_CALL:
                fewer = best(threads // 2)
                if fewer > 1.25 * fastest:
                    break
                threads, fastest = threads // 2, min(fewer, fastest)
        except Exception as error:  # the model does not take that size: what follows says so, if it matters
            pb_utils.Logger.log_verbose(f"{self._name}: {describe(error, self._folder)}")
        torch.set_num_threads(threads)
        self._info(f"{threads} of {self._parameters.most_threads} threads")

    def _failed(self, what: str, error: BaseException) -> str:
        return f"the model fails on {what}: {describe(error, self._folder)}"

    def _fall_back(self, error: BaseException) -> None:
        text = f"torch.compile failed: {describe(error, self._folder)}"
        if not self._parameters.fallback:
            raise ModelError(f'{text}; COMPILE_FALLBACK: "eager" serves it uncompiled') from error
        self._warn(f"{text}; served uncompiled")
        self._target, self._compiler = self._eager, None

    # -- a call

    def _tensors(self, values: list[Any]) -> list[Any]:
        """Return *values* as what the model takes: tensors on its device, and lists of strings."""
        tensors: list[Any] = []
        for value, field in zip(values, self._inputs):
            if value is None:
                tensors.append(None)
            elif field.data_type == "STRING":
                tensors.append(decode(value, flat=not self._batched or field.dims == (1,)))
            else:
                tensor = torch.from_numpy(value) if isinstance(value, np.ndarray) else value
                if tensor.device != self._device:
                    tensor = tensor.to(self._device)
                if self._parameters.dtype and tensor.is_floating_point():
                    tensor = tensor.to(getattr(torch, self._parameters.dtype))
                tensors.append(tensor)
        return tensors

    def _call(self, target: Any, tensors: list[Any]) -> list[Any]:
        """Call *target*, the model or the model compiled, and return its outputs in the order of the configuration."""
        positional, by_name = self._arguments.arrange(tensors)
        return name_outputs(target(*positional, **by_name), self._outputs)

    def _run(self, target: Any, values: list[Any], mark: bool = False) -> list[Any]:
        """Return the outputs for *values*, in the order of the configuration, ready to be sent.

        With *mark*, sizes that vary are marked so before the call.
        """
        tensors = values if self._as_they_are else self._tensors(values)
        if mark and self._compiler and not self._compiler.static:
            mark_dynamic(tensors, self._inputs, self._batched)
        results = self._package.run(tensors) if self._package and target is self._package else None
        if results is None:
            called = self._eager if target is self._package else target
            try:
                results = self._call(called, tensors)
            except Exception:
                if self._compiler is None or not self._compiler.was_disturbed():
                    raise
                results = self._call(called, tensors)
        dtype = self._parameters.dtype
        outputs = [to_send(v, field, self._batched, dtype) for v, field in zip(results, self._outputs)]
        if self._compiler and self._compiler.reuses_buffers:
            outputs = [value if isinstance(value, np.ndarray) else value.clone() for value in outputs]
        if not self._checked:
            for value, field in zip(outputs, self._outputs):
                check_output(value, field, self._batched)
            self._checked = True
        return outputs

    # -- requests

    def execute(self, requests: list[Any]) -> list[Any]:
        """Answer *requests* with as few calls of the model as their shapes allow."""
        responses: list[Any] = [None] * len(requests)
        with self._mode:  # the tensors too are made in it: their kind is something that compiled code asks
            for indexes, columns in self._groups(requests, responses):
                self._answer(indexes, columns, responses)
        self._metrics.tell()
        if self._parameters.cache_cleaning and not self._on_cpu:
            torch.cuda.empty_cache()
        return responses

    def _groups(self, requests: list[Any], responses: list[Any]) -> list[tuple[Sequence[int], list[Any]]]:
        """Read *requests*; return those that one call can answer: their places, and for each input its values."""
        if self._batched and not self._varied:
            try:
                return [(range(len(requests)), [read_column(requests, field) for field in self._inputs])]
            except Exception:
                pass  # one of them is at fault: which, is found below
        groups: dict[Any, tuple[list[int], list[list[Any]]]] = {}
        for index, request in enumerate(requests):
            try:
                values = read_request(request, self._inputs)
            except Exception as error:
                responses[index] = self._refusal(error)
                continue
            indexes, rows = groups.setdefault(group_key(values) if self._batched else index, ([], []))
            indexes.append(index)
            rows.append(values)
        return [(indexes, list(zip(*rows))) for indexes, rows in groups.values()]

    def _answer(self, indexes: Sequence[int], columns: list[Any], responses: list[Any]) -> None:
        """Answer a group of requests in one call; request by request where that fails."""
        try:
            first = next((column for column in columns if column[0] is not None), None)
            counts = [value.shape[0] for value in first] if self._batched and first else [1] * len(indexes)
            values, rows = [concatenate(column) for column in columns], sum(counts)
            outputs = self._run(self._target if rows else self._eager, values)
            self._metrics.count("batches")
            self._metrics.count("batch_rows", rows)
            if self._compiler and self._compiler.new_graphs():
                self._recompiled(values)
            for value, field in zip(outputs, self._outputs):
                if self._batched and value.shape[0] != rows:
                    raise ModelError(f"output {field.name!r} has {value.shape[0]} rows for a batch of {rows}")
            sent = [to_triton(f.name, split(value, counts)) for f, value in zip(self._outputs, outputs)]
            for index, *tensors in zip(indexes, *sent):  # the stub leaves out what was not asked for
                responses[index] = pb_utils.InferenceResponse(tensors)
        except Exception as error:
            if len(indexes) == 1:
                responses[indexes[0]] = self._refusal(error)
                return
            for place, index in enumerate(indexes):
                self._answer([index], [[column[place]] for column in columns], responses)

    def _recompiled(self, values: list[Any]) -> None:
        """Say that a request had to wait for a compilation."""
        self._metrics.count("recompiles")
        shapes = {f.name: list(v.shape) for f, v in zip(self._inputs, values) if v is not None}
        self._warn(f"compiled again while serving, for inputs {shapes}")

    def _refusal(self, error: BaseException) -> Any:
        self._metrics.count("failed_requests")
        return pb_utils.InferenceResponse(error=pb_utils.TritonError(f"{self._name}: {self._words(error)}"))

    def _words(self, error: BaseException) -> str:
        return str(error) if isinstance(error, ModelError) else describe(error, self._folder)

    def finalize(self) -> None:
        """Let go of the model and of what the device holds for it."""
        self._metrics.tell(at_once=True)
        if self._shared:
            self._shared.close()
        self._target = self._eager = self._compiler = self._package = self._shared = None
        gc.unfreeze()
        gc.collect()
        if not self._on_cpu:
            torch.cuda.empty_cache()
