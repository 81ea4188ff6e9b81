"""Load a folder of Hugging Face's libraries with them, offline and without the model's own code."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import json
import os
from typing import Any

import torch

from .errors import ModelError, describe
from .evidence import Evidence
from .generating import SEQUENCES, GeneratingModel
from .keys import listed
from .loading import Loaded, give_weights
from .log import Log
from .parameters import COMPILE, NO_WEIGHTS, Parameters
from .pretrained_class import makes_models, named_class, without_pooler
from .source import Files, kind_of
from .tokenizing import SENTENCE, SentenceModel
from .weight_files import (
    ADAPTER,
    MODULES,
    MOST_INDEX,
    SAFETENSORS,
    WeightSet,
    choose_named,
    find_weights,
    holds_weights,
    read_json,
    unclear,
)
from .weights import is_safetensors, read_state, unpickle

_STANDARD = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)
"""Names of files that ``from_pretrained`` finds."""
_TRUST = {"trust_remote_code", "weights_only"}
_PICKLED = (".bin", ".pt", ".pth", ".ckpt")


class MisfitError(ModelError):
    """The library found weights of other names or shapes than its class has."""


class Pretrained:
    """A version folder written by ``save_pretrained``."""

    def __init__(self, files: Files, folder: str, parameters: Parameters, log: Log) -> None:
        self._files, self._folder, self._parameters, self._log = files, folder, parameters, log

    def load(self, found: Any, outputs: list[str]) -> Loaded:
        """Load the model with the class *found*, or with the one that its configuration names.

        *outputs* are the names of the configuration's outputs.

        Raises:
            ModelError: it cannot be loaded, or some of its weights are not in the folder.
        """
        constructed = self._parameters.model_weights == NO_WEIGHTS
        weights = WeightSet(NO_WEIGHTS, ()) if constructed else self._weights()
        paths = tuple(os.path.join(self._folder, file) for file in weights.files)
        sentences = os.path.isfile(os.path.join(self._folder, MODULES)) and not set(outputs) - set(SENTENCE)
        if found is None and sentences:
            self._check_sentences()
            return Loaded(self._sentence_model(), paths, own=True)
        transformers = self._import("transformers")
        if os.path.isfile(os.path.join(self._folder, ADAPTER)) and importlib.util.find_spec("peft") is None:
            self._log.warn(
                f"{ADAPTER}: served without its adapter, as the environment has no peft; add that to the recipe, or "
                "merge the adapter (merge_and_unload) and save the whole model"
            )
        config = self._config(transformers)
        if found is None:
            found = named_class(transformers, config, trusts=self._parameters.trust_remote_code)
        elif not makes_models(found):
            raise ModelError(f"MODEL_CLASS: {self._parameters.model_class} is not a class of models")
        try:
            loaded = self._by_library(found, config, weights, paths)
        except MisfitError as misfit:
            try:  # the keys of a wrapped model (module., _orig_mod.) mean nothing to the library
                loaded = self._by_keys(found, config)
            except ModelError:
                raise misfit from None
        module: Any = loaded.target
        if SEQUENCES in outputs:
            return loaded._replace(target=self._generating(module))
        if "past_key_values" not in outputs and getattr(module.config, "use_cache", None):
            module.config.use_cache = False  # outputs that are not configured need not be computed
        return loaded._replace(target=module.eval())

    def _by_library(self, found: Any, config: Any, weights: WeightSet, paths: tuple[str, ...]) -> Loaded:
        if not self._finds(weights):
            return self._by_keys(found, config)
        return Loaded(self._from_pretrained(found, config, weights), paths, own=True)

    def _by_keys(self, found: Any, config: Any) -> Loaded:
        module = self._from_config(found, config)
        return give_weights(module, self._files, self._folder, self._parameters, Evidence(), self._log)

    def _generating(self, module: Any) -> torch.nn.Module:
        """Wrap *module* to answer with its generate(), uncompiled: each length would need its own graph."""
        generating = GeneratingModel(module)
        self._log.info(f"{SEQUENCES} is answered by generate(), uncompiled; generation_config.json says how")
        parameters = self._parameters
        if parameters.asks_torch_compile and not parameters.compile_options.get("disable"):
            self._log.warn(f"{COMPILE} has no effect: generate() is not compiled")
        return generating.eval()

    def _finds(self, weights: WeightSet) -> bool:
        """Return whether ``from_pretrained`` chooses and reads *weights*.

        It prefers a file to shards of the same format, and takes the format from the name.
        """
        one = weights.name.replace(".index.json", "")
        hidden = one != weights.name and os.path.exists(os.path.join(self._folder, one))
        named = SAFETENSORS in weights.name
        paths = [os.path.join(self._folder, file) for file in weights.files]
        return weights.name in _STANDARD and not hidden and all(is_safetensors(one) == named for one in paths)

    def _check_sentences(self) -> None:
        """Refuse parameters that sentence-transformers ignores: it finds its weights itself."""
        parameters = self._parameters
        given = {"MODEL_KWARGS": parameters.model_kwargs, "MODEL_FUNCTION": parameters.model_function}
        several, constructed = len(self._files.sets) > 1, parameters.model_weights == NO_WEIGHTS
        given["MODEL_WEIGHTS"] = parameters.model_weights if several or constructed else None
        for name in [name for name, value in given.items() if value]:
            chooses = name == "MODEL_WEIGHTS" and not constructed
            cure = "keep only the wanted file" if chooses else f"remove {name}"
            raise ModelError(
                f"{name} has no effect: modules.json describes the model, and sentence-transformers loads it; {cure}"
            )

    def _weights(self) -> WeightSet:
        """Return the weights in the folder.

        Raises:
            ModelError: there are none, or several.
        """
        if self._parameters.model_weights:
            found = [choose_named(self._folder, self._parameters.model_weights)]
        else:
            found = list(self._files.sets) or self._in_first_module()
        if not found:
            raise ModelError(f"{self._folder} contains a config.json but no weights")
        if len(found) > 1:
            raise ModelError(f"several files of weights in {self._folder}: {unclear(found)}")
        if found[0].problem:
            raise ModelError(f"{found[0].name} cannot be read: {found[0].problem}")
        for file in found[0].files:
            _check_file(os.path.join(self._folder, file))
        return found[0]

    def _in_first_module(self) -> list[WeightSet]:
        """Return the weights in the folder of sentence-transformers' first module, if it has a separate one."""
        modules = read_json(os.path.join(self._folder, MODULES))
        first = modules[0] if isinstance(modules, list) and modules else None
        inside = str(first.get("path") or "") if isinstance(first, dict) else ""
        folder = os.path.join(self._folder, inside)
        if os.path.basename(inside) != inside or inside in ("", ".", "..") or not os.path.isdir(folder):
            return []
        sets = find_weights(folder)
        return [
            one._replace(name=f"{inside}/{one.name}", files=tuple(f"{inside}/{file}" for file in one.files))
            for one in sets
        ]

    def _from_config(self, found: Any, config: Any) -> Any:
        unknown = sorted(name for name in self._parameters.model_kwargs if not hasattr(config, name))
        if unknown:
            raise ModelError(f"MODEL_KWARGS: config.json has no {unknown[0]!r}")
        make = getattr(found, "from_config", None) or getattr(found, "_from_config", None) or found
        try:
            return make(config)
        except Exception as error:
            raise ModelError(f"{found.__name__} cannot be made of config.json: {_first(error)}") from error

    def _import(self, name: str) -> Any:
        try:
            return importlib.import_module(name)
        except ModuleNotFoundError as error:
            project = name.replace("_", "-")
            raise ModelError(
                f"the version folder is a model of {project}, and the environment has no module {error.name!r}: "
                f"add {project} to the recipe's dependencies"
            ) from error

    def _config(self, transformers: Any) -> Any:
        trusts = self._parameters.trust_remote_code
        try:
            config = transformers.AutoConfig.from_pretrained(
                self._folder, local_files_only=True, trust_remote_code=trusts
            )
        except Exception as error:
            if not trusts and "trust_remote_code" in str(error):
                raise ModelError(
                    "config.json is of a model whose code is in its own repository, which is not run: "
                    'TRUST_REMOTE_CODE: "true" runs the code in the version folder'
                ) from error
            version = transformers.__version__
            raise ModelError(f"transformers {version} cannot read config.json: {_first(error)}") from error
        for key, value in self._parameters.model_kwargs.items():
            if hasattr(config, key):
                setattr(config, key, value)
        return config

    def _from_pretrained(self, found: Any, config: Any, weights: WeightSet) -> Any:
        parameters, name = self._parameters, found.__name__
        options: dict[str, Any] = {"config": config, "local_files_only": True}
        options["use_safetensors"] = SAFETENSORS in weights.name
        options.update({k: v for k, v in parameters.model_kwargs.items() if not hasattr(config, k)})
        if refused := _TRUST.intersection(options):
            raise ModelError(f"MODEL_KWARGS may not have {sorted(refused)[0]}: a model may not change it")
        if parameters.trust_remote_code:
            options["trust_remote_code"] = True
        signature = inspect.signature(found.from_pretrained).parameters
        dtype = getattr(torch, parameters.dtype) if parameters.dtype else "auto"
        options["ignore_mismatched_sizes"] = True  # they are refused below, by name
        options.setdefault("dtype" if "dtype" in signature or _is_v5() else "torch_dtype", dtype)
        try:
            module, told = found.from_pretrained(self._folder, output_loading_info=True, **options)
        except Exception as error:
            raise ModelError(f"{name}.from_pretrained: {_first(error)}") from error
        missing = sorted(map(str, told.get("missing_keys") or ()))
        shapes = sorted(map(_in_other_shape, told.get("mismatched_keys") or ()))
        if missing or shapes:
            problems = [f"missing: {listed(missing)}"] * bool(missing) + [listed(shapes)] * bool(shapes)
            hint = "MODEL_CLASS names the class that the weights are of"
            if shapes:
                hint = "config.json must be that of the weights; MODEL_KWARGS changes single values of it"
            elif without_pooler(found, config, missing):
                hint = 'MODEL_KWARGS: {"add_pooling_layer": false} serves the model without its pooler'
            raise MisfitError(
                f"the weights in the version folder do not fit {name}: {'; '.join(problems)}; they would be random. "
                f"{hint}"
            )
        unexpected = sorted(map(str, told.get("unexpected_keys") or ()))
        if unexpected:
            more = f" and {len(unexpected) - 3} more" if len(unexpected) > 3 else ""
            self._log.warn(f"{name} has no place for {', '.join(unexpected[:3])}{more}: not loaded")
        return module

    def _sentence_model(self) -> torch.nn.Module:
        library = self._import("sentence_transformers")
        if not self._parameters.trust_remote_code:
            _check_modules(os.path.join(self._folder, MODULES))
        for root, _, names in os.walk(self._folder):  # each part of the model has its own folder
            for name in names:
                if name.endswith(_PICKLED) and holds_weights(os.path.join(root, name)):
                    _check_file(os.path.join(root, name))
        try:
            model = library.SentenceTransformer(
                self._folder,
                device="cpu",
                local_files_only=True,
                trust_remote_code=self._parameters.trust_remote_code,
            )
        except Exception as error:
            raise ModelError(f"SentenceTransformer: {_first(error)}") from error
        return SentenceModel(model)


