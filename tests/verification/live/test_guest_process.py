from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

from envbuilder.verification.live.guest_process import guest_files


@pytest.mark.parametrize("path", guest_files().values(), ids=lambda path: path.name)
def test_it_imports_itself_the_environment_and_nothing_else(path: Path) -> None:
    allowed = {*sys.stdlib_module_names, "numpy", "torch", "triton_python_backend_utils", "_torch_runtime"}
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            assert {alias.name.split(".")[0] for alias in node.names} <= allowed
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            assert str(node.module).split(".")[0] in allowed
