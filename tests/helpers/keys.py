"""Keys of packages, for tests that forge them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from envbuilder.deployment.compiled import read_key
from tests.helpers.runtime import RUNTIME, load_runtime
from tests.runtime.conftest import Serve


def key_of(file: Path) -> Mapping[str, Any]:
    """What compiled code says it was made for."""
    return read_key(file).value


def fitting(serve: Serve, described: dict[str, Any]) -> dict[str, Any]:
    """Return what the key of a package would have to be for the model in *serve*."""
    import torch

    module, folder = load_runtime().runtime_module, str(serve.folder())
    found = module("source").find_files(folder, "torch_runtime.py", str(RUNTIME))
    weights = tuple(os.path.join(folder, path) for one in found.sets for path in one.files)
    files = found._replace(weights=weights)  # as once it is loaded
    key: dict[str, Any] = module("package_key").fitting_key(folder, files, described, torch.device("cpu"))
    return key
