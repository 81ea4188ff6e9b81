"""What is run inside an environment to compile a model ahead of time, by the environment's own Python.

It is a script and imports nothing of envbuilder but what lies beside it, the probe and the trial: ``python3 -I -X
utf8=0 -B compile.py JOB.json``. The model is loaded by the runtime, exported, compiled by AOTInductor, packaged, and
served from the package by the runtime, whose answers are compared with eager's.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import traceback
import zipfile
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from _torch_runtime.engine import Engine

    from envbuilder.guest import compare_package, describe
else:
    sys.path.insert(
        0, os.path.dirname(os.path.abspath(__file__))
    )  # an isolated Python has not its script's folder
    describe, compare_package = (
        importlib.import_module("describe"),
        importlib.import_module("compare_package"),
    )

MODE_WITHOUT_PACKAGE = ("reduce-overhead", "max-autotune")
"""Modes of torch.compile that use CUDA graphs, which a package has not."""


class NotCompiled(Exception):
    """The model is not compiled when it is served, either; the message says why, in words."""


def main(job_path: str) -> None:
    """Do the job in *job_path*; write what was found to the path that it names."""
    with open(job_path, encoding="utf-8") as file:
        job = json.load(file)
    sys.path[:0] = [job["model"] + "/" + job["version"], job["model"]]
    found: dict[str, Any] = {}
    try:
        found = Job(job).run()
    except Exception as error:
        found["failed"] = {"text": one_line(error)}
        traceback.print_exc()
    draft = job["answer"] + ".draft"
    with open(draft, "w", encoding="utf-8") as file:
        json.dump(found, file)
    os.replace(draft, job["answer"])


def one_line(error: BaseException) -> str:
    """Return an error in one line: what torch says first."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0] if lines else ''}"[:500]


class Job:
    """One version of one model, for each kind of device that its instances are on."""

    def __init__(self, job: dict[str, Any]) -> None:
        probe = importlib.import_module("probe")
        probe.strip_library_path(sys.prefix)
        self.job = job
        self.folder = os.path.join(job["model"], job["version"])
        self.probe = probe.Probe({**job, "bfloat16": job["bfloat16"]}, {})
        self.config = job["config"]
        self.max_batch = int(self.config.get("max_batch_size", 0))

    def run(self) -> dict[str, Any]:
        """Compile for each device; return what came of it, by device."""
        self.runtime_module = self.probe.import_runtime().runtime_module
        self.refusal: type[Exception] = self.runtime_module("errors").NotExportableError
        import torch
        import triton_python_backend_utils as pb_utils

        self.probe.pb_utils = pb_utils
        self.torch = torch
        if self.job["task"] == "describe":
            return describe.describe(self)
        devices = {}
        for kind in self.job["kinds"] or self.kinds():
            compilation = Compilation(self, kind)
            try:
                devices[kind] = (
                    compilation.make_caches() if self.job["task"] == "caches" else compilation.make_package()
                )
            except NotCompiled as error:
                devices[kind] = {"reason": str(error), "compiled": False}
            except self.refusal as error:
                devices[kind] = {"reason": str(error), "compiled": True}
        return {"devices": devices, "torch": torch.__version__}

    def kinds(self) -> list[str]:
        """Return the kinds of device to compile for: those that instances are on, of those that are here."""
        wanted = {group.get("kind", "KIND_AUTO") for group in self.config.get("instance_group") or [{}]}
        here = self.torch.cuda.is_available()
        kinds = []
        if "KIND_CPU" in wanted or not here:
            kinds.append("CPU")
        if here and wanted - {"KIND_CPU"}:
            kinds.append("GPU")
        return kinds


