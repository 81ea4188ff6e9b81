"""Run a model as a release's stub would: import, load, compile, send requests, and compare with eager."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from typing import Any

from .host import Host, lacking_in, words
from .neighbours import Neighbours
from .packages import outside_libraries
from .serving import Ensemble, OwnModel, RuntimeModel, StageError

CHILD_TIMEOUT = 120.0
"""Limit in seconds for a child that imports a few modules."""


class Probe:
    """One run: each stage writes its results."""

    def __init__(self, host: Host, found: dict[str, Any], *, outside: str, keep: Callable[[], None]) -> None:
        """Store results in *found*, and let *keep* write them before steps that may end this process.

        Files in the folder *outside* are not part of the environment.
        """
        self.host, self.job, self.found, self.keep = host, host.job, found, keep
        self.own: OwnModel | None = None
        self.neighbours = Neighbours(self.job)
        self.folders = [sys.prefix, self.job["model"], outside, *self.job["caches"]]

    def run(self) -> None:
        """Run the stages in a server's order."""
        try:
            ensemble = bool(self.host.config.get("ensemble_scheduling"))
            runtime = None if ensemble else self.stage("runtime", self.host.import_file)
            if not self.job.get("brief"):
                self.look_around(needs_torch=not self.job.get("own"))
            if not hasattr(runtime, "runtime_module"):  # a user's TritonPythonModel
                self.found["CPU"] = {}
                kind_of = Ensemble if ensemble else OwnModel
                own = kind_of(self.host, self.stage, self.neighbours)
                own.serve(self.found["CPU"])
                self.own = own
                return
            for kind in ["CPU", "GPU"] if self.gpu() else ["CPU"]:
                self.found[kind] = {}
                RuntimeModel(self.host, self.stage, kind).serve(self.found[kind])
        except StageError:
            pass
        finally:
            self.neighbours.close()
            self.found["unknown"] = list(dict.fromkeys(self.neighbours.unknown))
            self.found["imported"] = imported_modules()
            self.found["modules"] = outside_modules(self.folders)
            self.found["libraries"] = outside_libraries(self.folders)

    def finish(self) -> None:
        """Unload a user's model, whose ``finalize`` may end this process; the results are written before."""
        if self.own is None:
            return
        served = self.found["CPU"]
        served["finalize"] = "its process exited, or exceeded the time limit"
        self.keep()
        del served["finalize"]
        failed = self.own.finish()
        if failed is not None:
            served["finalize"] = failed

    def look_around(self, *, needs_torch: bool) -> None:
        """Import torch, which a user's ``TritonPythonModel`` may not need, and start a child."""
        if needs_torch or importlib.util.find_spec("torch") is not None:
            self.found["torch"] = self.stage("import", self.import_torch)
        else:
            self.found["numpy"] = self.stage("import", self.import_numpy)
        self.found["child"] = self.stage("child", self.run_child)

    def import_numpy(self) -> str:
        """Import NumPy, which Triton's module needs, and record its version."""
        import numpy

        return str(numpy.__version__)

    def stage(self, name: str, work: Any, *args: Any) -> Any:
        """Run *work*; its error is stored under the stage's name."""
        try:
            return work(*args)
        except StageError:
            raise
        except Exception as error:
            missing = error.name if isinstance(error, ModuleNotFoundError) and error.name else ""
            text = words(error)
            self.found["failed"] = {
                "stage": name,
                "text": text,
                "lacking": lacking_in(text),
                "trace": traceback.format_exc(),
                "missing": missing,
                "inputs": self.host.asked,
                "otherwise": self.host.otherwise,
            }
            raise StageError(name) from error

    def import_torch(self) -> dict[str, Any]:
        """Import torch, and record its version."""
        began = time.perf_counter()
        import torch

        seconds = time.perf_counter() - began
        import numpy

        return {
            "version": torch.__version__,
            "cuda": torch.version.cuda,
            "numpy": numpy.__version__,
            "seconds": seconds,
            "devices": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())],
        }

    def gpu(self) -> bool:
        """Return whether a GPU can be used."""
        import torch

        return bool(torch.cuda.is_available())

    def run_child(self) -> dict[str, str]:
        """Start this Python as torch starts its workers: without ENV/lib on the loader's path, its RUNPATH must do."""
        script = "import sys, ctypes, hashlib, ssl, sqlite3, lzma, bz2, zlib; print(sys.prefix)"
        said = {"executable": sys.executable}
        try:
            done = subprocess.run(
                [sys.executable, "-c", script],
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                timeout=CHILD_TIMEOUT,
            )
        except subprocess.TimeoutExpired:
            return {**said, "returncode": "timeout", "output": f"it ran for {CHILD_TIMEOUT:g} s"}
        except OSError as error:
            return {**said, "returncode": "not started", "output": words(error)}
        output = done.stdout.decode(errors="replace").strip()
        return {**said, "returncode": str(done.returncode), "output": output[-1000:]}


def imported_modules() -> list[str]:
    """List what was imported, down to the depth at which packages lie in namespaces."""
    names = [name.split(".") for name, module in list(sys.modules.items()) if module is not None]
    short = [parts for parts in names if len(parts) < 4 and all(part.isidentifier() for part in parts)]
    return [".".join(parts) for parts in sorted(short, key=lambda parts: (len(parts), parts))[:5000]]


def outside_modules(folders: list[str]) -> list[str]:
    """List modules from outside of *folders*, with their files."""
    inside = tuple(os.path.realpath(path) + os.sep for path in folders)
    found = []
    for name, module in sorted(sys.modules.items()):
        path = getattr(module, "__file__", None)
        if path and os.path.isabs(path) and not os.path.realpath(path).startswith(inside):
            found.append(f"{name} ({path})")
    return found
