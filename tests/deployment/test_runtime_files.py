from __future__ import annotations

from pathlib import Path

import pytest

from envbuilder.deployment.config import RUNTIME_FILE
from envbuilder.deployment.runtime_files import foreign_name, is_runtime, is_runtime_file, runtime_files


def test_the_file_and_its_modules() -> None:
    files = runtime_files("model.py")
    assert {"model.py", "_torch_runtime/engine.py"} <= files.keys()
    assert is_runtime(files["model.py"])
    assert all(path.is_file() for path in files.values())


@pytest.mark.parametrize(
    ("path", "ours"),
    [
        (f"1/{RUNTIME_FILE}", True),
        ("12/_torch_runtime/engine.py", True),
        (RUNTIME_FILE, False),
        ("1/model.pt", False),
        ("1/mine/_torch_runtime/a.py", False),
    ],
)
def test_which_paths_of_a_model_are_the_runtimes(path: str, ours: bool) -> None:
    assert is_runtime_file(path) is ours


def test_a_name_of_the_runtimes_that_somebody_else_uses(tmp_path: Path) -> None:
    assert foreign_name(tmp_path) is None
    (tmp_path / "_torch_runtime").mkdir()
    assert foreign_name(tmp_path) == "_torch_runtime"
    (tmp_path / "_torch_runtime" / "engine.py").touch()
    assert foreign_name(tmp_path) is None
    (tmp_path / RUNTIME_FILE).write_text("mine")
    assert foreign_name(tmp_path) == RUNTIME_FILE
