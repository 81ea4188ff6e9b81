"""From files to something that can be called."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.helpers.runtime import LINEAR, load_runtime, simple
from tests.runtime.conftest import Serve

pytestmark = [
    pytest.mark.torch,
    # TorchScript is served for those who have it; torch itself calls it deprecated.
    pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning"),
]

X = np.linspace(-1, 1, 8, dtype=np.float32).reshape(2, 4)


@pytest.fixture
def linear() -> torch.nn.Linear:
    torch.manual_seed(0)
    return torch.nn.Linear(4, 3)


def expected(linear: torch.nn.Linear) -> Any:
    with torch.no_grad():
        return linear(torch.from_numpy(X)).numpy()


def test_a_state_dict_without_its_model(serve: Serve, linear: torch.nn.Linear) -> None:
    torch.save(linear.state_dict(), serve.folder() / "model.pt")
    assert serve.error(simple()) == (
        "model.pt holds weights without a model: put the model.py that defines it beside them"
    )


def test_weights_beside_a_function(serve: Serve, linear: torch.nn.Linear) -> None:
    serve.write("def f(x):\n    return x\n")
    torch.save(linear.state_dict(), serve.folder() / "model.pt")
    assert serve.error(simple()) == "model.pt has nowhere to go: f is a function, not an nn.Module"


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
