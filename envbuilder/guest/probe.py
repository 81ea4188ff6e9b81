"""What is run inside an environment, by its own Python, as a release's stub would run it. Python 3.8 and later.

It is a script and imports nothing of envbuilder: ``python3 -I -X utf8=0 probe.py JOB.json``. The job says where the
model and the stand-in for Triton's module lie; the answer is written as JSON beside it, and the answers of the
model as an ``.npz`` file, for a real server's to be compared with.
"""

from __future__ import annotations

import importlib.util
import json
import locale
import os
import shutil
import subprocess
import sys
import time
import traceback
from collections.abc import Iterable
from typing import Any

BFLOAT16 = 14
"""Its number in Triton's enumeration."""
TOLERANCES = {"float16": (1e-2, 1e-3), "float32": (1e-4, 1e-5), "float64": (1e-8, 1e-9)}
"""Relative and absolute, by dtype: what compiled code may differ by from eager. Others are compared exactly."""


def main(job_path: str) -> None:
    """Do the job in *job_path*; write what was found to the path that it names."""
    with open(job_path, encoding="utf-8") as file:
        job = json.load(file)
    found: dict[str, Any] = {"conditions": conditions()}
    strip_library_path(sys.prefix)
    sys.path[:0] = [job["model"] + "/" + job["version"], job["model"], job["standin"]]
    try:
        Probe(job, found).run()
    except Exception as error:
        found.setdefault("failed", {"stage": "probe", "text": words(error), "trace": traceback.format_exc()})
    draft = job["answer"] + ".draft"
    with open(draft, "w", encoding="utf-8") as file:
        json.dump(found, file)
    os.replace(draft, job["answer"])


def conditions() -> dict[str, Any]:
    """Say how this process was started."""
    return {
        "python": "%d.%d.%d" % sys.version_info[:3],  # noqa: UP031 - f-strings cannot spread a tuple
        "prefix": sys.prefix,
        "isolated": sys.flags.isolated,
        "utf8_mode": sys.flags.utf8_mode,
        "locale": locale.setlocale(locale.LC_CTYPE),
        "variables": sorted(os.environ),
    }


def strip_library_path(prefix: str) -> None:
    """Take the first ``ENV/lib`` off LD_LIBRARY_PATH, as the stub does once it runs."""
    library = os.path.join(prefix, "lib")
    parts = os.environ.get("LD_LIBRARY_PATH", "").split(":")
    if library in parts:
        parts.remove(library)
    os.environ["LD_LIBRARY_PATH"] = ":".join(parts)


def words(error: BaseException) -> str:
    """Return an error in a line or a few, its cause last."""
    text = (
        f"{type(error).__name__}: {error}" if type(error).__name__ != "TritonModelException" else str(error)
    )
    return text[:2000]


class StageError(Exception):
    """A stage failed, and the ones after it cannot be tried."""


