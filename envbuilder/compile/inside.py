"""What is run inside an environment to compile a model ahead of time, by the environment's own Python.

It is a script and imports nothing of envbuilder but what lies beside it, the probe and the trial: ``python3 -I -X
utf8=0 -B inside.py JOB.json``. The model is loaded by the runtime, exported, compiled by AOTInductor, packaged, and
served from the package by the runtime, whose answers are compared with eager's.
"""

from __future__ import annotations

import importlib
import itertools
import json
import os
import sys
import traceback
import zipfile
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from envbuilder.compile import description, trial
else:
    sys.path.insert(
        0, os.path.dirname(os.path.abspath(__file__))
    )  # an isolated Python has not its script's folder
    description, trial = importlib.import_module("description"), importlib.import_module("trial")

MODE_WITHOUT_PACKAGE = ("reduce-overhead", "max-autotune")
"""Modes of torch.compile that use CUDA graphs, which a package has not."""


class NotCompiled(trial.NotExportable):
    """The model is not compiled when it is served, either."""


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
        self.runtime = self.probe.import_runtime()
        self.runtime.import_torch()
        import torch
        import triton_python_backend_utils as pb_utils

        self.probe.pb_utils = pb_utils
        self.torch = torch
        if self.job["task"] == "describe":
            return description.describe(self)
        devices = {}
        for kind in self.job["kinds"] or self.kinds():
            compilation = Compilation(self, kind)
            try:
                devices[kind] = (
                    compilation.make_caches() if self.job["task"] == "caches" else compilation.make_package()
                )
            except NotCompiled as error:
                devices[kind] = {"reason": str(error), "compiled": False}
            except trial.NotExportable as error:
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
        self.job, self.kind = job, kind
        self.runtime, self.torch, self.probe = job.runtime, job.torch, job.probe
        self.options = json.loads(
            job.config.get("parameters", {}).get("TORCH_COMPILE_OPTIONAL_PARAMETERS", {}).get("string_value")
            or "{}"
        )

    def make_caches(self) -> dict[str, Any]:
        """Load the model as the server will, and keep what Inductor has in its caches then."""
        import torch._inductor.config
        from torch._inductor.codecache import cache_dir  # type: ignore[attr-defined]  # where all versions have it

        if hasattr(torch._inductor.config, "cpp_cache_precompile_headers"):  # as the runtime does
            torch._inductor.config.cpp_cache_precompile_headers = False
        model = self.probe.load(self.kind, self.options)
        self.instance = model.instance
        if self.instance._compiler is None:
            raise NotCompiled("torch.compile fails, and COMPILE_FALLBACK says eager")
        with self.instance._mode():
            self.instance._warm_other_branches()  # as the runtime does once it has such caches
        path = self.runtime.compiled_file(self.instance._folder, self.instance._device, "zip")
        key = self.key()
        root = cache_dir()
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr(self.runtime.KEY_FILE, json.dumps(key, sort_keys=True))
            for folder, folders, names in os.walk(root):
                folders.sort()
                for name in sorted(names):
                    file = os.path.join(folder, name)
                    if not name.endswith((".lock", ".gch")):
                        archive.write(file, os.path.relpath(file, root))
        model.finalize()
        return {"file": os.path.basename(path)}

    def make_package(self) -> dict[str, Any]:
        """Make the package and compare it; return where it is, and how far it is from eager."""
        self.model = self.probe.load(self.kind, {**self.options, "disable": True})
        self.instance = self.model.instance
        self.inputs = self.instance._inputs
        self.check_options()
        path = self.runtime.compiled_file(self.instance._folder, self.instance._device)
        package_aoti = self.packager()
        try:
            with self.instance._mode():
                programs, key = self.export_all()
                inside = any(program.constants for program in programs)
                names = [variant["name"] for variant in key["variants"]]
                made = [self.compile(program, inside) for program in programs]
                package_aoti(path, dict(zip(names, made)))  # noqa: B905 - Python 3.8
                key["weights"] = {} if inside else self.weights()
                tried = trial.Trial(self.instance, self.runtime, path, self.job.job["sizes"])
                error = tried.compare(key)
                if inside or not tried.takes_other_weights(key):
                    weights_file = self.instance._files.weights
                    key["weights file"] = self.runtime.digest_files([weights_file] if weights_file else [])
            self.write_key(path, key)
            self.check_served()
        except trial.NotExportable:
            if os.path.exists(path):
                os.remove(path)
            raise
        self.model.finalize()
        return {"file": os.path.basename(path), "error": error, "updatable": "weights file" not in key}

    def export_all(self) -> tuple[list[Any], dict[str, Any]]:
        """Export the model for each set of inputs that may be there; return the programs, and the key so far."""
        programs, variants = [], []
        for number, present in enumerate(self.presences()):
            program, shapes = self.export(present)
            programs.append(program)
            variants.append({"name": f"variant{number}", "present": present, **shapes})
        return programs, {**self.key(), "variants": variants}

    def check_options(self) -> None:
        """Refuse what torch.compile does and a package cannot."""
        if not self.runtime.can_compile(self.instance._eager, self.inputs):
            kinds = (
                "takes strings"
                if any(f.data_type == "STRING" for f in self.inputs)
                else "is compiled already"
            )
            raise NotCompiled(f"it {kinds}")
        if self.options.get("disable"):
            raise NotCompiled("TORCH_COMPILE_OPTIONAL_PARAMETERS says disable")
        if self.options.get("backend", "inductor") != "inductor":
            raise NotCompiled(f"its torch.compile backend is {self.options['backend']}, not inductor")
        if self.options.get("dynamic") is False:
            raise trial.NotExportable(
                "TORCH_COMPILE_OPTIONAL_PARAMETERS says dynamic: false, a graph for each size"
            )
        graphs = self.options.get("options", {}).get("triton.cudagraphs")
        if self.kind == "GPU" and (graphs or self.options.get("mode") in MODE_WITHOUT_PACKAGE):
            raise trial.NotExportable("its mode uses CUDA graphs, which a package has not")

    def packager(self) -> Any:
        """Return what packages several compiled models into one file."""
        try:
            from torch._inductor.package import package_aoti  # type: ignore[attr-defined]  # torch's

            return package_aoti
        except ImportError:
            raise trial.NotExportable(
                f"torch {self.torch.__version__} makes no AOTInductor packages"
            ) from None

    def presences(self) -> list[list[bool]]:
        """Return which inputs may be there together: all sets of optional ones, or all and none of many."""
        optional = [field.optional for field in self.inputs]
        if sum(optional) > 2:
            return [[True] * len(optional), [not one for one in optional]]
        choices = itertools.product(*[(True, False) if one else (True,) for one in optional])
        return [list(choice) for choice in choices]

    def export(self, present: list[bool]) -> tuple[Any, dict[str, Any]]:
        """Export the model for the inputs *present*, their batch and ``-1`` dims dynamic."""
        torch = self.torch
        size = min(6, self.job.max_batch) or 1
        values = [
            self.instance._example(field, size) if there else None
            for field, there in zip(self.inputs, present)  # noqa: B905 - Python 3.8
        ]
        tensors = tuple(tensor for tensor in self.instance._tensors(values) if tensor is not None)
        fields = [field for field, there in zip(self.inputs, present) if there]  # noqa: B905
        dims = tuple(self.dynamic(field) for field in fields)
        served = self.served(present)
        try:
            program = torch.export.export(served, tensors, dynamic_shapes=(dims,))
        except Exception as error:
            raise trial.NotExportable(f"torch.export: {one_line(error)}") from error
        nodes = {node.name: node for node in program.graph.nodes if node.op == "placeholder"}
        shapes = [self.shape(nodes[name].meta["val"]) for name in program.graph_signature.user_inputs]
        ranges = {
            str(symbol): [max(2, int(bounds.lower)), int(bounds.upper) if bounds.upper.is_Integer else None]
            for symbol, bounds in program.range_constraints.items()
        }
        used = {size for shape in shapes for size in shape if isinstance(size, str)}
        if used - set(ranges):
            raise trial.NotExportable("the bounds of its dims are not known")
        return program, {"dims": shapes, "ranges": {name: ranges[name] for name in sorted(used)}}

    def dynamic(self, field: Any) -> dict[int, Any]:
        """Return the axes of an input that vary."""
        any_size = self.torch.export.Dim.DYNAMIC
        sizes = ((-1,) if self.job.max_batch > 1 else (1,) if self.job.max_batch else ()) + field.dims
        return {axis: any_size for axis, size in enumerate(sizes) if size == -1}

    def shape(self, value: Any) -> list[Any]:
        """Return the sizes of an exported input: numbers, and names of what varies."""
        sizes: list[Any] = []
        for size in value.shape:
            if isinstance(size, int):
                sizes.append(size)
            elif size.node.expr.is_Symbol:
                sizes.append(str(size.node.expr))
            else:
                raise trial.NotExportable(f"a dim of an input depends on another one: {size}")
        return sizes

    def served(self, present: list[bool]) -> Any:
        """Return the model as the runtime calls it: inputs and outputs in the order of the configuration."""
        instance, name_outputs = self.instance, self.runtime.name_outputs
        torch = self.torch

        class Served(torch.nn.Module):  # type: ignore[misc, name-defined]  # torch's own type is not known here
            def __init__(self, model: Any) -> None:
                super().__init__()
                self.model = model

            def forward(self, *tensors: Any) -> Any:
                given = iter(tensors)
                values = [next(given) if there else None for there in present]
                positional, by_name = instance._arguments.arrange(values)
                return tuple(name_outputs(self.model(*positional, **by_name), instance._outputs))

        return Served(instance._eager).eval()

    def compile(self, program: Any, inside: bool) -> Any:
        """Compile an exported model to the files of a package."""
        options = dict(self.options.get("options") or {})
        if self.options.get("mode"):
            options.update(self.torch._inductor.list_mode_options(self.options["mode"]))
        options.pop("triton.cudagraphs", None)
        options.update(
            {
                "aot_inductor.package": True,
                "aot_inductor.package_constants_in_so": inside,
                "joint_graph_constant_folding": False,  # weights that are all 1 would be taken for constants
                "cpp.dynamic_threads": True,  # the server's CPUs are not this machine's
            }
        )
        from torch._inductor.graph import GraphLowering

        if hasattr(GraphLowering, "can_inline_constant"):  # small weights would be written into the code
            GraphLowering.can_inline_constant = staticmethod(lambda value: False)  # type: ignore[assignment, method-assign]
        arguments, _ = program.example_inputs
        try:
            return self.torch._inductor.aot_compile(program.module(), arguments, options=options)
        except Exception as error:
            raise trial.NotExportable(f"AOTInductor: {one_line(error)}") from error

    def key(self) -> dict[str, Any]:
        """Return what compiled code of this model belongs to: what the runtime compares, and what deploy does."""
        instance = self.instance
        key = self.runtime.fitting_key(instance._folder, instance._files, self.job.config, instance._device)
        return {**key, "kind": self.kind, "made of": self.job.job["made_of"]}

    def weights(self) -> dict[str, str]:
        """Return what the package takes for granted of the module's weights."""
        tensors = trial.module_tensors(self.instance._eager)
        return {name: self.runtime.describe_tensor(tensor) for name, tensor in tensors.items()}

    def write_key(self, path: str, key: dict[str, Any]) -> None:
        """Put the key into the package at *path*."""
        draft = path + ".draft"
        with zipfile.ZipFile(path) as old, zipfile.ZipFile(draft, "w") as new:
            for member in old.infolist():
                if not member.filename.endswith("/" + self.runtime.KEY_FILE):
                    new.writestr(member, old.read(member))
            root = old.namelist()[0].split("/")[0]
            new.writestr(f"{root}/extra/{self.runtime.KEY_FILE}", json.dumps(key, sort_keys=True))
        os.replace(draft, path)

    def check_served(self) -> None:
        """Load the model as the server will, which must take the package."""
        import triton_python_backend_utils as pb_utils

        pb_utils.Logger.lines.clear()
        model = self.probe.load(self.kind, self.options)
        served = model.instance._package is not None
        model.finalize()
        if not served:
            said = [text for _, text in pb_utils.Logger.lines if " is not used: " in text]
            raise trial.NotExportable("the runtime does not take the package: " + "; ".join(said))


if __name__ == "__main__":
    main(sys.argv[1])
