"""From files to something that can be called."""

from __future__ import annotations

import io
import json
import os
import shutil
import warnings
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.helpers.linear import X, expected
from tests.helpers.runtime import LINEAR, config, field, load_runtime, simple
from tests.runtime.conftest import Serve

pytestmark = [
    pytest.mark.torch,
    # TorchScript is served for those who have it; torch itself calls it deprecated.
    pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning"),
]


def test_a_state_dict_without_its_model(serve: Serve, linear: torch.nn.Linear) -> None:
    torch.save(linear.state_dict(), serve.folder() / "model.pt")
    assert serve.error(simple()) == (
        "model.pt holds weights without a model: add the model.py that defines it"
    )


def test_weights_beside_a_function(serve: Serve, linear: torch.nn.Linear) -> None:
    serve.write("def f(x):\n    return x\n")
    torch.save(linear.state_dict(), serve.folder() / "model.pt")
    assert serve.error(simple()) == (
        "model.pt has no effect: f is a function, not an nn.Module; if it makes the model, name it with MODEL_CLASS"
    )


def test_weights_that_a_function_reads(serve: Serve, linear: torch.nn.Linear) -> None:
    serve.write("""
import os
import torch

net = torch.jit.load(os.path.join(os.path.dirname(__file__), "model.pt"))

def f(x):
    return net(x)
""")
    save_script(linear, serve.folder() / "model.pt")
    np.testing.assert_allclose(serve.load(simple()).infer(x=X)["y"], expected(linear), rtol=1e-6)


@pytest.mark.parametrize(
    "makes", ["def make(bias=True):\n    return Net(bias)\n", "make = functools.partial(Net, bias=True)\n"]
)
def test_a_function_that_makes_the_model(serve: Serve, linear: torch.nn.Linear, makes: str) -> None:
    serve.write(f"import functools\n{LINEAR}\n{makes}")
    torch.save(
        {f"linear.{key}": value for key, value in linear.state_dict().items()}, serve.folder() / "model.pt"
    )
    model = serve.load(simple(MODEL_CLASS="make", MODEL_KWARGS='{"bias": true}'))
    np.testing.assert_allclose(model.infer(x=X)["y"], expected(linear), rtol=1e-6)


def save_script(module: torch.nn.Module, path: Path) -> None:
    script: Any = torch.jit.script(module)
    script.save(str(path))


def test_torchscript(serve: Serve, linear: torch.nn.Linear) -> None:
    save_script(linear, serve.folder() / "model.pt")
    np.testing.assert_allclose(serve.load(simple()).infer(x=X)["y"], expected(linear), rtol=1e-6)


def test_torchscript_of_a_newer_version(serve: Serve, linear: torch.nn.Linear) -> None:
    buffer = io.BytesIO()
    torch.jit.save(torch.jit.script(linear), buffer)
    with (
        zipfile.ZipFile(buffer) as old,
        zipfile.ZipFile(serve.folder() / "model.pt", "w", zipfile.ZIP_STORED) as new,
    ):
        for member in old.namelist():
            content = b"999\n" if member.endswith("/version") else old.read(member)
            new.writestr(member, content)
    assert serve.error(simple()) == (
        f"model.pt was written by a newer torch: its format is 999, torch {torch.__version__} reads up to 10"
    )


