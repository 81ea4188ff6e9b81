"""A package that was made ahead of time, served."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.helpers.compiling import NET, eager, net, rewrite_key
from tests.helpers.runtime import RUNTIME
from tests.runtime.conftest import STANDIN, Serve

pytestmark = [
    pytest.mark.torch,
    pytest.mark.slow,
    pytest.mark.xdist_group("packaged"),
    pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning"),  # torch's own, while it compiles
]

X = np.random.default_rng(0).standard_normal((3, 2, 4)).astype(np.float32)


SCALE = np.random.default_rng(1).standard_normal((3, 2, 3)).astype(np.float32)


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
    why = "its answers differ from the model's"
    (warning,) = serve.warnings()
    assert warning.startswith(f"net: compiled.cpu.pt2 is not used: {why}: y differs from eager by up to ")
    assert warning.endswith("; compiling instead")
    expected = eager(package.parent, x=X, scale=SCALE) / SCALE + SCALE
    assert np.allclose(model.infer(x=X, scale=SCALE)["y"], expected, rtol=1e-3, atol=1e-4)


def test_no_place_to_unpack_it(serve: Serve, package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The loader unpacks it into the folder for temporary files."""
    monkeypatch.setenv("TMPDIR", "/nonexistent")
    model = serve.load(net())
    assert np.allclose(model.infer(x=X)["y"], eager(package.parent, x=X), rtol=1e-5, atol=1e-6)
