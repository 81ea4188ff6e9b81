"""What the runtime makes of a package: used where it fits, and never a wrong answer."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.aot.conftest import NET, STANDIN, Inside, Serve, net, rewrite_key
from tests.helpers.runtime import RUNTIME, config, field

pytestmark = [
    pytest.mark.torch,
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning"),  # torch's own, while it compiles
]
X = np.random.default_rng(0).standard_normal((3, 2, 4)).astype(np.float32)
SCALE = np.random.default_rng(1).standard_normal((3, 2, 3)).astype(np.float32)


@pytest.fixture
def package(packaged: Path, serve: Serve) -> Path:
    """The package in the version folder of a model that is about to be served."""
    shutil.copytree(packaged, serve.folder(), dirs_exist_ok=True)
    return serve.folder() / "compiled.cpu.pt2"


def eager(folder: Path, **inputs: Any) -> np.ndarray[Any, Any]:
    """Return what the model itself answers."""
    import torch

    scope: dict[str, Any] = {"__name__": "net"}
    exec(NET, scope)
    model = scope["Net"]().eval()
    model.load_state_dict(torch.load(folder / "model.pt", weights_only=True))
    with torch.no_grad():
        answer = model(**{name: torch.from_numpy(array) for name, array in inputs.items()})["y"]
    array: np.ndarray[Any, Any] = answer.numpy()
    return array


def test_it_is_used_without_a_compiler_and_without_inductor(packaged: Path, tmp_path: Path) -> None:
    """In a process of its own, as sys.modules of this one knows what other tests imported."""
    shutil.copytree(packaged, tmp_path / "net" / "1")
    script = f"""
import json, os, sys
sys.path.insert(0, {str(STANDIN)!r})
import numpy as np, triton_python_backend_utils as pb
os.environ["PATH"] = os.environ["CXX"] = "/nonexistent"
model = pb.Model({str(RUNTIME)!r}, {str(tmp_path / "net")!r}, {net()!r}, name="net")
x, scale = np.array({X.tolist()!r}, "f4"), np.array({SCALE.tolist()!r}, "f4")
answers = [model.infer(x=x)["y"].tolist(), model.infer(x=x, scale=scale)["y"].tolist()]
modules = [name for name in sys.modules if name.startswith(("torch._inductor.", "torch._dynamo."))]
print(json.dumps([answers, modules, pb.Logger.lines]))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    answers, modules, lines = json.loads(done.stdout)
    assert modules == []
    assert ["info", "net: served from compiled.cpu.pt2"] in lines
    assert [text for level, text in lines if level == "warn"] == []
    folder = tmp_path / "net" / "1"
    assert np.allclose(answers[0], eager(folder, x=X), rtol=1e-5, atol=1e-6)
    assert np.allclose(answers[1], eager(folder, x=X, scale=SCALE), rtol=1e-5, atol=1e-6)


def test_sizes_that_it_was_not_made_for_are_answered_by_the_model_itself(serve: Serve, package: Path) -> None:
    """Compiled code takes sizes for granted: what does not fit never reaches it."""
    model = serve.load(net())
    assert model.instance.engine.package is not None
    one = np.ones((1, 1, 4), np.float32)
    assert np.allclose(model.infer(x=one)["y"], eager(package.parent, x=one), rtol=1e-5, atol=1e-6)
    broadcast = np.ones((3, 1, 3), np.float32)  # one row for all of x: eager broadcasts it
    expected = eager(package.parent, x=X, scale=broadcast)
    assert np.allclose(model.infer(x=X, scale=broadcast)["y"], expected, rtol=1e-5, atol=1e-6)
    empty = model.infer(x=np.zeros((2, 0, 4), np.float32))["y"]
    assert empty.shape == (2, 0, 3)
    with pytest.raises(Exception, match="size of tensor"):
        model.infer(x=X, scale=np.ones((3, 7, 3), np.float32))


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"torch": "2.12.0+cpu"}, "it is for torch 2.12.0+cpu, this is torch 2.13.0"),
        ({"CUDA": "12.6"}, "it is for CUDA 12.6, this is CUDA "),
        ({"environment": "other"}, "it was made with another environment"),
        (
            {"device": {"architecture": "x86_64 VSX", "flags": []}},
            "it is for x86_64 VSX, this device is x86_64 ",
        ),
    ],
)
def test_one_made_for_something_else_is_not_used(
    serve: Serve, package: Path, changes: dict[str, Any], why: str
) -> None:
    rewrite_key(package, **changes)
    model = serve.load(net(TORCH_COMPILE_OPTIONAL_PARAMETERS='{"backend": "eager"}'))
    (warning,) = serve.warnings()
    assert warning.startswith(f"net: compiled.cpu.pt2 is not used: {why}")
    assert warning.endswith("; compiling instead")
    assert model.instance.engine.compiler is not None
    assert np.allclose(model.infer(x=X)["y"], eager(package.parent, x=X), rtol=1e-4, atol=1e-5)


