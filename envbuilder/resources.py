"""Where the files lie that the tool ships: in a checkout, or inside the installed package."""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent


def _folder(name: str) -> Path:
    installed = _PACKAGE / "_data" / name
    return installed if installed.is_dir() else _PACKAGE.parent / name


def runtime_file() -> Path:
    """The runtime that archives are served with: ``runtime/model.py``."""
    return _folder("runtime") / "model.py"


def shipped_recipes() -> Path:
    """The folder of the recipes that come with the tool."""
    return _folder("recipes")


def sample_model() -> Path:
    """The model directory that verification loads where it is given none."""
    installed = _PACKAGE / "_data" / "models" / "mlp"
    return installed if installed.is_dir() else _PACKAGE.parent / "tests" / "models" / "mlp"
