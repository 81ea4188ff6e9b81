"""Determine the inputs and outputs of a model for its configuration, by running it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from .host import Host

if TYPE_CHECKING:
    from _torch_runtime.loaded import LoadedModel


class Indescribable(Exception):
    """A field cannot be determined; the message says which."""


def describe(host: Host, runtime: Any, kind: str) -> dict[str, Any]:
    """Return the inputs and outputs that config.pbtxt lacks, in its form, with the *kind* of device."""
    import torch

    config = dict(host.config)
    names = {name: kind for kind, name in runtime.runtime_module("fields").TORCH_DTYPES.items()}
    inputs = [] if config.get("input") else _inputs(host, runtime, names)
    if inputs:
        config["input"] = [{**one, "data_type": f"TYPE_{one['data_type']}"} for one in inputs]
    loaded = Host({**host.job, "config": config}).load(kind, {"disable": True})
    model = host.engine(loaded).model
    outputs = []
    if not config.get("output"):
        usual, most = min(2, model.max_batch) or 1, model.max_batch or 1
        sizes = ((usual, 0), (most, 0), (usual, 5))
        answers = [_answer(runtime, model, size, more) for size, more in sizes]
        first = answers[0]
        if first is None:
            raise Indescribable(
                "the model fails on its inputs; set WARMUP with sizes for the dims that are -1"
            )
        for name, value in first.items():
            others = [answer[name] for answer in answers if answer is not None and name in answer]
            if not isinstance(value, torch.Tensor):
                raise Indescribable(
                    f"output {name!r} is a {type(value).__name__}: describe it in config.pbtxt"
                )
            shapes = [list(other.shape)[model.batched :] for other in others]
            if model.batched and list(value.shape)[:1] != [usual]:
                raise Indescribable(f"output {name!r} is {list(value.shape)} for a batch of {usual}")
            dims = [found[0] if len(set(found)) == 1 else -1 for found in zip(*shapes)]
            kind = names[str(value.dtype).replace("torch.", "")]
            outputs.append({"name": name, "data_type": kind, "dims": dims or [1]})
    loaded.finalize()
    return {"inputs": inputs, "outputs": outputs}


def _inputs(host: Host, runtime: Any, names: dict[str, str]) -> list[dict[str, Any]]:
    """Return the inputs of an exported program; other forms of a model do not record them."""
    import torch

    source = runtime.runtime_module("source")
    default_name = host.config.get("default_model_filename", "")
    path = source.find_files(host.folder, default_name, host.path).exported
    if path is None or source.kind_of(path) != "exported":
        raise Indescribable(
            "config.pbtxt has no input, and only an exported program (model.pt2) describes its own: "
            "add name, data_type and dims of each"
        )
    program = torch.export.load(path)
    nodes = {node.name: node for node in program.graph.nodes if node.op == "placeholder"}
    inputs = []
    for name in program.graph_signature.user_inputs:
        value = nodes[name].meta["val"]
        dims = [size if isinstance(size, int) else -1 for size in value.shape]
        if host.max_batch > 0:
            if dims[:1] != [-1]:
                raise Indescribable(f"{os.path.basename(path)} was exported for one batch size: {dims[:1]}")
            dims = dims[1:]
        inputs.append(
            {"name": name, "data_type": names[str(value.dtype).replace("torch.", "")], "dims": dims or [1]}
        )
    return inputs


def _answer(runtime: Any, model: LoadedModel, size: int, more: int) -> dict[str, Any] | None:
    """Return the outputs for a batch of *size*, each variable dim larger by *more*; None if the model fails."""
    import torch

    values = []
    for field in model.inputs:
        example = model.example(field, size)
        if more:
            start = 1 if model.batched else 0
            shape = [*example.shape[:start]]
            pairs = zip(field.dims, example.shape[start:])
            shape += [extent + more if dim == -1 else extent for dim, extent in pairs]
            example = torch.zeros(shape, dtype=torch.as_tensor(example).dtype)
        values.append(example)
    with model.mode:
        try:
            result = model.result(model.eager, model.tensors(values))
        except Exception:
            return None
    named: dict[str, Any] | None = runtime.runtime_module("answers").named_outputs(result)
    if named is not None:
        return named
    results = result if isinstance(result, (tuple, list)) else [result]
    return {
        f"OUTPUT__{number}": value for number, value in enumerate(results)
    }  # like Triton's PyTorch backend
