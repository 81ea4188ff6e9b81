"""On a CPU, a model that can be exported is compiled to a package when it is first loaded, and kept."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.helpers.runtime import LINEAR, config, field
from tests.runtime.conftest import Serve

pytestmark = [
    pytest.mark.torch,
    pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning"),  # torch's own, while it compiles
    pytest.mark.filterwarnings("ignore:`isinstance.treespec, LeafSpec:FutureWarning"),
]

GENERATOR = np.random.default_rng(0)


def plain(**parameters: str) -> dict[str, Any]:
    """Describe a model from ``x`` (4 floats) to ``y`` (3 floats), of whose compilation nothing is said."""
    return config(
        [field("x", "FP32", [4])], [field("y", "FP32", [3])], max_batch_size=8, parameters=parameters
    )


def x(size: int) -> Any:
    return GENERATOR.normal(size=(size, 4)).astype(np.float32)


def logged(serve: Serve, text: str) -> list[str]:
    """Return what was logged with *text* in it, and forget the rest."""
    found = [line for _, line in serve.pb.Logger.lines if text in line]
    serve.pb.Logger.lines.clear()
    return found


def packages(tmp_path: Path) -> list[Path]:
    return sorted((tmp_path / "inductor" / "packages").glob("*.pt2"))


def answers_right(model: Any) -> None:
    """Ask for every size, alone and together; compare with the model itself."""
    module = model.instance.engine.model.eager
    for size in range(1, 9):
        data = x(size)
        np.testing.assert_allclose(
            model.infer(x=data)["y"], module(torch.from_numpy(data)).numpy(), rtol=1e-5, atol=1e-6
        )


@pytest.fixture
def without_compiler() -> Iterator[None]:
    """Nothing can be compiled, so that torch.compile ends at once."""
    from torch._inductor import config

    with config.patch({"cpp.cxx": (None, "/nonexistent/g++")}):
        yield


@pytest.mark.slow
def test_a_package_is_made_once_and_kept(serve: Serve, tmp_path: Path) -> None:
    serve.write(LINEAR)
    torch.save(torch.nn.Linear(4, 3).state_dict(prefix="linear."), serve.folder() / "model.pt")
    with torch._inductor.config.patch(freezing=True):  # as TORCHINDUCTOR_FREEZING=1 would have it
        answers_right(serve.load(plain()))
    (package,) = packages(tmp_path)
    assert len(logged(serve, f"net: compiled to {package} in ")) == 1
    (telling,) = serve.pb.MetricFamily.families["pytorch_runtime_compile_seconds"].values()
    assert telling.value() > 1

    answers_right(serve.load(plain()))
    assert logged(serve, "compiled") == []
    serve.pb.Logger.lines.clear()

    torch.save(torch.nn.Linear(4, 3).state_dict(prefix="linear."), serve.folder() / "model.pt")  # trained on
    answers_right(serve.load(plain()))
    assert logged(serve, "net: served from ") == [f"net: served from {package.name}"]
    assert packages(tmp_path) == [package]

    package.write_bytes(package.read_bytes()[:-100])
    answers_right(serve.load(plain()))
    lines = [line for _, line in serve.pb.Logger.lines]
    assert any(f"{package.name} is not used: it is truncated or damaged" in line for line in lines)
    assert any(f"net: compiled to {package} in " in line for line in lines)


@pytest.mark.slow
def test_optional_inputs(serve: Serve) -> None:
    serve.write("""
import torch

class Net(torch.nn.Module):
    def forward(self, x, scale=None):
        return x * 2 if scale is None else x * scale
""")
    inputs = [field("x", "FP32", [-1, 4]), field("scale", "FP32", [-1, 4], optional=True)]
    model = serve.load(config(inputs, [field("y", "FP32", [-1, 4])], max_batch_size=8))
    assert logged(serve, "net: served from ")
    data = GENERATOR.normal(size=(3, 5, 4)).astype(np.float32)
    np.testing.assert_allclose(model.infer(x=data)["y"], data * 2)
    np.testing.assert_allclose(model.infer(x=data, scale=data)["y"], data * data)
    np.testing.assert_allclose(model.infer(x=data, scale=data[:, :1])["y"], data * data[:, :1])  # eager's


DEPENDS_ON_DATA = """
def f(x):
    return x[:, :3] * 2 if x.sum() > 0 else x[:, :3]
