"""Keys of packages, for tests that forge them."""

from __future__ import annotations

import importlib.util
from typing import Any

from envbuilder.deployment.compiled import read_key
from tests.aot.conftest import Serve
from tests.helpers.runtime import RUNTIME

key_of = read_key


def fitting(serve: Serve, described: dict[str, Any]) -> dict[str, Any]:
    """Return what the key of a package would have to be for the model in *serve*."""
    import torch

    spec = importlib.util.spec_from_file_location("_runtime_for_keys", RUNTIME)
    assert spec is not None
    assert spec.loader is not None
    runtime = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(runtime)
    runtime.import_torch()
    folder = str(serve.folder())
    files = runtime.find_files(folder, "torch_runtime.py")
    key: dict[str, Any] = runtime.fitting_key(folder, files, described, torch.device("cpu"))
    return key
