"""Compile a model ahead of time: loaded by the runtime, exported, compiled by AOTInductor, packaged, and compared.

What cannot be exported leaves Inductor's caches in place of a package.
"""

from __future__ import annotations

import json
import os
import zipfile
from typing import TYPE_CHECKING, Any

from .compare_package import Trial
from .describe import describe
from .host import Host

if TYPE_CHECKING:
    from _torch_runtime.engine import Engine

MODE_WITHOUT_PACKAGE = ("reduce-overhead", "max-autotune")
"""Modes of torch.compile that use CUDA graphs, which packages do not support."""


class NotCompiled(Exception):
    """The model is not compiled while serving, either; the message says why."""


class Job:
    """One version of one model, for each kind of device that its instances are on."""

    def __init__(self, host: Host) -> None:
        self.host, self.task = host, host.job["task"]

    def run(self) -> dict[str, Any]:
        """Describe the model, or compile it for each device; return the results by device."""
        runtime = self.host.import_file()
        if self.task == "describe":
            return describe(self.host, runtime, "GPU" if self.kinds() == ["GPU"] else "CPU")
        import torch

        devices = {}
        for kind in self.host.job["kinds"] or self.kinds():
            compilation = Compilation(self.host, runtime, kind)
            try:
                devices[kind] = (
                    compilation.make_caches() if self.task == "caches" else compilation.make_package()
                )
            except NotCompiled as error:
                devices[kind] = {"reason": str(error), "compiled": False}
            except compilation.refusal as error:
                devices[kind] = {"reason": str(error), "compiled": True}
        return {"devices": devices, "torch": torch.__version__}

    def kinds(self) -> list[str]:
        """Return the kinds of device to compile for: those of the instances that this machine has."""
        import torch

        groups = self.host.config.get("instance_group") or [{}]
        wanted = {group.get("kind", "KIND_AUTO") for group in groups}
        here = torch.cuda.is_available()
        kinds = []
        if "KIND_CPU" in wanted or not here:
            kinds.append("CPU")
        if here and wanted - {"KIND_CPU"}:
            kinds.append("GPU")
        return kinds


class Compilation:
    """One model on one kind of device."""

    def __init__(self, host: Host, runtime: Any, kind: str) -> None:
        self.host, self.kind, self.options = host, kind, host.compile_options
        self.runtime_module = runtime.runtime_module
        self.refusal: type[Exception] = runtime.runtime_module("errors").NotExportableError

    def load(self, options: dict[str, Any]) -> tuple[Any, Engine]:
        """Load the model with *options* for torch.compile."""
        loaded = self.host.load(self.kind, options)
        return loaded, self.host.engine(loaded)

    def make_caches(self) -> dict[str, Any]:
        """Load the model as the server will, and keep Inductor's caches."""
        import torch._inductor.config
        from torch._inductor.codecache import cache_dir  # type: ignore[attr-defined]  # where all versions have it

        if hasattr(torch._inductor.config, "cpp_cache_precompile_headers"):  # like the runtime
            torch._inductor.config.cpp_cache_precompile_headers = False
        loaded, engine = self.load(self.options)
        if engine.compiler is None:
            raise NotCompiled("torch.compile fails, and COMPILE_FALLBACK is eager")
        self.runtime_module("warmup").warm_other_branches(engine)  # like the runtime with such caches
        path = engine.packages.path("zip")
        root = cache_dir()
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            key = {**engine.packages.key(), **self.made_of()}
            archive.writestr(self.runtime_module("package_key").KEY_FILE, json.dumps(key, sort_keys=True))
            for folder, folders, names in os.walk(root):
                folders.sort()
                for name in sorted(names):
                    file = os.path.join(folder, name)
                    if not name.endswith((".lock", ".gch")):
                        archive.write(file, os.path.relpath(file, root))
        loaded.finalize()
        return {"file": os.path.basename(path)}

    def make_package(self) -> dict[str, Any]:
        """Make the package and compare it; return its path, and its largest difference from eager."""
        loaded, engine = self.load({**self.options, "disable": True})
        self.check_options(engine)
        packages, path = engine.packages, engine.packages.path("pt2")
        try:
            with engine.model.mode:
                key = {**packages.write(path, self.inductor_options()), **self.made_of()}
                tried = Trial(engine, path, self.host.job["sizes"], self.refusal)
                error = tried.compare(key)
                if "weights file" not in key and not tried.accepts_other_weights(key):
                    key["weights file"] = packages.weights_digest()
            self.runtime_module("package_key").write_key(path, key)
            self.check_served()
        except self.refusal:
            if os.path.exists(path):
                os.remove(path)
            raise
        loaded.finalize()
        return {"file": os.path.basename(path), "error": error, "updatable": "weights file" not in key}

    def check_options(self, engine: Engine) -> None:
        """Refuse options of torch.compile that a package does not support."""
        if not engine.model.can_compile:
            strings = any(field.data_type == "STRING" for field in engine.model.inputs)
            raise NotCompiled("it has string inputs" if strings else "it is already compiled")
        if self.options.get("disable"):
            raise NotCompiled("TORCH_COMPILE_OPTIONAL_PARAMETERS sets disable")
        if self.options.get("backend", "inductor") != "inductor":
            raise NotCompiled(f"its torch.compile backend is {self.options['backend']}, not inductor")
        if self.options.get("dynamic") is False:
            raise self.refusal("TORCH_COMPILE_OPTIONAL_PARAMETERS sets dynamic: false: a graph for each size")
        graphs = self.options.get("options", {}).get("triton.cudagraphs")
        if self.kind == "GPU" and (graphs or self.options.get("mode") in MODE_WITHOUT_PACKAGE):
            raise self.refusal("its mode uses CUDA graphs, which a package does not support")

    def inductor_options(self) -> dict[str, Any]:
        """Return the options of Inductor in the configuration."""
        import torch

        options = dict(self.options.get("options") or {})
        if self.options.get("mode"):
            options.update(torch._inductor.list_mode_options(self.options["mode"]))
        options.pop("triton.cudagraphs", None)
        return options

    def made_of(self) -> dict[str, str]:
        """Return the parts of a key that deploy compares."""
        return {"kind": self.kind, "made of": self.host.job["made_of"]}

    def check_served(self) -> None:
        """Load the model as the server will, which must use the package."""
        loaded, engine = self.load(self.options)
        served, refused = engine.package is not None, engine.packages.refused
        loaded.finalize()
        if not served:
            raise self.refusal("the runtime rejects the package: " + "; ".join(refused))
