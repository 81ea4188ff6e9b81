"""Load an AOTInductor package that a user made, without a compiler.

``torch._inductor.aoti_load_package`` of torch 2.13 compiles a test program with g++ at each load, to ask the processor
what it can do (pytorch issue 191715): 2.9 to 10.6 s, and fails without a compiler. The loader that it uses needs
none.
"""

from __future__ import annotations

import os
import re
import zipfile
from typing import Any

import torch

from .errors import ModelError

CHECKS = "AOTI_RUNTIME_CHECK_INPUTS"
"""Makes a package compare shapes and types with those it was exported with; read at its first call."""
_DEVICE = "AOTI_DEVICE_KEY"
_ONE_ROW = re.compile(r"dim value is too small at 0, expected it to be >= 2, but got: 1\b")
"""The error of a package that was exported with a dynamic batch: export guarantees only two rows or more."""
_FOLDER = "data/aotinductor/"


class AOTInductorModel:
    """An AOTInductor package, called with its model's arguments and results."""

    def __init__(self, loader: Any) -> None:
        import torch.utils._pytree as pytree

        inputs, outputs = loader.get_call_spec()
        self._loader, self._pytree = loader, pytree
        self._outputs = pytree.treespec_loads(outputs)
        # The children of a tree spec differ between releases of torch; that it can be rebuilt does not.
        spec = pytree.treespec_loads(inputs)
        _, self._named = pytree.tree_unflatten([None] * spec.num_leaves, spec)
        self.device_type: str = loader.get_metadata().get(_DEVICE, "")
        """``cpu`` or ``cuda``; empty if it is not recorded."""
        self.batched = False
        """Whether the first dim of all inputs and outputs is a batch of independent rows."""
        self._doubles = False  # determined by the first single row

    def order(self, names: list[str]) -> list[int]:
        """Return the places of *names*, the inputs of a configuration, in the order in which the package takes them.

        Inputs that were exported by name are matched by name, the rest by the configuration's order.

        Raises:
            ModelError: only some of its names are there, so the others cannot be matched.
        """
        lacking = [name for name in self._named if name not in names]
        if lacking and len(lacking) < len(self._named):
            raise ModelError(
                f"the package was exported with {', '.join(self._named)} as named inputs, and the configuration has "
                f"no input {lacking[0]!r}: name its inputs so"
            )
        if lacking:
            return list(range(len(names)))
        positional = [place for place, name in enumerate(names) if name not in self._named]
        return [*positional, *(names.index(name) for name in self._named)]

    def __call__(self, *given: Any) -> Any:
        """Return the model's result for these arguments, which are in the order of :meth:`order`."""
        tensors = [one for one in given if isinstance(one, torch.Tensor)]
        alone = self._doubles and all(one.shape[0] == 1 for one in tensors)
        try:
            results = self._loader.run([torch.cat((one, one)) for one in tensors] if alone else tensors)
        except RuntimeError as error:
            if self.batched and not self._doubles and _ONE_ROW.search(str(error)):
                self._doubles = True
                return self(*given)
            raise ModelError(_in_words(str(error))) from error
        return self._pytree.tree_unflatten([one[:1] for one in results] if alone else results, self._outputs)


def _in_words(text: str) -> str:
    """Return the error for a package that was exported for other inputs, with what to do."""
    found = re.search(r"(unmatched|dim value is too) .*", text)
    if not found:
        return f"the package fails: {' '.join(text.split())}"
    cure = "the configuration's inputs must have the types and the order that it was exported with"
    if "dim value" in found[0]:
        cure = "set max_batch_size and dims to what it was exported with, or export it with a dynamic batch"
    return f"the package was exported for other inputs: {found[0].strip()}; {cure}"


def load_aotinductor(path: str, device: torch.device | None) -> Any:
    """Load the package at *path* onto *device*.

    Raises:
        ModelError: it holds several models, or is for another kind of device.
    """
    with zipfile.ZipFile(path) as archive:
        inside = [name[name.find(_FOLDER) + len(_FOLDER) :] for name in archive.namelist() if _FOLDER in name]
    models = sorted({name.split("/")[0] for name in inside if "/" in name})
    if len(models) > 1:
        raise ModelError(f"it holds several models: {', '.join(models)}; package the wanted one separately")
    # Unchecked, it reads as many rows as it was exported with, even from smaller inputs. Packages that the runtime
    # made are asked before each call which shapes they take, and are not slowed down.
    os.environ.setdefault(CHECKS, "1")
    loads = hasattr(getattr(torch._C, "_aoti", None), "AOTIModelPackageLoader")
    if not loads or any(name.endswith("weights_config.json") for name in inside):  # weights beside the code
        loader: Any = torch._inductor.aoti_load_package(path).loader
    else:
        index = (
            device.index if device is not None and device.type == "cuda" and device.index is not None else -1
        )
        loader = torch._C._aoti.AOTIModelPackageLoader(path, models[0], True, 1, index)
    model = AOTInductorModel(loader)
    if device is not None and model.device_type and model.device_type != device.type:
        raise ModelError(
            f"the package was compiled for {model.device_type}, and this instance is on {device.type}: "
            f"set the kind in instance_group, or export and compile it on {device.type}"
        )
    return model
