"""Load the files of a version folder into something that can be called."""

from __future__ import annotations

import contextlib
import inspect
import os
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import torch

from .aoti import AOTInductorModel, load_aotinductor
from .code_reads import read_by_code
from .errors import ModelError, describe, in_words
from .evidence import Evidence, may_load
from .fields import FLOATS, TORCH_DTYPES
from .fit import load_state
from .keys import listed
from .log import Log
from .parameters import NO_WEIGHTS, Parameters
from .source import Files, ended, find_model, import_source, kind_of
from .unread_weights import find_elsewhere
from .weight_files import UNREADABLE, WeightSet, choose_named, unclear, without_model
from .weights import read_weights


class Loaded(NamedTuple):
    """What was loaded, and from which files."""

    target: Any
    """What can be called."""
    weights: tuple[str, ...]
    """The files from which the runtime read its weights."""
    own: bool
    """Whether its own code loaded weights, or the file contains the whole model."""


def load(
    files: Files, folder: str, package: str, parameters: Parameters, device: torch.device | None, log: Log
) -> Loaded:
    """Load the model in *files* of the version *folder* onto *device* (None: the model chooses).

    Raises:
        ModelError: there is nothing to serve, or it is ambiguous; a model is never served with random weights
        because of a file's name.
    """
    if files.exported:
        named = os.path.normpath(parameters.model_weights or "")
        _check_unused(parameters, files.exported, weights=named != os.path.basename(files.exported))
        return Loaded(load_saved(files.exported, device), (), own=True)
    if files.source is None:
        return _load_alone(files, folder, parameters, device)
    evidence = Evidence()
    with evidence if may_load(folder) else contextlib.nullcontext():
        found = find_model(import_source(files.source, package), parameters)
    if not isinstance(found, torch.nn.Module) and not inspect.isclass(found) and not parameters.model_class:
        return _function(found, files, folder, parameters, evidence)
    with evidence:
        module = found if isinstance(found, torch.nn.Module) else construct(found, parameters, folder)
    if isinstance(found, torch.nn.Module) and parameters.model_kwargs:
        raise ModelError("MODEL_KWARGS has no effect: model.py creates the served instance itself")
    return give_weights(module, files, folder, parameters, evidence, log)


@contextlib.contextmanager
def without_downloads() -> Iterator[None]:
    """Refuse downloads by torch.hub: a model must not depend on a server's network."""
    import torch.hub as hub

    def refuse(url: Any, *_: Any, **__: Any) -> Any:
        address = getattr(url, "full_url", url)
        raise ModelError(
            f"{address} would be downloaded, and the network is not used: put the weights into the version folder, "
            "and leave out `weights` or `pretrained` of MODEL_KWARGS or of the code"
        )

    names = [name for name in ("download_url_to_file", "urlopen") if hasattr(hub, name)]
    before = {name: getattr(hub, name) for name in names}
    for name in names:
        setattr(hub, name, refuse)
    try:
        yield
    finally:
        for name in names:
            setattr(hub, name, before[name])


def construct(found: Any, parameters: Parameters, folder: str) -> torch.nn.Module:
    """Return the module that the class or function *found* returns when it is called with MODEL_KWARGS."""
    name = getattr(found, "__name__", type(found).__name__)
    try:
        module = found(**parameters.model_kwargs)
    except Exception as error:
        lacks = isinstance(error, TypeError) and " missing " in str(error) and " argument" in str(error)
        hint = "; MODEL_KWARGS gives arguments, as a JSON object" if lacks else ""
        raise ModelError(f"the constructor of {name} raised {in_words(error, folder)}{hint}") from error
    except SystemExit as error:
        raise ModelError(ended(f"the constructor of {name}", error)) from error
    if not isinstance(module, torch.nn.Module):
        raise ModelError(f"{name} returned a {type(module).__name__}, not an nn.Module")
    return module


