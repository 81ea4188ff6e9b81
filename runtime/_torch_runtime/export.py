"""From a loaded model to an AOTInductor package."""

from __future__ import annotations

import itertools
from typing import Any, Dict, List, Tuple

import torch

from .answers import name_outputs
from .errors import NotExportableError, describe
from .fields import Field
from .loaded import LoadedModel


def presences(inputs: list[Field]) -> list[list[bool]]:
    """Return which optional inputs may be present together: every subset, or only all and none if there are many."""
    optional = [field.optional for field in inputs]
    if sum(optional) > 2:
        return [[True] * len(optional), [not one for one in optional]]
    return [
        list(choice) for choice in itertools.product(*[(True, False) if o else (True,) for o in optional])
    ]


def export(model: LoadedModel, values: list[Any]) -> tuple[Any, dict[str, Any]]:
    """Export *model* for example *values* of its inputs, None where one is absent; batch and ``-1`` dims may vary.

    Returns: the program, and what a :class:`~.package.Package` needs to know about it: the ``dims`` of its inputs,
    numbers, or names of dims that vary, and the ``ranges`` of those. Export itself does not guarantee a batch of
    one.
    """

    class Served(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model.eager

        def forward(self, *tensors: Any) -> Any:
            given = iter(tensors)
            arguments = [None if value is None else next(given) for value in values]
            return tuple(name_outputs(model.result(self.model, arguments), model.outputs))

    batch = (-1,) if model.max_batch > 1 else (1,) if model.max_batch else ()
    present = [(field, value) for field, value in zip(model.inputs, values) if value is not None]
    try:
        dims = tuple(
            {axis: torch.export.Dim.DYNAMIC for axis, size in enumerate(batch + field.dims) if size == -1}
            for field, _ in present
        )
        program = torch.export.export(
            Served().eval(), tuple(value for _, value in present), dynamic_shapes=(dims,)
        )
    except Exception as error:
        raise NotExportableError(f"torch.export: {describe(error, '')}") from error
    return program, _shapes(program)


def _shapes(program: Any) -> dict[str, Any]:
    """Return the dims of a program's inputs, and the ranges of those that vary."""
    shown = {node.name: node.meta.get("val") for node in program.graph.nodes if node.op == "placeholder"}
    sizes = [list(shown[name].shape) for name in program.graph_signature.user_inputs]
    for size in itertools.chain(*sizes):
        if not isinstance(size, int) and not size.node.expr.is_Symbol:
            raise NotExportableError(f"a dim of an input depends on another one: {size}")
    named = [[size if isinstance(size, int) else str(size.node.expr) for size in one] for one in sizes]
    ranges = {}
    for symbol, bounds in program.range_constraints.items():
        upper = int(bounds.upper) if bounds.upper.is_Integer else None
        ranges[str(symbol)] = [max(2, int(bounds.lower)), upper]
    used = {size for one in named for size in one if isinstance(size, str)}
    if used - set(ranges):
        raise NotExportableError("the bounds of its dims are not known")
    return {"dims": named, "ranges": {name: ranges[name] for name in sorted(used)}}


Exported = Tuple[Dict[str, Any], List[Dict[str, Any]]]
"""Exported programs by variant, and what a package's key records about each variant."""


def export_variants(model: LoadedModel) -> Exported:
    """Export *model* for each set of inputs that may be present.

    Raises:
        NotExportableError: it cannot be exported.
    """
    programs: dict[str, Any] = {}
    variants: list[dict[str, Any]] = []
    examples = model.examples(min(6, model.max_batch) or 1)
    for number, present in enumerate(presences(model.inputs)):
        values = model.tensors([value if there else None for value, there in zip(examples, present)])
        programs[f"variant{number}"], shapes = export(model, values)
        variants.append({"name": f"variant{number}", "present": present, **shapes})
    return programs, variants


def write_package(path: str, programs: dict[str, Any], options: dict[str, Any]) -> bool:
    """Compile exported *programs*, by the names of their variants, to a package at *path*.

    Returns: whether the weights are inside; otherwise the module's own are used.
    """
    try:
        from torch._inductor import config
        from torch._inductor.graph import GraphLowering
        from torch._inductor.package import package_aoti  # type: ignore[attr-defined]  # torch's
    except ImportError:
        raise NotExportableError(f"torch {torch.__version__} makes no AOTInductor packages") from None
    if hasattr(GraphLowering, "can_inline_constant"):  # small weights would be written into the code
        GraphLowering.can_inline_constant = staticmethod(lambda value: False)  # type: ignore[assignment, method-assign]
    # On a CPU, max_autotune packs weights for the processor: they are no longer the module's.
    packs = options.get("max_autotune") or options.get("max_autotune_gemm")
    packs = packs and all(t.is_cpu for program in programs.values() for t in program.example_inputs[0])
    inside = bool(packs) or any(program.constants for program in programs.values())
    options = {
        **options,
        "aot_inductor.package": True,
        "aot_inductor.package_constants_in_so": inside,
        "freezing": False,  # the weights stay the module's own, and may differ next time
        "joint_graph_constant_folding": False,  # weights that are all 1 would become constants
        "cpp.dynamic_threads": True,  # it may serve with another number of threads, and on another machine
    }
    if hasattr(config.aot_inductor, "precompile_headers"):
        options["aot_inductor.precompile_headers"] = False  # used once each, they take longer than they save
    made: dict[str, Any] = {}
    for name, program in programs.items():
        arguments, _ = program.example_inputs
        try:
            made[name] = torch._inductor.aot_compile(program.module(), arguments, options=options)
        except Exception as error:
            raise NotExportableError(f"AOTInductor: {describe(error, '')}") from error
    package_aoti(path, made)
    return inside
