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
        ("import torch\n", False),
        ("# no TritonPythonModel\n", False),
    ],
)
def test_a_file_that_defines_one(tmp_path: Path, text: str, defines: bool) -> None:
    (tmp_path / "model.py").write_text(text)
    assert defines_model(tmp_path / "model.py") is defines


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    assert not defines_model(tmp_path / "model.py")
    assert not defines_model(tmp_path)
