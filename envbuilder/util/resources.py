"""Locate shipped files, in a checkout or in the installed package."""

from __future__ import annotations

from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1]


def _folder(name: str) -> Path:
    installed = PACKAGE / "_data" / name
    return installed if installed.is_dir() else PACKAGE.parent / name


def runtime_file() -> Path:
    """The entry file of the runtime, which Triton loads: ``runtime/model.py``."""
    return _folder("runtime") / "model.py"


def runtime_package() -> dict[str, Path]:
    """The modules beside :func:`runtime_file`, by their relative paths: ``_torch_runtime/engine.py``."""
    folder = _folder("runtime")
    return {path.relative_to(folder).as_posix(): path for path in sorted(folder.glob("_torch_runtime/*.py"))}


def shipped_recipes() -> Path:
    """The folder of shipped recipes."""
    return _folder("recipes")


def sample_model() -> Path:
    """The model directory that verification uses by default."""
    return sample_models()[0]


def sample_models() -> list[Path]:
    """The shipped model directories: a perceptron, a convolution net and an encoder."""
    installed = PACKAGE / "_data" / "models"
    folder = installed if installed.is_dir() else PACKAGE.parent / "tests" / "models"
    return [folder / name for name in ("mlp", "convnet", "encoder")]