def give_weights(
    module: torch.nn.Module,
    files: Files,
    folder: str,
    parameters: Parameters,
    evidence: Evidence,
    log: Log,
) -> Loaded:
    """Load the weights in the version *folder* that its own code has not read into *module*.

    Raises:
        ModelError: the weights are ambiguous, or do not fit.
    """
    chosen = _chosen(files, folder, parameters, evidence, log)
    if chosen is None:
        if parameters.model_weights == NO_WEIGHTS:
            return Loaded(module, (), own=True)
        _check_unread(module, folder, evidence)
        ungiven = evidence.ungiven(module)
        if ungiven and files.source is None:
            raise ModelError(
                f"{type(module).__name__} has parameters and the version folder no weights: {listed(ungiven)} would be "
                f'random. Put the weights there; MODEL_WEIGHTS: "{NO_WEIGHTS}" serves what '
                f"{parameters.model_class} returns as it is"
            )
        if ungiven and evidence.loaded:
            log.warn(
                f"no weights were loaded into {listed(ungiven)} of {type(module).__name__}: as constructed"
            )
        return Loaded(module, (), own=evidence.loaded)
    if chosen.problem:
        raise ModelError(f"{chosen.name} cannot be read: {chosen.problem}")
    paths = [os.path.join(folder, file) for file in chosen.files]
    for path in paths:
        kind = kind_of(path)
        if kind != "state_dict":
            source = "model.py" if files.source else type(module).__name__
            raise ModelError(
                f"{os.path.basename(path)} beside {source} must contain a state_dict, but contains {kind}"
            )
    kept = {getattr(torch, TORCH_DTYPES[one]) for one in FLOATS if one in parameters.input_types}
    load_state(module, read_weights(paths, chosen.key), chosen.name, log, kept)
    return Loaded(module, tuple(paths), own=False)


def _chosen(
    files: Files, folder: str, parameters: Parameters, evidence: Evidence, log: Log
) -> WeightSet | None:
    """Return the weights to load: those that MODEL_WEIGHTS names, or the only ones that nothing has read yet."""
    if parameters.model_weights == NO_WEIGHTS:
        return None
    if parameters.model_weights:
        return choose_named(folder, parameters.model_weights)
    left = [
        one
        for one in files.sets
        if not one.files or not all(evidence.has_read(os.path.join(folder, file)) for file in one.files)
    ]
    if len(left) > 1:  # the code may read files that it mentions when it is called
        spoken = read_by_code(folder, [one.name for one in left])
        left = [one for one in left if one.name not in spoken] or left
        if len(left) == 1 and spoken:
            log.warn(f"{left[0].name} is loaded; {', '.join(spoken)} is left to the code that names it")
    if len(left) > 1:
        raise ModelError(f"several files of weights in {folder}: {unclear(left)}")
    return left[0] if left else None


def _check_unread(module: torch.nn.Module, folder: str, evidence: Evidence) -> None:
    """Refuse to serve *module* if it has parameters without weights and the folder has files that nothing has read.

    That its code has read some file does not suffice: it may have been a mean, or the weights of one part.
    """
    if evidence.gave_all(module):
        return
    elsewhere = [one for one in find_elsewhere(folder) if not evidence.has_read(os.path.join(folder, one))]
    elsewhere = [one for one in elsewhere if not (one.endswith(".bin") and read_by_code(folder, [one]))]
    if not elsewhere:
        return
    more = f" and {len(elsewhere) - 3} more" if len(elsewhere) > 3 else ""
    its = "as its code made and filled it" if evidence.loaded else "as constructed"
    raise ModelError(
        f"{type(module).__name__} has parameters, and nothing has read {', '.join(elsewhere[:3])}{more}: "
        "save the state_dict as model.safetensors in the version folder, or name a file of torch.save or safetensors "
        f"there: MODEL_WEIGHTS; {NO_WEIGHTS} if it is to be served {its}"
    )


def _check_unused(parameters: Parameters, path: str, *, weights: bool = False) -> None:
    """Refuse parameters that select a model beside the file at *path*, which contains the whole model."""
    given = {
        "MODEL_CLASS": parameters.model_class,
        "MODEL_FUNCTION": parameters.model_function,
        "MODEL_KWARGS": parameters.model_kwargs,
        "MODEL_WEIGHTS": parameters.model_weights if weights else None,
    }
    for name in [name for name, value in given.items() if value]:
        file = os.path.basename(path)
        raise ModelError(
            f"{name} has no effect: {file} is a model by itself, and is what is served; "
            f"remove {name}, or move {file} out of the version folder"
        )


