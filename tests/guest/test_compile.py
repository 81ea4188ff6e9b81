"""What can be compiled ahead of time, and what is left when it cannot."""

from __future__ import annotations

import json

import numpy as np
import pytest

from tests.helpers.compiling import DEPENDS_ON_DATA, Inside, net
from tests.helpers.runtime import config, field
from tests.runtime.conftest import Serve

pytestmark = [
    pytest.mark.torch,
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning"),  # torch's own, while it compiles
]

X = np.random.default_rng(0).standard_normal((3, 2, 4)).astype(np.float32)


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
