"""A package of AOTInductor that a user made, loaded without a compiler.

``torch._inductor.aoti_load_package`` of torch 2.13 compiles a test program with g++ at each load, to ask the processor
what it can do (pytorch issue 191715): 2.9 to 10.6 s, and an error where no compiler is. The loader below it needs none.
"""

from __future__ import annotations

import zipfile
from typing import Any

import torch

from .errors import ModelError

_FOLDER = "data/aotinductor/"


class AOTInductorModel:
    """A package of AOTInductor with the arguments and the results that its model had."""

    def __init__(self, loader: Any) -> None:
        import torch.utils._pytree as pytree

        inputs, outputs = loader.get_call_spec()
        self._loader, self._pytree = loader, pytree
        self._inputs, self._outputs = pytree.treespec_loads(inputs), pytree.treespec_loads(outputs)

    def __call__(self, *positional: Any, **by_name: Any) -> Any:
        """Return what the model returned for these arguments when it was exported."""
        if by_name:
            names = self._inputs.child(1).context if hasattr(self._inputs, "child") else None
            names = names or self._inputs.children_specs[1].context
            by_name = {name: by_name[name] for name in names}
        given, _ = self._pytree.tree_flatten((positional, by_name))
        results = self._loader.run([one for one in given if isinstance(one, torch.Tensor)])
        return self._pytree.tree_unflatten(results, self._outputs)


def load_aotinductor(path: str, device: torch.device | None) -> Any:
    """Load the package at *path* onto *device*.

    Raises:
        ModelError: it holds several models.
    """
    with zipfile.ZipFile(path) as archive:
        inside = [name[name.find(_FOLDER) + len(_FOLDER) :] for name in archive.namelist() if _FOLDER in name]
    models = sorted({name.split("/")[0] for name in inside if "/" in name})
    if len(models) > 1:
        raise ModelError(f"it holds several models: {', '.join(models)}; package the wanted one separately")
    loads = hasattr(getattr(torch._C, "_aoti", None), "AOTIModelPackageLoader")
    if not loads or any(name.endswith("weights_config.json") for name in inside):  # weights beside the code
        return torch._inductor.aoti_load_package(path)
    index = device.index if device is not None and device.type == "cuda" and device.index is not None else -1
    return AOTInductorModel(torch._C._aoti.AOTIModelPackageLoader(path, models[0], True, 1, index))