def _function(found: Any, files: Files, folder: str, parameters: Parameters, evidence: Evidence) -> Loaded:
    weights = parameters.model_weights if parameters.model_weights != NO_WEIGHTS else None
    function = getattr(found, "__name__", "the function")
    for name, value in (("MODEL_KWARGS", parameters.model_kwargs), ("MODEL_WEIGHTS", weights)):
        if value:
            raise ModelError(
                f"{name} has no effect: {function} is a function, which is called with the inputs"
            )
    if not _takes_inputs(found):
        raise ModelError(
            f"{function} takes no inputs, and a function is called with them: if it makes the model, name it with "
            "MODEL_CLASS"
        )
    stem = [one for one in files.sets if os.path.splitext(one.name)[0] == files.stem]
    read = read_by_code(folder, [one.name for one in stem])
    for one in stem:
        if one.name not in read and not evidence.has_read(os.path.join(folder, one.name)):
            raise ModelError(
                f"{one.name} has no effect: {function} is a function, not an nn.Module; if it makes the model, "
                f"name it with MODEL_CLASS"
            )
    return Loaded(found, (), own=True)


def _takes_inputs(function: Any) -> bool:
    try:
        return bool(inspect.signature(function).parameters)
    except (TypeError, ValueError):  # written in C
        return True


def _load_alone(files: Files, folder: str, parameters: Parameters, device: torch.device | None) -> Loaded:
    """Load a file that contains the whole model, where there is no code."""
    if parameters.model_weights:
        sets: list[WeightSet] = [choose_named(folder, parameters.model_weights)]
    else:
        sets = list(files.sets)
    if not sets:
        stem = files.stem
        names = f"{stem}.py, {stem}.pt, {stem}.safetensors or {stem}.pt2"
        other = [one for one in find_elsewhere(folder) if one.lower().endswith(UNREADABLE)]
        other = [f"; {one} is in a format that torch does not read" for one in other[:1]]
        raise ModelError(f"nothing to serve in {folder}: no {names}{''.join(other)}")
    if len(sets) > 1:
        raise ModelError(f"several files of weights in {folder}: {unclear(sets)}")
    (one,) = sets
    if one.problem:
        raise ModelError(f"{one.name} cannot be read: {one.problem}")
    if len(one.files) > 1:
        raise ModelError(f"{one.name} holds weights without a model: {without_model(folder)}")
    path = os.path.join(folder, one.files[0])
    loaded = Loaded(load_saved(path, device), (path,), own=True)
    _check_unused(parameters, path)
    return loaded


def load_saved(path: str, device: torch.device | None) -> Any:
    """Load the file at *path*, which contains a whole model, onto *device* (None: the default)."""
    name, kind, version = os.path.basename(path), kind_of(path), torch.__version__
    if kind == "state_dict":
        raise ModelError(f"{name} holds weights without a model: {without_model(os.path.dirname(path))}")
    try:
        if kind == "torchscript":
            return torch.jit.load(path, map_location=device)  # type: ignore[no-untyped-call]  # torch's
        if kind == "aotinductor":
            return load_aotinductor(path, device)
        return torch.export.load(path).module()
    except ModelError as error:
        raise ModelError(f"{name}: {error}") from error
    except Exception as error:
        newer = re.search(r"version (\d+), but the maximum .* version for reading is (\d+)", str(error))
        if newer:
            both = f"its format is {newer[1]}, torch {version} reads up to {newer[2]}"
            raise ModelError(f"{name} was written by a newer torch: {both}") from error
        raise ModelError(f"torch {version} cannot load {name} ({kind}): {describe(error, '')}") from error


def pick_device(kind: str, device_id: str, module: Any) -> torch.device:
    """Return the device of an instance; for KIND_MODEL that of *module*, or the first available."""
    if kind == "GPU":
        return torch.device("cuda", int(device_id))
    if kind == "CPU":
        return torch.device("cpu")
    if isinstance(module, AOTInductorModel) and module.device_type:
        return torch.device("cuda:0" if module.device_type == "cuda" else module.device_type)
    if isinstance(module, torch.nn.Module):
        for tensor in [*module.parameters(), *module.buffers()]:
            return tensor.device
    return torch.device("cuda:0" if torch.cuda.is_available() else "cpu")