class Probe:
    """One run: each stage writes what it found."""

    def __init__(self, job: dict[str, Any], found: dict[str, Any]) -> None:
        self.job = job
        self.found = found
        self.config = job["config"]
        self.max_batch = int(self.config.get("max_batch_size", 0))

    def run(self) -> None:
        """Run the stages in the order in which a server meets them."""
        try:
            runtime = self.stage("runtime", self.import_runtime)
            self.found["torch"] = self.stage("import", self.import_torch)
            self.found["child"] = self.stage("child", self.run_child)
            import triton_python_backend_utils as pb_utils

            self.pb_utils = pb_utils
            for kind in ["CPU", "GPU"] if self.gpu() else ["CPU"]:
                self.found[kind] = {}
                self.serve(runtime, kind, self.found[kind])
        except StageError:
            pass
        finally:
            self.found["modules"] = outside_modules(self.job)
            self.found["libraries"] = outside_libraries(self.job)

    def stage(self, name: str, work: Any, *args: Any) -> Any:
        """Do *work*; its error is kept under the stage's name."""
        try:
            return work(*args)
        except StageError:
            raise
        except Exception as error:
            self.found["failed"] = {"stage": name, "text": words(error), "trace": traceback.format_exc()}
            raise StageError(name) from error

    def import_runtime(self) -> Any:
        """Import the model file as the stub does, and let it prepare the process."""
        path = self.runtime_path()
        name = os.path.splitext(os.path.basename(path))[0]
        spec = importlib.util.spec_from_file_location(name, path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
        if hasattr(module, "runtime_module"):
            module.runtime_module("process").prepare_process(1)
        return module

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
        found["own"] = not hasattr(
            runtime, "runtime_module"
        )  # a TritonPythonModel of the user's: no eager form
        eager = None
        if not found["own"]:
            model = self.stage("eager", self.load, kind, {"disable": True})
            eager = {size: self.stage("eager", self.ask, model, [case])[0] for size, case in inputs.items()}
            model.finalize()
        options = self.compile_options(kind, found)
        began = time.perf_counter()
        model = self.stage("compiled", self.load, kind, options)
        found["load_seconds"] = time.perf_counter() - began
        found["compiled"] = not found["own"] and model.instance.engine.compiler is not None
        found["graphs"] = unique_graphs()
        answers = {size: self.stage("answer", self.ask, model, [case])[0] for size, case in inputs.items()}
        if self.max_batch > 1:
            together = self.stage("answer", self.ask, model, [inputs["1"], inputs["1"]])
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
        """Compare two answers; outputs of bfloat16 roughly."""
        return differences(found, expected, self.job["bfloat16"])

    def save(self, answers: dict[str, Any]) -> None:
        """Write answers for a server's to be compared with."""
        import numpy as np

        arrays = {
            f"{size}/{name}": savable(a) for size, answer in answers.items() for name, a in answer.items()
        }
        np.savez(self.job["outputs"], **arrays)

    def compile_options(self, kind: str, found: dict[str, Any]) -> dict[str, Any]:
        """Return the options to compile with: the model's own, or ones that need no compiler where there is none."""
        parameter = self.config.get("parameters", {}).get("TORCH_COMPILE_OPTIONAL_PARAMETERS", {})
        options: dict[str, Any] = json.loads(parameter.get("string_value") or "{}")
        found["compiler"] = cpp_compiler()
        own = (
            "CXX" in os.environ
        )  # said by the environment, or by who serves: nothing else may stand in for it
        inductor = options.get("backend", "inductor") == "inductor"
        if kind == "CPU" and inductor and not found["compiler"] and not own:
            options = {k: v for k, v in options.items() if k not in ("mode", "options")}
            options["backend"] = "aot_eager"  # everything of torch.compile but the code that Inductor writes
        found["backend"] = options.get("backend", "inductor")
        return options

    def load(self, kind: str, options: dict[str, Any]) -> Any:
        """Initialize the model as the stub does."""
        parameters = dict(self.config.get("parameters", {}))
        parameters["TORCH_COMPILE_OPTIONAL_PARAMETERS"] = {"string_value": json.dumps(options)}
        group = [{"count": 1, "kind": f"KIND_{kind}", **({"gpus": [0]} if kind == "GPU" else {})}]
        return self.pb_utils.Model(
            self.runtime_path(),
            self.job["model"],
            {**self.config, "parameters": parameters, "instance_group": group},
            name=self.config["name"],
            version=self.job["version"],
            kind=kind,
        )

    def runtime_path(self) -> str:
        """Return the file that Triton imports for this model."""
        path: str = os.path.join(self.job["model"], self.job["version"], self.job["file"])
        return path

    def ask(self, model: Any, requests: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Return the answers to *requests*, sent together."""
        made = [
            self.pb_utils.InferenceRequest([self.tensor(name, array) for name, array in request.items()])
            for request in requests
        ]
        answers = []
        for response in model.execute(made):
            if response.has_error():
                raise RuntimeError(response.error().message())
            answers.append({tensor.name(): as_array(tensor) for tensor in response.output_tensors()})
        return answers

    def tensor(self, name: str, array: Any) -> Any:
        """Return an input as Triton hands it over."""
        if name in self.job["bfloat16"]:
            import torch

            return self.pb_utils.Tensor.from_dlpack(name, torch.from_numpy(array).bfloat16())
        return self.pb_utils.Tensor(name, array)


def as_array(tensor: Any) -> Any:
    """Return a Triton tensor as an array that NumPy can compare, wherever it lies."""
    if tensor.is_cpu() and tensor.triton_dtype() != BFLOAT16:
        return tensor.as_numpy()
    from torch.utils.dlpack import from_dlpack

    value = from_dlpack(tensor.to_dlpack()).cpu()
    return value.float().numpy() if tensor.triton_dtype() == BFLOAT16 else value.numpy()


def savable(array: Any) -> Any:
    """Return an array that an .npz file holds without pickling."""
    return array.astype("S") if array.dtype == object else array


def differences(found: dict[str, Any], expected: dict[str, Any], rough: Iterable[str] = ()) -> list[str]:
    """Say in which outputs *found* is another answer than *expected*; *rough* ones were of half precision."""
    import numpy as np

    texts = []
    for name in sorted(set(found) | set(expected)):
        if name not in found or name not in expected:
            texts.append(f"{name} is in one answer only")
            continue
        a, b = found[name], expected[name]
        if a.dtype != b.dtype or a.shape != b.shape:
            texts.append(f"{name} is {a.dtype}{list(a.shape)}, eager gives {b.dtype}{list(b.shape)}")
        elif a.dtype.name in TOLERANCES:
            relative, absolute = TOLERANCES["float16" if name in rough else a.dtype.name]
            if not np.allclose(a, b, rtol=relative, atol=absolute, equal_nan=True):
                worst = float(np.nanmax(np.abs(a.astype("float64") - b.astype("float64"))))
                texts.append(f"{name} differs from eager by up to {worst:.3g}")
        elif not np.array_equal(a, b):
            texts.append(f"{name} differs from eager in {int(np.sum(a != b))} of {a.size} values")
    return texts


def unique_graphs() -> int:
    """Return how many graphs Dynamo has compiled in this process."""
    dynamo = sys.modules.get("torch._dynamo.utils")
    return int(dynamo.counters["stats"].get("unique_graphs", 0)) if dynamo else 0


def cpp_compiler() -> str | None:
    """Return the C++ compiler that Inductor would find, if any."""
    named = os.environ.get("CXX")
    names = [named] if named else ["g++", "clang++", "c++"]
    return next((path for path in map(shutil.which, names) if path), None)


def outside_modules(job: dict[str, Any]) -> list[str]:
    """List modules that came from neither the environment nor the model, and where from."""
    roots = [sys.prefix, job["model"], job["standin"], *job["caches"]]
    inside = tuple(os.path.realpath(path) + os.sep for path in roots)
    found = []
    for name, module in sorted(sys.modules.items()):
        path = getattr(module, "__file__", None)
        if (
            name != "__main__"
            and path
            and os.path.isabs(path)
            and not os.path.realpath(path).startswith(inside)
        ):
            found.append(f"{name} ({path})")
    return found


def outside_libraries(job: dict[str, Any]) -> list[str]:
    """List shared libraries loaded from outside the environment."""
    roots = tuple(os.path.realpath(path) + os.sep for path in [sys.prefix, *job["caches"]])
    with open("/proc/self/maps", encoding="utf-8", errors="replace") as file:
        paths = {line.split(None, 5)[5].strip() for line in file if len(line.split(None, 5)) == 6}
    return sorted(path for path in paths if ".so" in path and not path.startswith(roots))


if __name__ == "__main__":
    main(sys.argv[1])