def test_a_processor_that_lacks_something(serve: Serve, package: Path) -> None:
    from tests.helpers.keys import key_of

    device = key_of(package)["device"]
    rewrite_key(package, device={**device, "flags": [*device["flags"], "avx1024"]})
    serve.load(net(TORCH_COMPILE_OPTIONAL_PARAMETERS='{"backend": "eager"}'))
    why = "it is for a processor with avx1024, which this one has not"
    assert serve.warnings() == [f"net: compiled.cpu.pt2 is not used: {why}; compiling instead"]


@pytest.mark.parametrize("keep", [0, 10, 5000, -30])
def test_a_truncated_one(serve: Serve, package: Path, keep: int) -> None:
    package.write_bytes(package.read_bytes()[:keep])
    model = serve.load(net(TORCH_COMPILE_OPTIONAL_PARAMETERS='{"backend": "eager"}'))
    (warning,) = serve.warnings()
    assert warning.startswith("net: compiled.cpu.pt2 is not used: it is cut short or damaged: ")
    assert np.allclose(model.infer(x=X)["y"], eager(package.parent, x=X), rtol=1e-4, atol=1e-5)


def test_a_damaged_one(serve: Serve, package: Path) -> None:
    data = bytearray(package.read_bytes())
    data[len(data) // 2] ^= 1
    package.write_bytes(data)
    serve.load(net(TORCH_COMPILE_OPTIONAL_PARAMETERS='{"backend": "eager"}'))
    (warning,) = serve.warnings()
    assert "compiled.cpu.pt2 is not used: it is damaged: " in warning


def test_one_of_another_model(serve: Serve, package: Path) -> None:
    serve.write(NET.replace("y * scale", "y + scale"))
    model = serve.load(net(TORCH_COMPILE_OPTIONAL_PARAMETERS='{"backend": "eager"}'))
    why = "it was made with another model file"
    assert serve.warnings() == [f"net: compiled.cpu.pt2 is not used: {why}; compiling instead"]
    expected = eager(package.parent, x=X, scale=SCALE) / SCALE + SCALE
    assert np.allclose(model.infer(x=X, scale=SCALE)["y"], expected, rtol=1e-3, atol=1e-4)


def test_one_of_another_configuration(serve: Serve, package: Path) -> None:
    described = net(TORCH_COMPILE_OPTIONAL_PARAMETERS='{"backend": "eager"}')
    described["max_batch_size"] = 16
    serve.load(described)
    why = "it was made with another configuration"
    assert serve.warnings() == [f"net: compiled.cpu.pt2 is not used: {why}; compiling instead"]


def test_other_weights_need_no_other_package(serve: Serve, package: Path) -> None:
    import torch

    state = {"linear.weight": torch.randn(3, 4), "linear.bias": torch.randn(3), "shift": torch.randn(3)}
    torch.save(state, package.parent / "model.pt")
    model = serve.load(net())
    assert model.instance.engine.package is not None
    assert serve.warnings() == []
    assert np.allclose(model.infer(x=X)["y"], eager(package.parent, x=X), rtol=1e-5, atol=1e-6)
    with torch.no_grad():  # the package holds the module's own tensors: what changes there, changes here
        model.instance.engine.model.eager.shift.data.fill_(5)
    changed = {**state, "shift": torch.full((3,), 5.0)}
    torch.save(changed, package.parent / "model.pt")
    assert np.allclose(model.infer(x=X)["y"], eager(package.parent, x=X), rtol=1e-5, atol=1e-6)


def test_weights_that_are_shared_by_instances(serve: Serve, package: Path) -> None:
    model = serve.load(net(ENABLE_WEIGHT_SHARING="true"))
    assert model.instance.engine.package is not None
    assert np.allclose(model.infer(x=X)["y"], eager(package.parent, x=X), rtol=1e-5, atol=1e-6)


def test_answers_that_are_not_the_models_are_never_given(serve: Serve, package: Path) -> None:
    """A key can be forged: what it vouches for is tried, too."""
    from tests.helpers.keys import fitting

    serve.write(NET.replace("y * scale", "y + scale"))
    described = net(TORCH_COMPILE_OPTIONAL_PARAMETERS='{"backend": "eager"}')
    rewrite_key(package, **fitting(serve, described))
    model = serve.load(described)
    why = "its answers are not the model's"
    assert serve.warnings() == [f"net: compiled.cpu.pt2 is not used: {why}; compiling instead"]
    expected = eager(package.parent, x=X, scale=SCALE) / SCALE + SCALE
    assert np.allclose(model.infer(x=X, scale=SCALE)["y"], expected, rtol=1e-3, atol=1e-4)


def test_no_place_to_unpack_it(serve: Serve, package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The loader unpacks it into the folder for temporary files."""
    monkeypatch.setenv("TMPDIR", "/nonexistent")
    model = serve.load(net())
    assert np.allclose(model.infer(x=X)["y"], eager(package.parent, x=X), rtol=1e-5, atol=1e-6)


DEPENDS_ON_DATA = """
import torch

class Net(torch.nn.Module):
    def forward(self, x):
        if x.sum() > 0:
            return x[..., :3] * 2
        return x[..., :3] * 3
"""
LIFTED = """
import torch

class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.table = torch.arange(12.0).reshape(4, 3)

    def forward(self, x):
        return x @ self.table
"""


def test_a_model_that_depends_on_data(compiling: Inside, serve: Serve) -> None:
    serve.write(DEPENDS_ON_DATA)
    model = serve.folder().parent
    found = compiling.run(model, {**net(), "input": net()["input"][:1]})
    reason = found["devices"]["CPU"]["reason"]
    assert reason.startswith("torch.export: ")
    assert "data-dependent" in reason
    assert not (model / "1" / "compiled.cpu.pt2").exists()


def test_constants_that_are_no_parameters(compiling: Inside, serve: Serve) -> None:
    """A tensor that is an attribute is in no state_dict: the package has its weights inside."""
    serve.write(LIFTED)
    described = {**net(), "input": net()["input"][:1]}
    found = compiling.run(serve.folder().parent, described)
    assert found["devices"]["CPU"]["updatable"] is False
    model = serve.load(described)
    assert serve.warnings() == []
    assert model.instance.engine.package is not None
    expected = X @ np.arange(12, dtype=np.float32).reshape(4, 3)
    assert np.allclose(model.infer(x=X)["y"], expected, rtol=1e-5, atol=1e-5)


WIDE = """
import torch

class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = torch.nn.Linear(128, 256)

    def forward(self, x):
        return self.linear(x)
"""


def test_weights_packed_for_the_processor(compiling: Inside, serve: Serve) -> None:
    """Inductor's own kernels for matrices want their weights in blocks: those are in the package."""
    import torch

    options = {"options": {"max_autotune_gemm": True, "max_autotune_gemm_backends": "CPP"}}
    described = config(
        [field("x", "FP32", [128])],
        [field("y", "FP32", [256])],
        max_batch_size=8,
        parameters={"TORCH_COMPILE_OPTIONAL_PARAMETERS": json.dumps(options)},
    )
    serve.write(WIDE)
    linear = torch.nn.Linear(128, 256).requires_grad_(False)
    torch.save(linear.state_dict(prefix="linear."), serve.folder() / "model.pt")
    found = compiling.run(serve.folder().parent, described)["devices"]["CPU"]
    assert (found["file"], found["updatable"]) == ("compiled.cpu.pt2", False)
    model = serve.load(described)
    assert model.instance.engine.package is not None
    x = np.random.default_rng(0).standard_normal((5, 128)).astype(np.float32)
    expected = linear(torch.from_numpy(x)).numpy()
    assert np.allclose(model.infer(x=x)["y"], expected, rtol=1e-4, atol=1e-5)
