"""Try a model as a release's stub would: import, load, compile, answer, and compare with the model uncompiled."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
import traceback
from typing import Any

from .equality import differences, rough_outputs
from .host import Host, words


class StageError(Exception):
    """A stage failed, and the ones after it cannot be tried."""


class Probe:
    """One run: each stage writes what it found."""

    def __init__(self, host: Host, found: dict[str, Any], *, outside: str) -> None:
        """Keep what is found in *found*; what is loaded from the folder *outside* is no part of the environment."""
        self.host, self.job, self.found = host, host.job, found
        self.rough = rough_outputs(host.config)
        self.folders = [sys.prefix, self.job["model"], outside, *self.job["caches"]]

    def run(self) -> None:
        """Run the stages in the order in which a server meets them."""
        try:
            runtime = self.stage("runtime", self.host.import_file)
            self.found["torch"] = self.stage("import", self.import_torch)
            self.found["child"] = self.stage("child", self.run_child)
            for kind in ["CPU", "GPU"] if self.gpu() else ["CPU"]:
                self.found[kind] = {}
                self.serve(runtime, kind, self.found[kind])
        except StageError:
            pass
        finally:
            self.found["modules"] = outside_modules(self.folders)
            self.found["libraries"] = outside_libraries([sys.prefix, *self.job["caches"]])

    def stage(self, name: str, work: Any, *args: Any) -> Any:
        """Do *work*; its error is kept under the stage's name."""
        try:
            return work(*args)
        except StageError:
            raise
        except Exception as error:
            self.found["failed"] = {"stage": name, "text": words(error), "trace": traceback.format_exc()}
            raise StageError(name) from error

    def import_torch(self) -> dict[str, Any]:
        """Import torch, and say what it is."""
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
        """Say whether a GPU can be used."""
        import torch

        return bool(torch.cuda.is_available())

    def run_child(self) -> dict[str, str]:
        """Start this Python as torch does for its workers; it has to find its library by itself."""
        script = "import sys, ctypes, hashlib, ssl, sqlite3, lzma, bz2, zlib; print(sys.prefix)"
        done = subprocess.run(
            [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        output = done.stdout.decode(errors="replace").strip()
        return {"executable": sys.executable, "returncode": str(done.returncode), "output": output[-1000:]}

    # -- serving

    def serve(self, runtime: Any, kind: str, found: dict[str, Any]) -> None:
        """Load the model eager and as configured on a device of *kind*; ask both the same."""
        inputs = self.inputs()
        # A TritonPythonModel of the user's has no eager form.
        found["own"] = not hasattr(runtime, "runtime_module")
        eager = None
        if not found["own"]:
            model = self.stage("eager", self.host.load, kind, {"disable": True})
            eager = {
                size: self.stage("eager", self.host.ask, model, [case])[0] for size, case in inputs.items()
            }
            model.finalize()
        options = self.options(kind, found)
        began = time.perf_counter()
        model = self.stage("compiled", self.host.load, kind, options)
        found["load_seconds"] = time.perf_counter() - began
        found["compiled"] = not found["own"] and self.host.engine(model).compiler is not None
        found["graphs"] = unique_graphs()
        answers = {
            size: self.stage("answer", self.host.ask, model, [case])[0] for size, case in inputs.items()
        }
        if self.host.max_batch > 1:
            together = self.stage("answer", self.host.ask, model, [inputs["1"], inputs["1"]])
            found["together"] = [text for one in together for text in self.differences(one, answers["1"])]
        found["recompiles"] = unique_graphs() - found["graphs"]
        model.finalize()
        self.compare(answers, eager or answers, found)
        if kind == "CPU":
            self.save(eager or answers)

    def inputs(self) -> dict[str, dict[str, Any]]:
        """Read the inputs: for each batch size an array for each input."""
        import numpy as np

        cases: dict[str, dict[str, Any]] = {}
        with np.load(self.job["inputs"]) as data:
            for key in sorted(data.files, key=lambda key: int(key.partition("/")[0])):
                size, _, name = key.partition("/")
                cases.setdefault(size, {})[name] = data[key]
        return cases

    def compare(self, answers: dict[str, Any], expected: dict[str, Any], found: dict[str, Any]) -> None:
        """Note what is empty, and what is another answer than *expected*."""
        found["sizes"] = [int(size) for size in answers]
        found["shapes"] = {name: list(array.shape) for name, array in next(iter(answers.values())).items()}
        found["empty"] = sorted(
            {name for one in answers.values() for name, array in one.items() if not array.size}
        )
        found["differs"] = [
            f"batch of {size}: {text}"
            for size, answer in answers.items()
            for text in self.differences(answer, expected[size])
        ]

    def differences(self, found: dict[str, Any], expected: dict[str, Any]) -> list[str]:
        """Compare two answers."""
        return differences(found, expected, self.rough)

    def save(self, answers: dict[str, Any]) -> None:
        """Write answers for a server's to be compared with."""
        import numpy as np

        arrays = {
            f"{size}/{name}": array.astype("S") if array.dtype == object else array  # nothing pickled
            for size, answer in answers.items()
            for name, array in answer.items()
        }
        np.savez(self.job["outputs"], **arrays)

    def options(self, kind: str, found: dict[str, Any]) -> dict[str, Any]:
        """Return the options to compile with: the model's own, or ones that need no compiler where there is none."""
        options = self.host.compile_options
        found["compiler"] = cpp_compiler()
        # Named by the environment, or by who serves: nothing else may stand in for it.
        named = "CXX" in os.environ
        inductor = options.get("backend", "inductor") == "inductor"
        if kind == "CPU" and inductor and not found["compiler"] and not named:
            options = {k: v for k, v in options.items() if k not in ("mode", "options")}
            options["backend"] = "aot_eager"  # everything of torch.compile but the code that Inductor writes
        found["backend"] = options.get("backend", "inductor")
        return options


def unique_graphs() -> int:
    """Return how many graphs Dynamo has compiled in this process."""
    dynamo = sys.modules.get("torch._dynamo.utils")
    return int(dynamo.counters["stats"].get("unique_graphs", 0)) if dynamo else 0


def cpp_compiler() -> str | None:
    """Return the C++ compiler that Inductor would find, if any."""
    named = os.environ.get("CXX")
    names = [named] if named else ["g++", "clang++", "c++"]
    return next((path for path in map(shutil.which, names) if path), None)


def outside_modules(folders: list[str]) -> list[str]:
    """List modules that came from none of *folders*, and where from."""
    inside = tuple(os.path.realpath(path) + os.sep for path in folders)
    found = []
    for name, module in sorted(sys.modules.items()):
        path = getattr(module, "__file__", None)
        if path and os.path.isabs(path) and not os.path.realpath(path).startswith(inside):
            found.append(f"{name} ({path})")
    return found


def outside_libraries(folders: list[str]) -> list[str]:
    """List shared libraries loaded from none of *folders*."""
    roots = tuple(os.path.realpath(path) + os.sep for path in folders)
    with open("/proc/self/maps", encoding="utf-8", errors="replace") as file:
        paths = {line.split(None, 5)[5].strip() for line in file if len(line.split(None, 5)) == 6}
    return sorted(path for path in paths if ".so" in path and not path.startswith(roots))
