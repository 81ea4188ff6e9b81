"""Models that are compiled ahead of time, by this Python instead of an environment's."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from envbuilder.verification.live.guest_process import guest_files
from tests.helpers.runtime import config, copy_runtime, field

NET = """
import torch

class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = torch.nn.Linear(4, 3)
        self.register_buffer("shift", torch.ones(3))

    def forward(self, x, scale=None):
        y = self.linear(x) + self.shift
        return {"unused": y * 0, "y": y if scale is None else y * scale}
"""


DEPENDS_ON_DATA = """
import torch

class Net(torch.nn.Module):
    def forward(self, x):
        if x.sum() > 0:
            return x[..., :3] * 2
        return x[..., :3] * 3
"""


def net(**parameters: str) -> dict[str, Any]:
    """Return the configuration of ``NET``, its second input optional and of any length."""
    inputs = [field("x", "FP32", [-1, 4]), field("scale", "FP32", [-1, 3], optional=True)]
    return config(inputs, [field("y", "FP32", [-1, 3])], max_batch_size=8, parameters=parameters)


class Inside:
    """Runs the script that compiles, with this Python in place of an environment's."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def run(self, model: Path, described: dict[str, Any], **rest: Any) -> dict[str, Any]:
        """Compile version 1 of *model*, and return what the script found."""
        package = self.folder / "_envbuilder_guest"
        for name, file in guest_files().items():
            (package / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, package / name)
        copy_runtime(model / "1")
        answer = self.folder / "answer.json"
        answer.unlink(missing_ok=True)
        job = {
            "model": str(model),
            "version": "1",
            "file": "torch_runtime.py",
            "config": {**described, "name": model.name},
            "sizes": [1, 2, 3, 8],
            "answer": str(answer),
            "made_of": "this",
            "task": "package",
            "kinds": ["CPU"],
            **rest,
        }
        (self.folder / "job.json").write_text(json.dumps(job))
        environment = {"PATH": "/usr/bin:/bin", "LC_ALL": "C"}
        environment["TORCHINDUCTOR_CACHE_DIR"] = str(self.folder / "inductor")
        command = [sys.executable, "-I", "-X", "utf8=0", "-B", str(package / "__main__.py")]
        done = subprocess.run(
            [*command, str(self.folder / "job.json")],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert answer.exists(), done.stderr
        found: dict[str, Any] = json.loads(answer.read_text())
        (model / "1" / "torch_runtime.py").unlink()
        shutil.rmtree(model / "1" / "_torch_runtime")
        return found


@pytest.fixture
def compiling(tmp_path: Path) -> Inside:
    return Inside(tmp_path / "compiling")


@pytest.fixture(scope="session")
def packaged(once: Callable[[str, Callable[[Path], None]], Path]) -> Path:
    """The version folder of ``NET``, with weights, and its package. Not to be written to."""

    def fill(folder: Path) -> None:
        import torch

        version = folder / "net" / "1"
        version.mkdir(parents=True)
        (version / "model.py").write_text(NET)
        torch.manual_seed(0)
        state = {"linear.weight": torch.randn(3, 4), "linear.bias": torch.randn(3), "shift": torch.ones(3)}
        torch.save(state, version / "model.pt")
        found = Inside(folder / "compiling").run(folder / "net", net())
        assert found["devices"]["CPU"].get("file") == "compiled.cpu.pt2", found

    return once("packaged", fill) / "net" / "1"


def rewrite_key(package: Path, **changes: Any) -> None:
    """Change what *package* says it was made for."""
    draft = package.with_suffix(".draft")
    with zipfile.ZipFile(package) as old, zipfile.ZipFile(draft, "w") as new:
        for member in old.infolist():
            data = old.read(member)
            if member.filename.endswith("envbuilder.json"):
                data = json.dumps({**json.loads(data), **changes}).encode()
            new.writestr(member, data)
    draft.replace(package)


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