class Compilation:
    """One model on one kind of device."""

    def __init__(self, job: Job, kind: str) -> None:
        self.job, self.kind, self.refusal = job, kind, job.refusal
        self.options = json.loads(
            job.config.get("parameters", {}).get("TORCH_COMPILE_OPTIONAL_PARAMETERS", {}).get("string_value")
            or "{}"
        )

    def load(self, options: dict[str, Any]) -> tuple[Any, Engine]:
        """Load the model with *options* for torch.compile."""
        loaded = self.job.probe.load(self.kind, options)
        return loaded, loaded.instance.engine

    def make_caches(self) -> dict[str, Any]:
        """Load the model as the server will, and keep what Inductor has in its caches then."""
        import torch._inductor.config
        from torch._inductor.codecache import cache_dir  # type: ignore[attr-defined]  # where all versions have it

        if hasattr(torch._inductor.config, "cpp_cache_precompile_headers"):  # as the runtime does
            torch._inductor.config.cpp_cache_precompile_headers = False
        loaded, engine = self.load(self.options)
        if engine.compiler is None:
            raise NotCompiled("torch.compile fails, and COMPILE_FALLBACK says eager")
        engine.warm_other_branches()  # as the runtime does once it has such caches
        path = engine.packages.path("zip")
        root = cache_dir()
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            key = {**engine.packages.key(), **self.made_of()}
            archive.writestr(self.job.runtime_module("package_key").KEY_FILE, json.dumps(key, sort_keys=True))
            for folder, folders, names in os.walk(root):
                folders.sort()
                for name in sorted(names):
                    file = os.path.join(folder, name)
                    if not name.endswith((".lock", ".gch")):
                        archive.write(file, os.path.relpath(file, root))
        loaded.finalize()
        return {"file": os.path.basename(path)}

    def make_package(self) -> dict[str, Any]:
        """Make the package and compare it; return where it is, and how far it is from eager."""
        loaded, engine = self.load({**self.options, "disable": True})
        self.check_options(engine)
        packages, path = engine.packages, engine.packages.path("pt2")
        try:
            with engine.model.mode:
                key = {**packages.write(path, self.inductor_options()), **self.made_of()}
                tried = compare_package.Trial(engine, path, self.job.job["sizes"], self.refusal)
                error = tried.compare(key)
                if "weights file" not in key and not tried.takes_other_weights(key):
                    key["weights file"] = packages.weights_digest()
            self.job.runtime_module("package_key").write_key(path, key)
            self.check_served()
        except self.refusal:
            if os.path.exists(path):
                os.remove(path)
            raise
        loaded.finalize()
        return {"file": os.path.basename(path), "error": error, "updatable": "weights file" not in key}

    def check_options(self, engine: Engine) -> None:
        """Refuse what torch.compile does and a package cannot."""
        if not engine.model.can_compile:
            strings = any(field.data_type == "STRING" for field in engine.model.inputs)
            raise NotCompiled("it takes strings" if strings else "it is compiled already")
        if self.options.get("disable"):
            raise NotCompiled("TORCH_COMPILE_OPTIONAL_PARAMETERS says disable")
        if self.options.get("backend", "inductor") != "inductor":
            raise NotCompiled(f"its torch.compile backend is {self.options['backend']}, not inductor")
        if self.options.get("dynamic") is False:
            raise self.refusal("TORCH_COMPILE_OPTIONAL_PARAMETERS says dynamic: false, a graph for each size")
        graphs = self.options.get("options", {}).get("triton.cudagraphs")
        if self.kind == "GPU" and (graphs or self.options.get("mode") in MODE_WITHOUT_PACKAGE):
            raise self.refusal("its mode uses CUDA graphs, which a package has not")

    def inductor_options(self) -> dict[str, Any]:
        """Return what the configuration asks of Inductor."""
        options = dict(self.options.get("options") or {})
        if self.options.get("mode"):
            options.update(self.job.torch._inductor.list_mode_options(self.options["mode"]))
        options.pop("triton.cudagraphs", None)
        return options

    def made_of(self) -> dict[str, str]:
        """Return what deploy compares of a key."""
        return {"kind": self.kind, "made of": self.job.job["made_of"]}

    def check_served(self) -> None:
        """Load the model as the server will, which must take the package."""
        loaded, engine = self.load(self.options)
        served, refused = engine.package is not None, engine.packages.refused
        loaded.finalize()
        if not served:
            raise self.refusal("the runtime does not take the package: " + "; ".join(refused))


if __name__ == "__main__":
    main(sys.argv[1])
