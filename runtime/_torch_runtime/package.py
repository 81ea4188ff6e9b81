"""Load and call a model that was compiled to an AOTInductor package."""

from __future__ import annotations

import operator
from typing import Any

import torch

from .errors import ModelError
from .loaded import LoadedModel
from .weights import describe_weights

_SHAPE = operator.attrgetter("shape")
MOST_SHAPES = 4096
"""How many input shapes a package remembers."""


class Package:
    """A model that AOTInductor compiled ahead of time: no compiler is needed, and no Inductor imported.

    It has a variant for each set of optional inputs that may be absent. Its weights are the module's own, unless
    it was made with them inside: other weights of the same names and shapes need no other package.
    """

    def __init__(self, path: str, key: dict[str, Any], model: LoadedModel) -> None:
        """Load the package at *path*, with this *key*, for *model*.

        Raises:
            ModelError: it was compiled for other weights.
        """
        self.path, self._model = path, model
        index = model.device.index if model.device.type == "cuda" else -1
        tensors = model.weights()
        weights = describe_weights(tensors)
        for name, made in key["weights"].items():
            if weights.get(name) != made:
                raise ModelError(
                    f"the weights differ: {name} was {made}, it is {weights.get(name, 'absent')}"
                )
        self._variants: dict[tuple[bool, ...], tuple[Any, list[list[Any]], dict[str, list[Any]]]] = {}
        self._loaders: dict[tuple[Any, ...], Any] = {}
        self.constants = {f"model.{name}": tensors[name].detach() for name in key["weights"]}
        for variant in key["variants"]:
            loader = torch._C._aoti.AOTIModelPackageLoader(path, variant["name"], True, 1, index)
            names = loader.get_constant_fqns()
            if self.constants and names:
                loader.load_constants({name: self.constants[name] for name in names}, False, True, True)
            self._variants[tuple(variant["present"])] = (loader, variant["dims"], variant["ranges"])

    def forward(self, tensors: list[Any]) -> list[Any]:
        """Return the outputs for *tensors*; shapes that the package does not support are run by the model itself."""
        outputs = self.run(tensors)
        return self._model.forward(tensors) if outputs is None else outputs

    def run(self, tensors: list[Any]) -> list[Any] | None:
        """Return the outputs for *tensors*, in or out of inference mode; None if their shapes are not supported."""
        try:
            loader = self._loaders[tuple(map(_SHAPE, tensors))]
        except (KeyError, AttributeError):  # shapes not seen before, or an optional input is absent
            loader = self._find(tensors)
            tensors = [value for value in tensors if value is not None]
        if loader is None:
            return None
        outputs: list[Any] = loader.run(tensors)
        return outputs

    def takes(self, tensors: list[Any]) -> bool:
        """Return whether it supports *tensors* of these shapes."""
        return self._find(tensors) is not None

    def _find(self, tensors: list[Any]) -> Any:
        shapes = tuple([None if value is None else value.shape for value in tensors])
        try:
            return self._loaders[shapes]
        except KeyError:
            if len(self._loaders) == MOST_SHAPES:
                self._loaders.clear()
            return self._loaders.setdefault(shapes, self._loader(shapes))

    def _loader(self, shapes: tuple[Any, ...]) -> Any:
        """Return the variant for inputs of these *shapes*, if any: compiled code does not check sizes."""
        variant = self._variants.get(tuple([shape is not None for shape in shapes]))
        if variant is None:
            return None
        loader, dims, ranges = variant
        sizes: dict[str, int] = {}
        for shape, expected in zip([shape for shape in shapes if shape is not None], dims):
            for size, name in zip(shape, expected):
                if sizes.setdefault(name, size) != size or (isinstance(name, int) and size != name):
                    return None
        for name, (least, most) in ranges.items():
            if sizes[name] < least or (most is not None and sizes[name] > most):
                return None
        return loader
