"""What folders of sources call their projects."""

from __future__ import annotations

from pathlib import Path

import pytest

from envbuilder.util.project_name import project_name


@pytest.mark.parametrize(
    ("file", "text", "name"),
    [
        ("pyproject.toml", '[project]\nname = "a"\n', "a"),
        ("pyproject.toml", '[tool.poetry]\nname = "b"\n', "b"),
        ("pyproject.toml", "tool = 3\n", None),
        ("pyproject.toml", "not = [toml", None),
        ("setup.cfg", "[metadata]\nname = c\n", "c"),
        ("setup.cfg", "name = c\n", None),
        ("setup.py", "from setuptools import setup\nsetup(\n    name='d',\n)\n", "d"),
        ("setup.py", "setup(name=NAME)", None),
        ("other.txt", "", None),
    ],
)
def test_project_name(tmp_path: Path, file: str, text: str, name: str | None) -> None:
    (tmp_path / file).write_text(text)
    assert project_name(tmp_path) == name