def _in_other_shape(told: Any) -> str:
    """Describe a key whose shape differs; releases of the library return it alone, or with both shapes."""
    if not isinstance(told, tuple):
        return f"{told} has another shape"
    if len(told) < 3:
        return f"{told[0]} has another shape"
    return f"{told[0]} has the shape {list(told[1])}, the model {list(told[2])}"


def _check_file(path: str) -> None:
    """Refuse a weight file that is invalid, truncated, or would run code when a library unpickles it.

    Older libraries call torch.load without ``weights_only``.
    """
    kind, name = kind_of(path), os.path.basename(path)
    if kind != "state_dict":
        raise ModelError(f"{name} must contain weights, but contains {kind}")
    if is_safetensors(path):
        read_state(path)
    else:
        unpickle(path)


def _check_modules(path: str) -> None:
    """Refuse a modules.json that names classes outside the library, which would import them."""
    try:
        if os.path.getsize(path) > MOST_INDEX:
            raise ValueError(f"it is larger than {MOST_INDEX // 2**20} MiB")
        with open(path, encoding="utf-8") as file:
            named = [str(one["type"]) for one in json.load(file)]
    except (OSError, ValueError, KeyError, TypeError, RecursionError, MemoryError) as error:
        raise ModelError(f"{MODULES} cannot be read: {describe(error, '')}") from error
    foreign = [name for name in named if not name.startswith("sentence_transformers.")]
    if foreign:
        raise ModelError(
            f"{MODULES} names {foreign[0]}, which is not run: "
            'TRUST_REMOTE_CODE: "true" imports it, and runs the code in the version folder'
        )


def _is_v5() -> bool:
    import transformers

    return int(str(transformers.__version__).split(".")[0]) >= 5


def _first(error: BaseException) -> str:
    """Describe *error* in one line."""
    return " ".join(describe(error, "").split())
