"""The runtime in a real tritonserver: one server, many models, HTTP and gRPC."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import tritonclient.grpc
import tritonclient.http
from google.protobuf import json_format, text_format
from tritonclient.grpc import model_config_pb2
from tritonclient.utils import InferenceServerException

from envbuilder.verification.server.process import RunningServer
from envbuilder.verification.server.servers import StartOptions
from envbuilder.verification.server.tritonserver import TritonServer
from tests.helpers.runtime import LINEAR, MODELS, SEED, UNCOMPILED, config, copy_runtime, field

pytestmark = [
    pytest.mark.torch,
    pytest.mark.server,
    pytest.mark.slow,
    pytest.mark.xdist_group("runtime-server"),  # one worker starts the server for all of them
    pytest.mark.filterwarnings(
        "ignore:`torch.jit:DeprecationWarning"
    ),  # TorchScript is made here to be served
    pytest.mark.filterwarnings("ignore:`isinstance:FutureWarning"),  # torch's own, while it packages
]
GENERATOR = np.random.default_rng(0)
BACKEND = "torch_models"
F4, F3 = field("x", "FP32", [4]), field("y", "FP32", [3])
QUEUE = {"dynamic_batching": {"max_queue_delay_microseconds": 200000}}


class Repository:
    """A model repository that uses the environment in place."""

    def __init__(self, folder: Path, environment: Path) -> None:
        self.folder, self.environment = folder, environment

    def add(
        self, name: str, described: dict[str, Any], source: str | None = None, version: str = "1"
    ) -> Path:
        """Add a model (a version of it) and return its version folder; *source* is its ``model.py``."""
        folder = self.folder / name / version
        folder.mkdir(parents=True)
        described = {"backend": "python", **described}
        if described["backend"] == "python":
            copy_runtime(folder)
        parameters = {
            **described["parameters"],
            "EXECUTION_ENV_PATH": {"string_value": str(self.environment)},
        }
        message = json_format.ParseDict(
            {**described, "parameters": parameters}, model_config_pb2.ModelConfig()
        )
        (self.folder / name / "config.pbtxt").write_text(text_format.MessageToString(message))
        if source is not None:
            (folder / "model.py").write_text(source, encoding="utf-8")
        return folder

    def add_sample(self, name: str) -> None:
        """Add the sample model *name* as it is."""
        shutil.copytree(MODELS / name, self.folder / name)
        copy_runtime(self.folder / name / "1")
        with (self.folder / name / "config.pbtxt").open("a") as file:
            file.write(
                f'\nparameters {{ key: "EXECUTION_ENV_PATH" value {{ string_value: "{self.environment}" }} }}\n'
            )


LARGE = """
import torch

class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.first = torch.nn.Linear(2048, 2048)
        self.second = torch.nn.Linear(2048, 4)

    def forward(self, x):
        return self.second(self.first(x))
"""
PICKY = """
import torch

def f(x):
    if (x < 0).any():
        raise ValueError("a negative value")
    return x[..., :3] * 2
"""
FUNCTION = "def f(x):\n    return x[:, :3]\n"
STRINGS = "def f(words):\n    return [word.upper() for word in words]\n"
FORMS = """
import torch

def f(x):
    y = x * 2
    return {"y": y, "turned": torch.arange(6.0).reshape(3, 2).T, "total": x.float().sum(), "odd": x > 1, "more": 1}
"""
WARMED = """
import torch

SEEN = []

@torch._dynamo.disable
def _seen(x):
    SEEN.extend(x.shape)
    return SEEN

def f(x):
    return torch.tensor(_seen(x)).expand(x.shape[0], -1)
"""
LIMIT = """
import torch

@torch._dynamo.disable
def limit():
    return torch._dynamo.config.recompile_limit

def f(x):
    return x[:, :3] * 0 + limit()
"""
REPORT = """
import json, locale, os, sys
import torch
import helper
from .helper import NAME

