"""The runtime in this process, in front of the stand-in for Triton's module."""

from __future__ import annotations

import locale
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.helpers.compiling import packaged
from tests.helpers.runtime import RUNTIME

if TYPE_CHECKING:
    import torch

__all__ = ["packaged"]

STANDIN = Path(__file__).parents[2] / "envbuilder" / "guest" / "stub"
sys.path.insert(0, str(STANDIN))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what needs a GPU where there is none, unless it was asked for."""
    if Path("/dev/nvidiactl").exists() or "gpu" in str(config.getoption("markexpr")):
        return
    left_out = [item for item in items if item.get_closest_marker("gpu")]
    items[:] = [item for item in items if item not in left_out]
    config.hook.pytest_deselected(items=left_out)


@pytest.fixture(autouse=True)
def _process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Undo what the runtime does to its process: it owns a stub, not the process of the tests."""
    environment = dict(os.environ)
    os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(tmp_path / "inductor")
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = locale.setlocale(locale.LC_CTYPE)
    modules = set(sys.modules)
    yield
    locale.setlocale(locale.LC_CTYPE, before)
    if "torch._inductor.config" in sys.modules:
        inductor: Any = sys.modules["torch._inductor.config"]
        inductor.cpp_cache_precompile_headers = True  # whoever restores caches turns it off
    os.environ.clear()
    os.environ.update(environment)
    for name in set(sys.modules) - modules:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(tmp_path)):
            del sys.modules[name]


@pytest.fixture
def pb() -> Any:
    """The stand-in, with nothing logged and no metrics."""
    import triton_python_backend_utils as standin

    standin.Logger.lines.clear()
    standin.MetricFamily.families.clear()
    return standin


class Serve:
    """Makes a model directory, loads it, and unloads it when the test ends."""

    def __init__(self, root: Path, pb: Any) -> None:
        self.root, self.pb = root, pb
        self.models: list[Any] = []

    def folder(self, name: str = "net", version: str = "1") -> Path:
        """Return the version folder of model *name*, made when it is not there."""
        folder = self.root / "repository" / name / version
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def write(self, source: str, name: str = "net", version: str = "1", file: str = "model.py") -> Path:
        """Write *source* into the version folder."""
        path = self.folder(name, version) / file
        path.write_text(source, encoding="utf-8")
        return path

    def load(self, config: dict[str, Any], name: str = "net", version: str = "1", **rest: Any) -> Any:
        """Load model *name*."""
        folder = self.folder(name, version).parent
        model = self.pb.Model(str(RUNTIME), str(folder), config, name=name, version=version, **rest)
        self.models.append(model)
        return model

    def error(self, config: dict[str, Any], name: str = "net", **rest: Any) -> str:
        """Load model *name*, which must fail, and return the message without its beginning."""
        with pytest.raises(self.pb.TritonModelException) as caught:
            self.load(config, name, **rest)
        beginning = f"model '{name}', version 1: "
        assert str(caught.value).startswith(beginning)
        return str(caught.value)[len(beginning) :]

    def warnings(self) -> list[str]:
        """Return the warnings logged so far."""
        return [message for level, message in self.pb.Logger.lines if level == "warn"]


@pytest.fixture
def serve(tmp_path: Path, pb: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Serve]:
    """Load models from source text."""
    import torch

    # torch takes this number once in a process, and this process loads many models: another one takes it for real
    # (test_interop_threads_are_set_before_torch_works).
    numbers = [torch.get_num_interop_threads()]
    monkeypatch.setattr(torch, "get_num_interop_threads", lambda: numbers[-1])
    monkeypatch.setattr(torch, "set_num_interop_threads", numbers.append)
    limit = torch._dynamo.config.recompile_limit
    serving = Serve(tmp_path, pb)
    yield serving
    for model in serving.models:
        model.finalize()
    torch._dynamo.reset()
    torch._dynamo.config.recompile_limit = limit  # a model's RECOMPILE_LIMIT is its process's
    if "torch._inductor.config" in sys.modules:
        torch._inductor.config.freezing = False


@pytest.fixture
def package(packaged: Path, serve: Serve) -> Path:
    """The package in the version folder of a model that is about to be served."""
    shutil.copytree(packaged, serve.folder(), dirs_exist_ok=True)
    return serve.folder() / "compiled.cpu.pt2"


@pytest.fixture
def linear() -> torch.nn.Linear:
    """A layer whose weights a model is served with."""
    from tests.helpers.linear import layer

    return layer()
