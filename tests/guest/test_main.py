"""The guest as one process: what it puts on sys.path, and what a model beside it may be called."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from envbuilder import guest
from envbuilder.verification.live.guest_process import guest_files
from tests.helpers.compiling import Inside
from tests.helpers.interpreters import check_by_every_python
from tests.helpers.runtime import SEED, add_helpers, config, field

FOLDER = Path(guest.__file__).parent


SHOWN = """
import os, sys
import torch

above = os.path.dirname(os.path.dirname(__file__))
for name, lines in (("path", sys.path), ("modules", sys.modules)):
    with open(os.path.join(above, name), "w") as file:
        file.write("\\n".join(lines))

class Net(torch.nn.Module):
    def forward(self, x):
        return x[:, :3] * 2
"""


EAGER = json.dumps({"backend": "eager"})


def described(options: str) -> dict[str, Any]:
    return config(
        [field("x", "FP32", [4])], [field("y", "FP32", [3])], max_batch_size=8, parameters={SEED: options}
    )


@pytest.fixture
def inside(tmp_path: Path) -> Inside:
    return Inside(tmp_path / "verify")


@pytest.fixture
def version(tmp_path: Path) -> Path:
    """The version folder of a model with a helper of each of our names."""
    folder = tmp_path / "net" / "1"
    folder.mkdir(parents=True)
    (folder / "model.py").write_text(add_helpers(folder) + SHOWN)
    return folder


def run(inside: Inside, version: Path, task: str, options: str = EAGER) -> dict[str, Any]:
    inside.folder.mkdir(parents=True, exist_ok=True)
    inputs: dict[str, Any] = {f"{size}/x": np.ones((size, 4), np.float32) for size in (1, 2, 8)}
    np.savez(inside.folder / "inputs.npz", **inputs)
    found = inside.run(
        version.parent,
        described(options),
        task=task,
        inputs=str(inside.folder / "inputs.npz"),
        outputs=str(inside.folder / "outputs.npz"),
        caches=[str(inside.folder / "inductor")],
    )
    assert "failed" not in found, found["failed"]
    return found


@pytest.mark.torch
def test_verify_loads_a_model_whose_helpers_are_called_as_our_modules(inside: Inside, version: Path) -> None:
    found = run(inside, version, "probe")
    assert found["CPU"]["differs"] == found["CPU"]["together"] == []
    assert [name for name in found["modules"] if str(inside.folder.parent) in name] == []
    assert found["CPU"]["cases"] == ["1", "2", "8"]
    with np.load(inside.folder / "outputs.npz") as outputs:
        assert outputs["2#0/y"].tolist() == [[2.0] * 3] * 2


@pytest.mark.torch
@pytest.mark.slow
def test_precompile_loads_a_model_whose_helpers_are_called_as_our_modules(
    inside: Inside, version: Path
) -> None:
    found = run(inside, version, "package", "{}")
    assert found["devices"]["CPU"].get("file") == "compiled.cpu.pt2", found
    assert run(inside, version, "caches")["devices"]["CPU"]["file"] == "compiled.cpu.zip"


@pytest.mark.torch
def test_only_the_stand_in_is_on_the_path(inside: Inside, version: Path) -> None:
    run(inside, version, "describe")
    paths = (version.parent / "path").read_text().splitlines()
    ours = [path for path in paths if path.startswith(str(inside.folder))]
    stub = inside.folder / "_envbuilder_guest" / "stub"
    assert ours == [str(stub)]
    assert [path.name for path in stub.iterdir()] == ["triton_python_backend_utils"]
    modules = (version.parent / "modules").read_text().splitlines()
    assert "_envbuilder_guest.probe" in modules
    assert not [name for name in modules if name.split(".")[0] == "envbuilder"]


def test_every_python_that_triton_serves_with_can_read_it() -> None:
    """By those that are on this machine, 3.8 and later."""
    files = [str(path) for path in guest_files().values()]
    script = "import sys\nfor path in sys.argv[1:]:\n    compile(open(path, encoding='utf-8').read(), path, 'exec')"
    check_by_every_python(map(Path, files), script, *files)


def test_the_rule_of_the_runtime_is_the_guests() -> None:
    assert (FOLDER / "equality.py").resolve().parts[-3:] == ("runtime", "_torch_runtime", "equality.py")