def test_an_exported_program(serve: Serve, linear: torch.nn.Linear) -> None:
    batch = torch.export.Dim("batch", max=64)
    program = torch.export.export(linear, (torch.zeros(2, 4),), dynamic_shapes=({0: batch},))
    torch.export.save(program, serve.folder() / "model.pt2")
    np.testing.assert_allclose(serve.load(simple()).infer(x=X)["y"], expected(linear), rtol=1e-6)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:`isinstance:FutureWarning")  # torch's own, while it packages
def test_an_aotinductor_package(serve: Serve, linear: torch.nn.Linear) -> None:
    batch = torch.export.Dim("batch", max=64)
    program = torch.export.export(linear, (torch.zeros(2, 4),), dynamic_shapes=({0: batch},))
    path = serve.folder() / "model.pt2"
    torch._inductor.aoti_compile_and_package(program, package_path=str(path))
    model = serve.load(simple())
    np.testing.assert_allclose(model.infer(x=X)["y"], expected(linear), rtol=1e-5)
    np.testing.assert_allclose(model.infer(x=X[:1])["y"], expected(linear)[:1], rtol=1e-5)


REFUSING = """#!/bin/sh
echo "$0 $*" >> {record}
exit 1
"""


@pytest.fixture
def no_compiler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Compilers on PATH that note that they were called, and fail."""
    record, programs = tmp_path / "calls", tmp_path / "programs"
    programs.mkdir()
    for name in ("g++", "gcc", "cc", "c++", "clang++", "clang"):
        (programs / name).write_text(REFUSING.format(record=record))
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(programs), prepend=os.pathsep)
    for name in ("CC", "CXX"):
        monkeypatch.setenv(name, str(programs / "g++"))
    return record


@pytest.fixture(scope="module")
def packaged_pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A package of a user's own, of a module with a dict of outputs and a keyword argument."""

    class Pairs(torch.nn.Module):
        def forward(self, x: torch.Tensor, *, scale: torch.Tensor) -> dict[str, torch.Tensor]:
            return {"y": x[:, :3] * scale[:, :1], "z": x.sum(1, keepdim=True)}

    path = tmp_path_factory.mktemp("package") / "model.pt2"
    batch = torch.export.Dim("batch", max=64)
    given = {"scale": torch.ones(2, 4)}
    shapes = {"x": {0: batch}, "scale": {0: batch}}
    program = torch.export.export(Pairs(), (torch.zeros(2, 4),), given, dynamic_shapes=shapes)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's own, while it packages
        torch._inductor.aoti_compile_and_package(program, package_path=str(path))
    return path


@pytest.mark.slow
def test_a_users_own_package_needs_no_compiler(serve: Serve, packaged_pairs: Path, no_compiler: Path) -> None:
    shutil.copy(packaged_pairs, serve.folder() / "model.pt2")
    described = config(
        [field("x", "FP32", [4]), field("scale", "FP32", [4])],
        [field("z", "FP32", [1]), field("y", "FP32", [3])],
        max_batch_size=8,
    )
    model = serve.load(described)
    for size in (1, 2, 5):
        x = np.arange(size * 4, dtype=np.float32).reshape(size, 4)
        answer = model.infer(x=x, scale=np.full((size, 4), 2, np.float32))
        np.testing.assert_array_equal(answer["y"], x[:, :3] * 2)
        np.testing.assert_array_equal(answer["z"], x.sum(1, keepdims=True))
    assert not no_compiler.exists(), no_compiler.read_text()


def test_a_function(serve: Serve) -> None:
    serve.write(
        "import math\nfrom math import sqrt\n\ndef _helper(x):\n    return x * math.sqrt(4)\n\n"
        "def serve(x):\n    return _helper(x)[:, :3]\n"
    )
    np.testing.assert_array_equal(serve.load(simple()).infer(x=X)["y"], X[:, :3] * 2)


def test_a_constructor_that_raises(serve: Serve) -> None:
    serve.write(LINEAR.replace("super()", "raise ValueError('no such layer')\n        super()"))
    assert serve.error(simple()) == (
        "the constructor of Net raised ValueError: no such layer (model.py, line 6)"
    )


def test_kwargs_that_the_constructor_does_not_take(serve: Serve) -> None:
    serve.write(LINEAR)
    assert serve.error(simple(MODEL_KWARGS='{"depth": 3}')) == (
        "the constructor of Net raised TypeError: Net.__init__() got an unexpected keyword argument 'depth'"
    )


def test_kind_model_of_a_module_without_parameters(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    pick = load_runtime().runtime_module("loading").pick_device
    serve.write("def f(x):\n    return x[:, :3]\n")
    assert serve.load(simple(), kind="MODEL").instance.engine.model.device == torch.device("cpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert pick("MODEL", "0", torch.nn.Identity()) == torch.device("cuda:0")
    assert pick("GPU", "3", None) == torch.device("cuda:3")


@pytest.fixture
def net(serve: Serve) -> Serve:
    serve.write(LINEAR)
    return serve


def test_model_kwargs(net: Serve) -> None:
    model = net.load(simple(MODEL_KWARGS=json.dumps({"bias": False})))
    assert model.instance.engine.model.eager.linear.bias is None


@pytest.mark.parametrize(
    "parameters",
    [
        {"MODEL_CLASS": "Net"},
        {"MODEL_CLASS": "no.such:thing"},
        {"MODEL_FUNCTION": "f"},
        {"MODEL_KWARGS": '{"a": 1}'},
        {"MODEL_WEIGHTS": "other.pt"},
    ],
)
def test_what_has_no_effect_on_an_exported_program_is_refused(
    serve: Serve, parameters: dict[str, str]
) -> None:
    (serve.folder() / "model.pt2").write_bytes(b"")
    (name,) = parameters
    assert serve.error(simple(**parameters)) == (
        f"{name} has no effect: model.pt2 is a model by itself, and is what is served; "
        f"remove {name}, or move model.pt2 out of the version folder"
    )


def test_what_has_no_effect_on_torchscript_is_refused(serve: Serve, linear: torch.nn.Linear) -> None:
    save_script(linear, serve.folder() / "model.pt")
    assert serve.error(simple(MODEL_CLASS="Net")).startswith("MODEL_CLASS has no effect: model.pt is a model")


@pytest.mark.parametrize("parameters", [{"MODEL_KWARGS": '{"a": 1}'}, {"MODEL_WEIGHTS": "a.pt"}])
def test_what_has_no_effect_on_a_function_is_refused(serve: Serve, parameters: dict[str, str]) -> None:
    serve.write("def f(x):\n    return x[:, :3]\n")
    (name,) = parameters
    assert serve.error(simple(**parameters)) == (
        f"{name} has no effect: f is a function, which is called with the inputs"
    )


def test_kwargs_of_an_instance_of_a_library(serve: Serve) -> None:
    serve.write("import torch\n\nnet = torch.nn.Linear(4, 3)\n", file="zoo.py")
    assert serve.error(simple(MODEL_CLASS="zoo:net", MODEL_KWARGS='{"bias": false}')) == (
        "MODEL_KWARGS has no effect: zoo:net is an instance already, not a class or a function"
    )


def test_nothing_is_downloaded(serve: Serve) -> None:
    load = "torch.hub.load_state_dict_from_url('https://example.org/net.pth', model_dir='MODELS')"
    load = load.replace("MODELS", str(serve.root))
    serve.write(LINEAR.replace("super().__init__()", f"super().__init__(); {load}"))
    assert serve.error(simple()).startswith(
        "the constructor of Net raised https://example.org/net.pth would be downloaded, and the network is not used: "
        "put the weights into the version folder"
    )
    assert torch.hub.download_url_to_file.__module__ == "torch.hub"


def test_a_buffer_that_has_no_values(serve: Serve, linear: torch.nn.Linear) -> None:
    buffer = "self.register_buffer('scale', torch.ones(1, device='meta'), persistent=False)"
    serve.write(LINEAR.replace("super().__init__()", f"super().__init__(); {buffer}"))
    state = {f"linear.{key}": value for key, value in linear.state_dict().items()}
    torch.save(state, serve.folder() / "model.pt")
    assert serve.error(simple()).startswith(
        "scale of Net is on the meta device, and no file has values for it: "
    )


def test_an_error_that_nobody_foresaw_names_the_model(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    serve.write(
        LINEAR.replace("return self.linear(x)", "pass\n\n    def to(self, **_):\n        raise KeyError(1)")
    )
    assert serve.error(simple(MODEL_WEIGHTS="none")) == "KeyError: 1 (model.py, line 13)"


def test_a_function_without_inputs_makes_the_model(serve: Serve) -> None:
    serve.write("import torch\n\ndef build():\n    return torch.nn.Linear(4, 3)\n")
    assert serve.error(simple()) == (
        "build takes no inputs, and a function is called with them: if it makes the model, name it with MODEL_CLASS"
    )
    described = simple(MODEL_CLASS="build")
    described["input"][0]["name"] = "input"
    assert serve.load(described)
