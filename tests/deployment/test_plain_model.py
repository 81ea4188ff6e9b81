"""What defines a ``TritonPythonModel``."""

from __future__ import annotations

from pathlib import Path

import pytest

from envbuilder.deployment.plain_model import defines_model


@pytest.mark.parametrize(
    ("text", "defines"),
    [
        ("class TritonPythonModel:\n    pass\n", True),
        ("from .base import TritonPythonModel\n", True),
        ("class Mine(TritonPythonModel):\n    pass\n", True),
        ("from base import (\n    Other,\n    TritonPythonModel,\n)\n", True),
        ("from base import Model as TritonPythonModel\n", True),
        ("class Mine:\n    pass\n\nTritonPythonModel = Mine\n", True),
        ("TritonPythonModel: type = make()\n", True),
        ("try:\n    import x\nexcept ImportError:\n    class TritonPythonModel:\n        pass\n", True),
        ("from .served import *\n", True),
        ("from served import *\n", True),
        ("from above import *\n", True),
        ("from .loop import *\n", False),
        ("from .absent import *\n", False),
        ("from os import *\n", False),
        ("def f():\n    TritonPythonModel = 1\n", False),
        ("print(TritonPythonModel == 1)\n", False),
        ("TritonPythonModel = (\n", False),
        ("import torch\n", False),
        ("# no TritonPythonModel\n", False),
    ],
)
def test_a_file_that_defines_one(tmp_path: Path, text: str, defines: bool) -> None:
    version = tmp_path / "1"
    version.mkdir()
    (version / "served.py").write_text("class TritonPythonModel:\n    pass\n")
    (version / "loop.py").write_text("from .loop import *\n")
    (tmp_path / "above.py").write_text("from served import *\n\nTritonPythonModel = 1\n")
    (version / "model.py").write_text(text)
    assert defines_model(version / "model.py") is defines


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    assert not defines_model(tmp_path / "model.py")
    assert not defines_model(tmp_path)
