"""Serve a PyTorch model behind Triton's Python backend: a TritonPythonModel for any ``nn.Module``.

This is the file that Triton loads; the folder ``_torch_runtime`` beside it does the work. Both work in three places: as
``VERSION/torch_runtime.py`` in a model directory (with ``default_model_filename: "torch_runtime.py"``), as
``BACKENDS/NAME/model.py`` (a Python-based backend), and as the platform handler ``pytorch`` of Triton 23.08 and 23.09.
They need torch (2.0 and later), NumPy and Triton's ``triton_python_backend_utils``, on Python 3.8 and later.
"""

from __future__ import annotations

import contextlib
import gc
import hashlib
import importlib
import importlib.util
import json
import os
import sys
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import triton_python_backend_utils as pb_utils

if TYPE_CHECKING:
    from _torch_runtime.engine import Engine

FOLDER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "_torch_runtime")


def runtime_module(name: str) -> Any:
    """Import a module of the folder beside this file, even if another package has the same name.

    The package's name is derived from its path, and ``sys.path`` is not searched: version folders of other models,
    deployed by an older or a newer envbuilder, may contain one, and this file must use its own.
    """
    package = "_torch_runtime_" + hashlib.sha256(os.fsencode(FOLDER)).hexdigest()[:16]
    if package not in sys.modules:
        start = os.path.join(FOLDER, "__init__.py")
        if not os.path.exists(start):
            raise pb_utils.TritonModelException(f"{__file__} needs the folder {FOLDER} beside it: copy both")
        spec = importlib.util.spec_from_file_location(package, start, submodule_search_locations=[FOLDER])
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[package] = module
        spec.loader.exec_module(module)
    return importlib.import_module(f"{package}.{name}")


@contextlib.contextmanager
def uncollected() -> Iterator[None]:
    """Turn the garbage collector off: importing torch creates 170,000 lasting objects, a seventh of its CPU time."""
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collects:
            gc.enable()


class TritonPythonModel:
    """What Triton calls: `initialize` once, `execute` for each batch of requests, `finalize` once.

    Importing this file does not import torch: without ``--disable-auto-complete-config`` a second stub imports it
    only to ask for the configuration, and would import torch for nothing.
    """

    engine: Engine
    """The model in service; its public attributes are for tools."""

    def initialize(self, args: dict[str, str]) -> None:
        """Load, compile and warm the model.

        Raises:
            TritonModelException: names the model, its version, and what to change.
        """
        errors = runtime_module("errors")
        try:
            times = [time.monotonic()]
            config = json.loads(args["model_config"])
            parameters = runtime_module("parameters").Parameters(config)
            runtime_module("process").prepare_process(parameters.instances)
            with uncollected():
                engine = runtime_module("engine")  # imports torch, which reads the prepared variables once
                warmup = runtime_module("warmup")
            times.append(time.monotonic())
            self.engine = engine.Engine(args, config, parameters, __file__)
            times.append(time.monotonic())
            warmup.warm_up(self.engine)
            times.append(time.monotonic())
        except pb_utils.TritonModelException:
            raise
        except Exception as error:  # unexpected errors name their model, too
            name, version = args["model_name"], args["model_version"]
            folder = os.path.join(args["model_repository"], version)
            told = errors.in_words(error, folder)
            raise pb_utils.TritonModelException(f"model {name!r}, version {version}: {told}") from error
        try:
            runtime_module("start").tell_ready(self.engine, times)
        except Exception as error:  # it is ready, even if its report fails
            self.engine.model.log.warn(f"ready; what it is made from cannot be said: {error}")

    def execute(self, requests: list[Any]) -> list[Any]:
        """Answer *requests* with as few calls of the model as their shapes allow."""
        return self.engine.execute(requests)

    def finalize(self) -> None:
        """Release the model and its device memory."""
        self.engine.close()
