"""Compiled code that was made for something else is not used."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.helpers.compiling import NET, eager, net, rewrite_key
from tests.runtime.conftest import Serve

pytestmark = [
    pytest.mark.torch,
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning"),  # torch's own, while it compiles
]

X = np.random.default_rng(0).standard_normal((3, 2, 4)).astype(np.float32)


SCALE = np.random.default_rng(1).standard_normal((3, 2, 3)).astype(np.float32)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"torch": "2.12.0+cpu"}, "it is for torch 2.12.0+cpu, this is torch 2.13.0"),
        ({"CUDA": "12.6"}, "it is for CUDA 12.6, this is CUDA "),
        ({"environment": "other"}, "it was made with a different environment"),
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
    why = "it is for a processor with avx1024, which this one lacks"
    assert serve.warnings() == [f"net: compiled.cpu.pt2 is not used: {why}; compiling instead"]


@pytest.mark.parametrize("keep", [0, 10, 5000, -30])
def test_a_truncated_one(serve: Serve, package: Path, keep: int) -> None:
    package.write_bytes(package.read_bytes()[:keep])
    model = serve.load(net(TORCH_COMPILE_OPTIONAL_PARAMETERS='{"backend": "eager"}'))
    (warning,) = serve.warnings()
    assert warning.startswith("net: compiled.cpu.pt2 is not used: it is truncated or damaged: ")
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
    why = "it was made with a different model file"
    assert serve.warnings() == [f"net: compiled.cpu.pt2 is not used: {why}; compiling instead"]
    expected = eager(package.parent, x=X, scale=SCALE) / SCALE + SCALE
    assert np.allclose(model.infer(x=X, scale=SCALE)["y"], expected, rtol=1e-3, atol=1e-4)


def test_one_of_another_configuration(serve: Serve, package: Path) -> None:
    described = net(TORCH_COMPILE_OPTIONAL_PARAMETERS='{"backend": "eager"}')
    described["max_batch_size"] = 16
    serve.load(described)
    why = "it was made with a different configuration"
    assert serve.warnings() == [f"net: compiled.cpu.pt2 is not used: {why}; compiling instead"]
