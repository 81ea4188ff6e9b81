"""The uncompiled model on its device, from which compiled code is made, and against which it is compared."""

from __future__ import annotations

import os
import re
from typing import Any, Protocol

import numpy as np
import torch

from .answers import name_outputs
from .aoti import AOTInductorModel
from .batching import Arguments, argument_defaults, decode
from .equality import rough_outputs
from .errors import ModelError
from .fields import TORCH_DTYPES, Field, read_fields
from .generating import GeneratingModel
from .library import load_library, names_library
from .loading import Loaded, load, pick_device, without_downloads
from .log import Log
from .parameters import Parameters
from .sharing import SharedWeights
from .source import PACKAGE, find_files
from .tokenizing import EXAMPLE, TextModel, check_texts, wants_tokenizer, with_tokenizer
from .weight_files import is_pretrained
from .weights import module_tensors


class Form(Protocol):
    """A form of a model that can serve: eager, a package, or the result of torch.compile."""

    def forward(self, tensors: list[Any]) -> list[Any]:
        """Return the outputs for *tensors*, each in the order of the configuration."""


class LoadedModel:
    """An uncompiled model on its device, and its configuration."""

    def __init__(
        self, args: dict[str, str], config: dict[str, Any], parameters: Parameters, runtime_file: str
    ) -> None:
        """Load the model in the version folder.

        Args:
            args: the argument of Triton's ``initialize``.
            config: the parsed configuration in it.
            parameters: those of *config*.
            runtime_file: the file that Triton loaded, which may be in the version folder and is not part of the
            model.

        Raises:
            ModelError: it cannot be loaded.
        """
        self.name, self.log = args["model_name"], Log(args["model_name"])
        self.config, self.parameters = config, parameters
        self.inputs, self.outputs = read_fields(config, "input"), read_fields(config, "output")
        self.rough = rough_outputs(config)
        self.dims: dict[str, list[int]] = parameters.warmup["dims"]
        """Sizes of examples for dims that vary; WARMUP may name several, one after the other."""
        self.max_batch = int(config.get("max_batch_size", 0))
        self.batched = self.max_batch > 0
        optional = any(field.optional for field in self.inputs)
        self.absences = (False, True) if optional else (False,)  # with and without the optional inputs
        self.varied = optional or any(-1 in field.dims for field in self.inputs)
        self.mode: Any = torch.inference_mode() if parameters.inference_mode else torch.no_grad()
        self.folder = os.path.join(args["model_repository"], args["model_version"])
        self.files = find_files(self.folder, config.get("default_model_filename", ""), runtime_file)
        self.shared: SharedWeights | None = None
        package = PACKAGE + re.sub(r"\W", "_", f"{self.name}_{args['model_version']}")
        kind, device_id = args["model_instance_kind"], args["model_instance_device_id"]
        wanted = pick_device(kind, device_id, None) if kind in ("CPU", "GPU") else None
        library = names_library(parameters)
        if library and self.files.source:
            what = f"MODEL_CLASS names {parameters.model_class}"
            raise ModelError(
                f"{what}, and there is {os.path.basename(self.files.source)}, too: keep one of them"
            )
        with without_downloads():
            if not self.files.exported and (
                library or (not self.files.source and is_pretrained(self.folder))
            ):
                loaded = self._load_library()
            else:
                loaded = load(self.files, self.folder, package, parameters, wanted, self.log)
        target, self.files = loaded.target, self.files._replace(weights=loaded.weights)
        self._loads_itself = loaded.own
        self.device = pick_device(kind, device_id, target)
        self.on_cpu = self.device.type == "cpu"
        if isinstance(target, torch.nn.Module):
            target = self._settle(target, args)
        if isinstance(target, AOTInductorModel):
            target.batched = self.batched
        self.eager: Any = target
        self.arguments = Arguments(target, self.inputs)
        plain = all(field.data_type not in ("STRING", "BOOL") for field in self.inputs)
        self._as_they_are = plain and self.on_cpu and not parameters.dtype

    def _load_library(self) -> Loaded:
        """Load a model that a library defines, with its tokenizer where text comes in."""
        names = [field.name for field in self.outputs]
        if is_pretrained(self.folder):
            check_texts(self.folder, self.inputs, self.batched)
        loaded = load_library(self.files, self.folder, self.parameters, names, self.log)
        if wants_tokenizer(self.folder, self.inputs):
            check_texts(self.folder, self.inputs, self.batched)
            taken = list(argument_defaults(loaded.target))
            text = with_tokenizer(loaded.target, self.folder, self.parameters, taken, names)
            loaded = loaded._replace(target=text)
        return loaded

    def _settle(self, module: torch.nn.Module, args: dict[str, str]) -> torch.nn.Module:
        """Move *module* to its device and dtype, set eval mode, and share its weights if enabled."""
        given = self.files.weights or self._loads_itself
        if not given and next(module.parameters(), None) is not None:
            what = type(module).__name__
            self.log.warn(f"{what} has parameters but no weights file: served as constructed")
        for name, tensor in module_tensors(module).items():
            if tensor.is_meta:
                raise ModelError(
                    f"{name} of {type(module).__name__} is on the meta device, and no file has values for it: "
                    "construct it on a real device, or save it with the weights"
                )
        dtype = getattr(torch, self.parameters.dtype) if self.parameters.dtype else None
        module = module.to(device=self.device, dtype=dtype)
        for parameter in module.parameters():
            parameter.requires_grad_(False)
        if type(module).__module__.split(".")[0] != "torch" or isinstance(module, torch.jit.ScriptModule):
            module.eval()  # an exported program keeps the mode in which it was exported
        if self.parameters.weight_sharing:
            self.shared = SharedWeights(args, self.folder)
            self.shared.share(module, self.device)
        return module

    def tensors(self, values: list[Any]) -> list[Any]:
        """Convert *values* of the inputs to the model's arguments: tensors on its device, and lists of strings."""
        if self._as_they_are:
            return values
        tensors: list[Any] = []
        for value, field in zip(values, self.inputs):
            if value is None:
                tensors.append(None)
            elif field.data_type == "STRING":
                tensors.append(decode(value, flat=not self.batched or field.dims == (1,)))
            else:
                tensor = torch.from_numpy(value) if isinstance(value, np.ndarray) else value
                if tensor.device != self.device:
                    tensor = tensor.to(self.device)
                if self.parameters.dtype and tensor.is_floating_point():
                    tensor = tensor.to(getattr(torch, self.parameters.dtype))
                tensors.append(tensor)
        return tensors

    @property
    def can_compile(self) -> bool:
        """Whether torch.compile supports it: not if it is compiled already, or takes strings."""
        compiled = ("AOTICompiledModel", AOTInductorModel.__name__)
        done = isinstance(self.eager, (torch.jit.ScriptModule, GeneratingModel))
        done |= type(self.eager).__name__ in compiled
        return not done and all(field.data_type != "STRING" for field in self.inputs)

    def result(self, target: Any, tensors: list[Any]) -> Any:
        """Call *target*, the model or its compiled form, and return its result."""
        positional, by_name = self.arguments.arrange(tensors)
        return target(*positional, **by_name)

    def forward(self, tensors: list[Any]) -> list[Any]:
        """Return the model's outputs for *tensors*, each in the order of the configuration."""
        return name_outputs(self.result(self.eager, tensors), self.outputs)

    def weights(self) -> dict[str, torch.Tensor]:
        """Return its weights and buffers by name; none for a function."""
        return module_tensors(self.eager)

    def examples(self, size: int, absent: bool = False, varied: bool = False) -> list[Any]:
        """Return an example of each input for a batch of *size*; None for optional ones if *absent*."""
        return [None if absent and f.optional else self.example(f, size, varied) for f in self.inputs]

    def example(self, field: Field, size: int, varied: bool = False) -> Any:
        """Return an input in the shape that the configuration, or WARMUP, gives it: zeros, or (*varied*) not."""
        dims = self.dims.get(field.name, field.dims)
        # Guessed sizes differ from batch sizes: Dynamo assumes that dims of one size are the same dim.
        shape = [32 + 8 * i + (32 + 8 * i == size) if d == -1 else d for i, d in enumerate(dims)]
        shape = [size, *shape] if self.batched else shape
        if field.data_type == "STRING":
            return np.full(shape, EXAMPLE if isinstance(self.eager, TextModel) else b"", dtype=object)
        tensor = torch.zeros(shape, dtype=getattr(torch, TORCH_DTYPES[field.data_type]))
        if varied:  # 0 and 1 are valid indexes into anything
            values = torch.linspace(-1, 1, tensor.numel()).reshape(shape)
            tensor = (values if tensor.is_floating_point() else values > 0).to(tensor.dtype)
        return tensor.numpy() if field.data_type == "BOOL" else tensor

    def close(self) -> None:
        """Release the model and its device memory."""
        if self.shared:
            self.shared.close()
        self.eager = self.arguments = self.shared = None  # type: ignore[assignment]  # it is not used again