"""


@pytest.mark.usefixtures("without_compiler")
def test_what_cannot_be_exported_is_left_to_torch_compile(serve: Serve, tmp_path: Path) -> None:
    serve.write(DEPENDS_ON_DATA)
    model = serve.load(plain(COMPILE_FALLBACK="eager"))
    (why,) = logged(serve, "left to torch.compile")
    assert why.startswith("net: left to torch.compile: torch.export: GuardOnDataDependentSymNode: ")
    np.testing.assert_array_equal(model.infer(x=np.ones((2, 4), "f4"))["y"], np.full((2, 3), 2, "f4"))
    (kept,) = (tmp_path / "inductor" / "packages").glob("*.pt2.why-not")
    kept.write_text("of this, nobody asks again")
    serve.load(plain(COMPILE_FALLBACK="eager"))
    assert logged(serve, "left to") == ["net: left to torch.compile: of this, nobody asks again"]


@pytest.mark.usefixtures("without_compiler")
def test_a_compiler_that_is_missing_may_be_there_next_time(serve: Serve, tmp_path: Path) -> None:
    serve.write(LINEAR)
    serve.load(plain(COMPILE_FALLBACK="eager"))
    assert logged(serve, "left to torch.compile: AOTInductor: ")
    left = {path.suffix for path in (tmp_path / "inductor" / "packages").iterdir()}
    assert left == {".lock"}


@pytest.mark.slow
def test_a_model_that_changes_its_buffers(serve: Serve) -> None:
    serve.write("""
import torch

class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("rows", torch.zeros(()))

    def forward(self, x):
        self.rows += x.shape[0]
        return x[:, :3]
""")
    model = serve.load(plain())
    assert model.instance.engine.package is not None
    rows, before = model.instance.engine.model.eager.rows, float(model.instance.engine.model.eager.rows)
    for size in (1, 5, 8):
        model.infer(x=x(size))
    assert float(rows) == before + 14


@pytest.mark.slow
def test_one_whose_answers_are_not_the_models(serve: Serve, tmp_path: Path) -> None:
    """A count in Python is a constant to what is exported."""
    serve.write("""
import torch

class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.calls = 0

    def forward(self, x):
        self.calls += 1
        return x[:, :3] + self.calls
""")
    why = "its answers differ from the model's"
    with torch.compiler.set_stance("force_eager"):  # how torch.compile serves it is not asked here
        model = serve.load(plain())
        assert (
            len(logged(serve, f"is not used: {why}: y differs from eager by up to 1; compiling instead")) == 1
        )
        first, second = (model.infer(x=np.zeros((1, 4), "f4"))["y"][0, 0] for _ in range(2))
        assert second == first + 1
        serve.load(plain())
    lines = [line for _, line in serve.pb.Logger.lines]
    assert any(line.startswith(f"net: left to torch.compile: {why}") for line in lines)
    assert not any("compiled to" in line for line in lines)
    assert len(packages(tmp_path)) == 1


@pytest.mark.usefixtures("without_compiler")
@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a file away")
def test_code_of_another_user_is_not_run(serve: Serve, tmp_path: Path) -> None:
    serve.write(LINEAR)
    serve.load(plain(COMPILE_FALLBACK="eager"))
    (lock,) = (tmp_path / "inductor" / "packages").glob("*.lock")
    package = lock.with_suffix("")
    with zipfile.ZipFile(package, "w") as archive:
        archive.writestr("package/extra/envbuilder.json", "{}")
    os.chown(package, 12345, 12345)
    serve.pb.Logger.lines.clear()
    serve.load(plain(COMPILE_FALLBACK="eager"))
    assert logged(serve, "is not used") == []  # it was not even read
    os.chown(package, 0, 0)
    serve.load(plain(COMPILE_FALLBACK="eager"))
    assert len(logged(serve, f"{package.name} is not used: ")) == 1


@pytest.mark.usefixtures("without_compiler")
def test_who_says_how_to_compile_gets_torch_compile(serve: Serve, tmp_path: Path) -> None:
    serve.write(LINEAR)
    said = {"TORCH_COMPILE_OPTIONAL_PARAMETERS": '{"backend": "aot_eager"}'}
    model = serve.load(plain(**said))
    assert model.instance.engine.compiler is not None
    assert not (tmp_path / "inductor" / "packages").exists()
