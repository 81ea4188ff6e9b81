"""What a configuration should say of a model, found by running it. Run inside an environment, beside ``compile.py``."""

from __future__ import annotations

import dataclasses
import os
from typing import Any


class Indescribable(Exception):
    """The model does not tell; the message says what, in words."""


def describe(job: Any) -> dict[str, Any]:
    """Return the inputs and outputs of the model of *job*, as config.pbtxt has them: those it lacks."""
    runtime, torch, config = job.runtime, job.torch, dict(job.config)
    names = {name: kind for kind, name in runtime.TORCH_DTYPES.items()}
    inputs = [] if config.get("input") else _inputs(job, names)
    if inputs:
        config["input"] = [{**one, "data_type": f"TYPE_{one['data_type']}"} for one in inputs]
    job.probe.config = config
    model = job.probe.load("GPU" if job.kinds() == ["GPU"] else "CPU", {"disable": True})
    instance = model.instance
    outputs = []
    if not config.get("output"):
        batched = job.max_batch > 0
        usual, most = min(2, job.max_batch) or 1, job.max_batch or 1
        answers = [_answer(instance, torch, size, more) for size, more in ((usual, 0), (most, 0), (usual, 5))]
        first = answers[0]
        if first is None:
            raise Indescribable("the model fails on its inputs; say WARMUP: sizes for the dims that are -1")
        for name, value in first.items():
            others = [answer[name] for answer in answers if answer is not None and name in answer]
            if not isinstance(value, torch.Tensor):
                raise Indescribable(
                    f"output {name!r} is a {type(value).__name__}: describe it in config.pbtxt"
                )
            shapes = [list(other.shape)[batched:] for other in others]
            if batched and list(value.shape)[:1] != [usual]:
                raise Indescribable(f"output {name!r} is {list(value.shape)} for a batch of {usual}")
            dims = [sizes[0] if len(set(sizes)) == 1 else -1 for sizes in zip(*shapes)]  # noqa: B905 - Python 3.8
            kind = names[str(value.dtype).replace("torch.", "")]
            outputs.append({"name": name, "data_type": kind, "dims": dims or [1]})
    model.finalize()
    return {"inputs": inputs, "outputs": outputs}


def _inputs(job: Any, names: dict[str, str]) -> list[dict[str, Any]]:
    """Return the inputs of an exported program; no other form of a model knows its own."""
    runtime, torch = job.runtime, job.torch
    path = runtime.find_files(job.folder, job.config.get("default_model_filename", "")).exported
    if path is None or runtime.kind_of(path) != "exported":
        raise Indescribable(
            "config.pbtxt has no input, and only an exported program (model.pt2) knows its own: "
            "say name, data_type and dims of each"
        )
    program = torch.export.load(path)
    nodes = {node.name: node for node in program.graph.nodes if node.op == "placeholder"}
    inputs = []
    for name in program.graph_signature.user_inputs:
        value = nodes[name].meta["val"]
        dims = [size if isinstance(size, int) else -1 for size in value.shape]
        if job.max_batch > 0:
            if dims[:1] != [-1]:
                raise Indescribable(f"{os.path.basename(path)} was exported for one batch size: {dims[:1]}")
            dims = dims[1:]
        inputs.append(
            {"name": name, "data_type": names[str(value.dtype).replace("torch.", "")], "dims": dims or [1]}
        )
    return inputs


def _answer(instance: Any, torch: Any, size: int, more: int) -> dict[str, Any] | None:
    """Return the outputs for a batch of *size*, each dim that varies longer by *more*; None where the model fails."""
    values = []
    for field in instance._inputs:
        example = instance._example(field, size)
        if more:
            start = 1 if instance._batched else 0
            shape = [*example.shape[:start]]
            pairs = zip(field.dims, example.shape[start:])  # noqa: B905 - Python 3.8
            shape += [extent + more if dim == -1 else extent for dim, extent in pairs]
            example = torch.zeros(shape, dtype=torch.as_tensor(example).dtype)
        values.append(example)
    with instance._mode:
        positional, by_name = instance._arguments.arrange(instance._tensors(values))
        try:
            result = instance._eager(*positional, **by_name)
        except Exception:
            return None
    if isinstance(result, dict):
        return dict(result)
    if dataclasses.is_dataclass(result):
        return {field.name: getattr(result, field.name) for field in dataclasses.fields(result)}
    if hasattr(result, "_fields"):
        return dict(zip(result._fields, result))  # noqa: B905 - Python 3.8
    results = result if isinstance(result, (tuple, list)) else [result]
    return {f"OUTPUT__{number}": value for number, value in enumerate(results)}  # as Triton's PyTorch backend