def f(question):
    assert helper.NAME == NAME
    return [json.dumps({
        "helper": NAME,
        "threads": torch.get_num_threads(),
        "interop": torch.get_num_interop_threads(),
        "inference": torch.is_inference_mode_enabled(),
        "cudnn": torch.backends.cudnn.enabled,
        "encoding": locale.getpreferredencoding(False),
        "libraries": os.environ.get("LD_LIBRARY_PATH", ""),
        "prefix": sys.prefix,
        "isolated": sys.flags.isolated,
    })]
"""


def report(**parameters: str) -> dict[str, Any]:
    strings = [field("question", "STRING", [-1])], [field("answer", "STRING", [-1])]
    return config(*strings, parameters=parameters)


def fill(repository: Repository) -> None:
    """Add a model for each thing that is asked below."""
    import torch
    from safetensors.torch import save_file

    for name in ("mlp", "convnet", "encoder"):
        repository.add_sample(name)
    torch.manual_seed(0)
    linear = torch.nn.Linear(4, 3).requires_grad_(False)
    state = {f"linear.{key}": value for key, value in linear.state_dict().items()}
    one = config([F4], [F3], max_batch_size=8, parameters=UNCOMPILED)
    torch.save(state, repository.add("weights", one, LINEAR) / "model.pt")
    save_file(state, repository.add("safetensors", one, LINEAR) / "model.safetensors")
    half = {**UNCOMPILED, "DTYPE": "bfloat16", "MODEL_CLASS": "Net", "MODEL_KWARGS": '{"bias": false}'}
    unbiased = {"state_dict": {"module.linear.weight": linear.weight}}
    described = config([F4], [F3], max_batch_size=8, parameters=half)
    torch.save(unbiased, repository.add("half", described, LINEAR) / "model.pt")
    scripted: Any = torch.jit.script(linear)
    scripted.save(str(repository.add("torchscript", one) / "model.pt"))
    batch = {0: torch.export.Dim("batch", max=64)}
    program = torch.export.export(linear, (torch.zeros(2, 4),), dynamic_shapes=(batch,))
    torch.export.save(program, repository.add("exported", one) / "model.pt2")
    package = repository.add("aotinductor", one) / "model.pt2"
    torch._inductor.aoti_compile_and_package(program, package_path=str(package))

    described = config(
        [field("x", "FP32", [-1, 4])], [field("y", "FP32", [-1, 3])], max_batch_size=8, parameters=UNCOMPILED
    )
    repository.add("picky", {**described, **QUEUE}, PICKY)
    unbatched = config([F4], [F3], parameters=UNCOMPILED)
    repository.add("backend", {**unbatched, "backend": BACKEND, "runtime": "model.py"}, PICKY)
    strings = [field("words", "STRING", [1])], [field("loud", "STRING", [1])]
    repository.add("strings", {**config(*strings, max_batch_size=8), **QUEUE}, STRINGS)
    outputs = [
        field("y", "BF16", [3]),
        field("turned", "FP32", [2, 3]),
        field("total", "FP32", [1]),
        field("odd", "BOOL", [3]),
    ]
    repository.add("forms", config([field("x", "BF16", [3])], outputs, parameters=UNCOMPILED), FORMS)
    for version, name in (("1", "first"), ("2", "second")):
        described = {**report(NUM_THREADS="2", INTER_OP_THREAD_COUNT="3"), "version_policy": {"all": {}}}
        shutil.rmtree(repository.folder / "report" / version, ignore_errors=True)
        folder = repository.add("report", described, REPORT, version)
        (folder / "helper.py").write_text(f"NAME = {name!r}\n", encoding="utf-8")
    described = report(
        INFERENCE_MODE="false", DISABLE_CUDNN="true", INTRA_OP_THREAD_COUNT="3", NUM_INTEROP_THREADS="4"
    )
    group = [{"count": 1, "kind": "KIND_MODEL"}]  # without parameters: on the first device there is
    folder = repository.add("other_report", {**described, "instance_group": group}, REPORT)
    (folder / "helper.py").write_text("NAME = 'other'\n", encoding="utf-8")
    compiled = {SEED: '{"backend": "eager"}', "MODEL_FUNCTION": "f", "RECOMPILE_LIMIT": "5"}
    repository.add("limited", config([F4], [F3], max_batch_size=8, parameters=compiled), LIMIT)
    failing = {SEED: '{"backend": "none_such"}', "COMPILE_FALLBACK": "eager", "WARMUP": '{"batch": [3]}'}
    repository.add("fallback", config([F4], [F3], max_batch_size=8, parameters=failing), FUNCTION)
    dynamic = {SEED: '{"dynamic": true}'}
    repository.add("compiled", config([F4], [F3], max_batch_size=8, parameters=dynamic), LINEAR)
    warmed = {**UNCOMPILED, "WARMUP": '{"batch": [3], "dims": {"x": [7]}}', "ENABLE_CACHE_CLEANING": "true"}
    seen = field("x", "FP32", [-1]), field("y", "INT64", [-1])
    repository.add("warmed", config([seen[0]], [seen[1]], max_batch_size=8, parameters=warmed), WARMED)
    described = config(
        [field("x", "FP32", [2048])],
        [field("y", "FP32", [4])],
        max_batch_size=4,
        parameters={"ENABLE_WEIGHT_SHARING": "true"},
        instance_group=[{"count": 2, "kind": "KIND_CPU"}],
    )
    repository.add("shared", described, LARGE)


@dataclass(frozen=True, kw_only=True)
class Served:
    """The server, its repository, and how to ask it."""

    server: RunningServer
    repository: Repository
    metrics: str

    def client(self, protocol: str = "grpc") -> Any:
        """Return a client; the caller closes it."""
        module = tritonclient.http if protocol == "http" else tritonclient.grpc
        url = self.server.http if protocol == "http" else self.server.grpc
        return module.InferenceServerClient(url)

    def ask(
        self,
        model: str,
        inputs: dict[str, Any],
        *,
        protocol: str = "grpc",
        kinds: dict[str, str] | None = None,
        outputs: tuple[str, ...] = (),
        version: str = "",
    ) -> dict[str, Any]:
        """Ask *model* and return its outputs; *kinds* are data types that arrays do not have."""
        module = tritonclient.http if protocol == "http" else tritonclient.grpc
        tensors = []
        for name, data in inputs.items():
            kind = (kinds or {}).get(name) or NAMES[data.dtype.str[1:]]
            tensor = module.InferInput(name, data.shape, kind)
            tensor.set_data_from_numpy(data)
            tensors.append(tensor)
        wanted = [module.InferRequestedOutput(name) for name in outputs] or None
        with contextlib.closing(self.client(protocol)) as client:
            result = client.infer(model, tensors, model_version=version, outputs=wanted)
            response = result.get_response()
        if protocol == "http":
            names = [output["name"] for output in response["outputs"]]
        else:
            names = [output.name for output in response.outputs]
        return {name: result.as_numpy(name) for name in names}

    def report(self, model: str, version: str = "") -> dict[str, Any]:
        """Return what a model that reports on its process says."""
        answer = self.ask(model, {"question": np.array(["?"], dtype=object)}, version=version)
        said: dict[str, Any] = json.loads(answer["answer"][0])
        return said

    def stubs(self, model: str) -> list[int]:
        """Return the stubs of *model*: processes whose command line names its file."""
        mine = str(self.repository.folder / model) + "/"
        found = []
        for entry in Path("/proc").iterdir():
            with contextlib.suppress(OSError):
                command = (entry / "cmdline").read_bytes().split(b"\0")
                if b"stub" in command[0] and mine in os.fsdecode(b" ".join(command)):
                    found.append(int(entry.name))
        return sorted(found)


NAMES = {"f4": "FP32", "i8": "INT64", "b1": "BOOL", "O": "BYTES"}


@pytest.fixture(scope="module")
def served(
    server: TritonServer, cpu_environment: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Served]:
    root = tmp_path_factory.mktemp("runtime-server")
    repository = Repository(root / "repository", cpu_environment)
    fill(repository)
    backend = root / "backends" / BACKEND
    backend.mkdir(parents=True)
    copy_runtime(backend, "model.py")
    cache = root / "inductor"
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        metrics = probe.getsockname()[1]
    with server.start(
        repository.folder,
        python="3.11",
        log=root / "server.log",
        options=StartOptions(
            backends=backend.parent,
            metrics_port=metrics,
            ready_timeout=900,
            extra_args=(
                "--model-control-mode=explicit",
                "--load-model=*",
                "--model-load-thread-count=2",  # each compiles, with a limit of time of its own
            ),
            env={"TORCHINDUCTOR_CACHE_DIR": str(cache), "TMPDIR": str(root)},
        ),
    ) as running:
        yield Served(server=running, repository=repository, metrics=f"http://127.0.0.1:{metrics}/metrics")
    left = [path.name for path in root.iterdir() if path.name.startswith("triton-weights-")]
    assert left == []
    shutil.rmtree(root)


@pytest.fixture(scope="module")
def samples() -> dict[str, Any]:
    """The sample models in this process: what the server has to say."""
    import importlib.util
    import sys
    import types

    made = {}
    for name, kind in (("mlp", "MLP"), ("convnet", "ConvNet"), ("encoder", "Encoder")):
        package = types.ModuleType(f"sample_{name}")
        package.__path__ = [str(MODELS / name / "1")]
        sys.modules[package.__name__] = package
        spec = importlib.util.spec_from_file_location(
            f"sample_{name}.model", MODELS / name / "1" / "model.py"
        )
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        made[name] = getattr(module, kind)().eval().requires_grad_(False)
    return made


@pytest.fixture(params=["http", "grpc"])
def protocol(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def together(*calls: Callable[[], Any]) -> list[Any]:
    """Make *calls* at the same time; an exception is a result."""

    def safe(call: Callable[[], Any]) -> Any:
        try:
            return call()
        except InferenceServerException as error:
            return error

    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(safe, calls))


def normal(*shape: int) -> Any:
    return GENERATOR.normal(size=shape).astype(np.float32)


def test_the_perceptron(served: Served, samples: dict[str, Any], protocol: str) -> None:
    import torch

    for size in (1, 2, 5, 64):
        x = normal(size, 128)
        y = served.ask("mlp", {"x": x}, protocol=protocol)["y"]
        np.testing.assert_allclose(y, samples["mlp"](torch.from_numpy(x)), rtol=1e-4, atol=1e-5)


def test_the_convolution_net(served: Served, samples: dict[str, Any], protocol: str) -> None:
    import torch

    for size in (1, 3, 16):
        x = normal(size, 3, 32, 32)
        y = served.ask("convnet", {"image": x}, protocol=protocol)["scores"]
        np.testing.assert_allclose(y, samples["convnet"](torch.from_numpy(x)), rtol=1e-3, atol=1e-4)


def test_the_encoder_with_sequences_of_any_length(
    served: Served, samples: dict[str, Any], protocol: str
) -> None:
    import torch

    for size, length in ((1, 7), (3, 48), (16, 100)):
        ids = GENERATOR.integers(0, 1000, size=(size, length))
        mask = np.ones((size, length), bool)
        mask[:, length // 2 :] = False
        for inputs in ({"ids": ids}, {"ids": ids, "mask": mask}):
            answer = served.ask("encoder", inputs, protocol=protocol)
            expected = samples["encoder"](*(torch.from_numpy(value) for value in inputs.values()))
            assert set(answer) == {"pooled", "tokens"}
            for key, value in answer.items():
                np.testing.assert_allclose(value, expected[key], rtol=1e-3, atol=1e-4)


def test_only_the_requested_output(served: Served, protocol: str) -> None:
    ids = np.zeros((1, 4), np.int64)
    assert list(served.ask("encoder", {"ids": ids}, protocol=protocol, outputs=("tokens",))) == ["tokens"]


@pytest.mark.parametrize(("model", "most", "width"), [("mlp", 64, 128), ("compiled", 8, 4)])
def test_no_batch_size_waits_for_a_compiler(served: Served, model: str, most: int, width: int) -> None:
    seconds = []
    for size in range(1, most + 1):
        began = time.monotonic()
        served.ask(model, {"x": normal(size, width)})
        seconds.append(time.monotonic() - began)
    assert max(seconds) < 1.0
    assert "compiled again while serving" not in served.server.log.read_text(errors="replace")


@pytest.mark.parametrize("model", ["mlp", "convnet", "encoder", "shared"])
def test_what_can_be_exported_is_compiled_to_a_package_once(served: Served, model: str) -> None:
    log = served.server.log.read_text(errors="replace").splitlines()
    assert len([line for line in log if f"{model}: compiled to " in line]) == 1
    assert len([line for line in log if f"{model}: served from " in line]) == len(served.stubs(model))


def test_who_says_how_gets_torch_compile(served: Served) -> None:
    log = served.server.log.read_text(errors="replace").splitlines()
    assert len([line for line in log if re.search(r"compiled: compiled \d graphs in ", line)]) == 1


def test_warm_up_with_sizes_of_ones_own(served: Served, protocol: str) -> None:
    (seen,) = served.ask("warmed", {"x": normal(1, 5)}, protocol=protocol)["y"]
    pairs = list(zip(seen[::2].tolist(), seen[1::2].tolist(), strict=True))
    warm = [pair for pair in pairs if pair != (1, 5)]
    assert pairs[-1] == (1, 5)
    assert set(warm) == {(3, 7)}


@pytest.mark.parametrize("model", ["weights", "safetensors", "torchscript", "exported", "aotinductor"])
def test_what_a_version_folder_holds(served: Served, model: str) -> None:
    import torch

    torch.manual_seed(0)
    linear = torch.nn.Linear(4, 3).requires_grad_(False)
    for size in (1, 2, 8):
        x = normal(size, 4)
        y = served.ask(model, {"x": x})["y"]
        np.testing.assert_allclose(y, linear(torch.from_numpy(x)), rtol=1e-5, atol=1e-6)


def test_dtype_and_constructor_arguments(served: Served) -> None:
    import torch

    torch.manual_seed(0)
    weight = torch.nn.Linear(4, 3).weight.detach().bfloat16()
    x = normal(2, 4)
    y = served.ask("half", {"x": x})["y"]
    assert y.dtype == np.float32
    np.testing.assert_allclose(y, (torch.from_numpy(x).bfloat16() @ weight.T).float(), rtol=1e-2, atol=1e-2)


def test_mixed_sizes_and_shapes_are_batched_and_answered(served: Served) -> None:
    values = [normal(n, length, 4) for n, length in ((1, 5), (2, 5), (1, 7), (1, 5), (2, 7), (1, 1))]
    values = [np.abs(value) for value in values]
    answers = together(*[lambda x=x: served.ask("picky", {"x": x}) for x in values])
    for answer, x in zip(answers, values, strict=True):
        np.testing.assert_array_equal(answer["y"], x[..., :3] * 2)
    with contextlib.closing(served.client()) as client:
        (stats,) = client.get_inference_statistics("picky").model_stats
    assert stats.execution_count < stats.inference_count


def test_a_bad_request_fails_alone(served: Served) -> None:
    x = np.ones((1, 3, 4), np.float32)
    answers = together(*[lambda s=s: served.ask("picky", {"x": x * s}) for s in (1, 2, -1, 3)])
    assert answers[2].message() == "picky: ValueError: a negative value (model.py, line 6)"
    for answer, scale in zip(answers, (1, 2, None, 3), strict=True):
        if scale:
            np.testing.assert_array_equal(answer["y"], x[..., :3] * scale * 2)


def test_nan_and_empty_tensors_pass(served: Served) -> None:
    x = np.array([[[np.nan, np.inf, 0, 0]]], np.float32)
    np.testing.assert_array_equal(served.ask("picky", {"x": x})["y"], x[..., :3])
    empty = np.zeros((1, 0, 4), np.float32)  # a batch of no rows is refused by the server itself
    assert served.ask("picky", {"x": empty})["y"].shape == (1, 0, 3)


def test_strings(served: Served, protocol: str) -> None:
    words = np.array([["é"], ["word"]], dtype=object)
    answers = together(*[lambda: served.ask("strings", {"words": words}, protocol=protocol)] * 3)
    for answer in answers:
        assert answer["loud"].tolist() == [["É".encode()], [b"WORD"]]


def test_every_form_of_output(served: Served, protocol: str) -> None:
    x = np.array([0, 1, 2], ml_dtypes.bfloat16)
    answer = served.ask("forms", {"x": x}, kinds={"x": "BF16"}, protocol=protocol)
    assert answer["y"].tolist() == [0, 2, 4]
    assert answer["turned"].tolist() == [[0, 2, 4], [1, 3, 5]]
    assert answer["total"].tolist() == [3]
    assert answer["odd"].tolist() == [False, False, True]


def test_a_python_based_backend(served: Served, protocol: str) -> None:
    x = np.arange(4, dtype=np.float32)
    np.testing.assert_array_equal(served.ask("backend", {"x": x}, protocol=protocol)["y"], x[:3] * 2)


def test_parameters_and_the_process(served: Served, cpu_environment: Path) -> None:
    said = served.report("report", "1")
    assert (said["threads"], said["interop"], said["inference"], said["cudnn"]) == (2, 3, True, True)
    assert said["encoding"].upper() == "UTF-8"
    assert said["isolated"] == 1
    assert str(cpu_environment / "lib") not in said["libraries"].split(":")
    assert Path(said["prefix"]).resolve() == cpu_environment.resolve()
    other = served.report("other_report")
    assert (other["threads"], other["interop"], other["inference"], other["cudnn"]) == (3, 4, False, False)


def test_a_function_by_its_name_and_the_limit_of_recompiles(served: Served, protocol: str) -> None:
    assert served.ask("limited", {"x": normal(2, 4)}, protocol=protocol)["y"].tolist() == [[5.0] * 3] * 2


def test_a_model_that_does_not_compile_is_served_uncompiled_if_asked(served: Served, protocol: str) -> None:
    x = normal(2, 4)
    np.testing.assert_array_equal(served.ask("fallback", {"x": x}, protocol=protocol)["y"], x[:, :3])
    log = served.server.log.read_text(errors="replace").splitlines()
    (line,) = [line for line in log if "fallback: torch.compile failed: " in line]
    assert "none_such" in line
    assert "; served uncompiled" in line


def test_two_versions_and_two_models_with_a_helper_of_one_name(served: Served) -> None:
    said = [served.report("report", "1"), served.report("report", "2"), served.report("other_report")]
    assert [answer["helper"] for answer in said] == ["first", "second", "other"]


def test_two_instances_hold_their_weights_once(served: Served) -> None:
    stubs = served.stubs("shared")
    assert len(stubs) == 2
    together(*[lambda: served.ask("shared", {"x": normal(4, 2048)})] * 8)
    weights = (2048 * 2048 + 2048 + 4 * 2048 + 4) * 4
    for stub in stubs:
        held = mapped(stub, "memfd:triton-weights-")
        assert held["Size"] >= weights
        assert held["Private_Dirty"] + held["Private_Clean"] < 0.3 * weights
    x = normal(1, 2048)
    answers = together(*[lambda: served.ask("shared", {"x": x})["y"]] * 8)
    assert len({answer.tobytes() for answer in answers}) == 1


def mapped(pid: int, name: str) -> dict[str, int]:
    """Add up what process *pid* has in memory of mappings called *name*, in bytes."""
    sums: dict[str, int] = {}
    inside = False
    for line in Path(f"/proc/{pid}/smaps").read_text().splitlines():
        key, _, rest = line.partition(":")
        if rest.endswith(" kB"):
            if inside:
                sums[key] = sums.get(key, 0) + int(rest.split()[0]) * 1024
        elif "-" in key.split(" ")[0]:
            inside = name in line
    return sums


def test_metrics(served: Served) -> None:
    x = np.ones((1, 1, 4), np.float32)
    served.ask("picky", {"x": x})
    time.sleep(1.1)  # a model tells its numbers at most once a second
    served.ask("picky", {"x": x})
    time.sleep(1.1)
    served.ask("picky", {"x": x})
    with urllib.request.urlopen(served.metrics) as answer:
        text = answer.read().decode()
    numbers = {
        line.split("{")[0]: float(line.rsplit(" ", 1)[1])
        for line in text.splitlines()
        if line.startswith("pytorch_runtime_") and 'model="picky"' in line
    }
    assert numbers["pytorch_runtime_batches"] >= 2
    assert numbers["pytorch_runtime_batch_rows"] >= 2
    compiling = [line for line in text.splitlines() if line.startswith("pytorch_runtime_compile_seconds")]
    assert any('model="mlp"' in line and float(line.rsplit(" ", 1)[1]) > 0 for line in compiling)


def test_reload_and_unload(served: Served) -> None:
    with contextlib.closing(served.client()) as client:
        described = config([F4], [F3], parameters=UNCOMPILED)
        folder = served.repository.add("changing", described, "def f(x):\n    return x[:3]\n")
        x = np.arange(4, dtype=np.float32)
        client.load_model("changing")
        np.testing.assert_array_equal(served.ask("changing", {"x": x})["y"], x[:3])
        (folder / "model.py").write_text("def f(x):\n    return -x[:3]\n")
        client.load_model("changing")
        np.testing.assert_array_equal(served.ask("changing", {"x": x})["y"], -x[:3])
        client.unload_model("changing")
        deadline = time.monotonic() + 30
        while served.stubs("changing"):
            assert time.monotonic() < deadline
            time.sleep(0.1)
        with pytest.raises(InferenceServerException, match="has no available versions"):
            served.ask("changing", {"x": x})


def test_what_is_wrong_is_said_to_whoever_loads(served: Served) -> None:
    described = config([F4], [F3], parameters={**UNCOMPILED, "MODEL_CLASS": "Nett"})
    served.repository.add("broken", described, LINEAR)
    with (
        contextlib.closing(served.client()) as client,
        pytest.raises(InferenceServerException) as caught,
    ):
        client.load_model("broken")
    told = "model 'broken', version 1: MODEL_CLASS: there is no 'Nett' in model.py; found: Net"
    assert told in caught.value.message()


def test_a_stub_killed_under_load(served: Served) -> None:
    """Its requests fail at once, nobody else's do, and loading it again brings it back (24.10 itself does not)."""
    described = config([F4], [F3], max_batch_size=8, parameters=UNCOMPILED)
    folder = served.repository.add("mortal", described, FUNCTION)
    x = normal(1, 4)
    stop = threading.Event()
    wrong: list[str] = []

    def load() -> None:
        while not stop.is_set():
            try:
                if not np.array_equal(served.ask("mortal", {"x": x})["y"], x[:, :3]):
                    wrong.append("another answer")
            except InferenceServerException as error:
                if "is not healthy" not in error.message():
                    wrong.append(error.message())
                time.sleep(0.05)

    with contextlib.closing(served.client()) as client:
        client.load_model("mortal")
        threads = [threading.Thread(target=load) for _ in range(4)]
        for thread in threads:
            thread.start()
        try:
            time.sleep(0.3)
            (stub,) = served.stubs("mortal")
            os.kill(stub, signal.SIGKILL)
            with pytest.raises(
                InferenceServerException, match=r"^.*Stub process 'mortal_0_0' is not healthy\.$"
            ):
                served.ask("mortal", {"x": x})
            assert served.ask("weights", {"x": x})["y"].shape == (1, 3)
            os.utime(folder / "model.py")
            client.load_model("mortal")
            np.testing.assert_array_equal(served.ask("mortal", {"x": x})["y"], x[:, :3])
        finally:
            stop.set()
            for thread in threads:
                thread.join()
        assert len(served.stubs("mortal")) == 1
        client.unload_model("mortal")
    assert wrong == []
