"""The files of a version folder: which of them make the model, what they hold, and the user's code in them."""

from __future__ import annotations

import importlib.util
import inspect
import os
import sys
import types
import zipfile
from typing import Any, NamedTuple

import torch

from .errors import ModelError, describe
from .parameters import Parameters

PACKAGE = "triton_model_"


class Files(NamedTuple):
    """The files of a version folder that are served: paths, or None."""

    source: str | None
    weights: str | None
    exported: str | None
    runtime: str
    """The file that Triton loaded, which may lie there, too."""


def find_files(folder: str, default_name: str, runtime: str) -> Files:
    """Say which files in *folder* make the model; *default_name* is ``default_model_filename``.

    *runtime* is the file that Triton loaded, which is none of them.

    Raises:
        ModelError: there is nothing to serve.
    """
    stem, extension = "model", ""
    named = os.path.join(folder, default_name) if default_name else ""
    if named and os.path.exists(named) and not os.path.samefile(named, runtime):
        stem, extension = os.path.splitext(default_name)

    def existing(*extensions: str) -> str | None:
        paths = [os.path.join(folder, stem + extension) for extension in extensions]
        return next((p for p in paths if os.path.exists(p) and not os.path.samefile(p, runtime)), None)

    exported, source, weights = existing(".pt2"), existing(".py"), existing(".safetensors", ".pt")
    if exported and extension in (".pt2", ""):  # complete: a model.py beside it is what it was made from
        return Files(None, None, exported, runtime)
    if weights and weights.endswith(".safetensors") and existing(".pt"):
        raise ModelError(f"both {stem}.safetensors and {stem}.pt in {folder}: keep the one that is meant")
    if source or weights:
        return Files(source, weights, None, runtime)
    names = f"{stem}.py, {stem}.pt, {stem}.safetensors or {stem}.pt2"
    raise ModelError(f"nothing to serve in {folder}: no {names}")


def kind_of(path: str) -> str:
    """Say what the file at *path* holds: ``torchscript``, ``state_dict``, ``exported`` or ``aotinductor``.

    Raises:
        ModelError: it is none of them; the message has its first bytes.
    """
    file = os.path.basename(path)
    with open(path, "rb") as opened:
        head = opened.read(64)
    if path.endswith(".safetensors") or head.startswith(b"\x80"):  # the format of torch.save before 1.6
        return "state_dict"
    if not head.startswith(b"PK\x03\x04"):
        hint = "(a download that failed, or a Git LFS pointer?)"
        raise ModelError(f"{file} is not a file that PyTorch wrote: it begins with {head[:32]!r} {hint}")
    if not zipfile.is_zipfile(path):
        raise ModelError(f"{file} is cut short or damaged: a zip archive without its end")
    with zipfile.ZipFile(path) as archive:
        whole = archive.namelist()
    names = [name.split("/", 1)[-1] for name in whole]
    if any(name.startswith("data/aotinductor/") for name in names):
        return "aotinductor"
    if any(name.startswith(("models/", "serialized_exported_program")) for name in [*names, *whole]):
        return "exported"
    return "torchscript" if "constants.pkl" in names else "state_dict"


def import_source(path: str, package: str) -> types.ModuleType:
    """Import the model file at *path* as ``<package>.model``, with its folder importable.

    A package of its own makes ``from .blocks import X`` work, lets objects pickle, and keeps two models with
    helper modules of the same name apart.
    """
    folder = os.path.dirname(path)
    _forget_other_folders(folder)
    sys.path.insert(0, folder)
    parent = types.ModuleType(package)
    parent.__path__ = [folder]
    sys.modules[package] = parent
    name = f"{package}.{os.path.splitext(os.path.basename(path))[0]}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise ModelError(f"{os.path.basename(path)} cannot be imported: {describe(error, folder)}") from error
    return module


def _forget_other_folders(folder: str) -> None:
    """Forget top-level modules that were imported from version folders of other models in this process."""
    packages = [name for name in sys.modules if name.startswith(PACKAGE) and "." not in name]
    others = {path for name in packages for path in sys.modules[name].__path__} - {folder}
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if file and "." not in name and os.path.dirname(file) in others:
            del sys.modules[name]
    sys.path[:] = [part for part in sys.path if part != folder and part not in others]


def find_model(module: types.ModuleType, parameters: Parameters) -> Any:
    """Return the one class (a subclass of ``nn.Module``) or plain function in *module* that is to be served.

    Raises:
        ModelError: none, several, or not the one that MODEL_CLASS or MODEL_FUNCTION names.
    """

    def is_class(value: Any) -> bool:
        return inspect.isclass(value) and issubclass(value, torch.nn.Module)

    file = os.path.basename(str(module.__file__))
    own = {n: v for n, v in vars(module).items() if getattr(v, "__module__", None) == module.__name__}
    classes = [n for n, v in own.items() if is_class(v)]
    functions = [n for n, v in own.items() if inspect.isfunction(v) and not n.startswith("_")]
    for parameter, wanted, fits, names in (
        ("MODEL_CLASS", parameters.model_class, is_class, classes),
        ("MODEL_FUNCTION", parameters.model_function, callable, functions),
    ):
        value = getattr(module, wanted or "", None)
        if wanted and fits(value):
            return value
        if wanted:
            found = ", ".join(names) or "nothing"
            raise ModelError(f"{parameter}: there is no {wanted!r} in {file}; found: {found}")
    names, kind, parameter = classes, "nn.Module", "MODEL_CLASS"
    if not classes:
        names, kind, parameter = functions, "function", "MODEL_FUNCTION"
    if not names:
        raise ModelError(f"{file} defines no nn.Module and no function")
    if len(names) > 1:
        several = f"{file} defines several {kind}s: {', '.join(names)}"
        raise ModelError(f"{several}; {parameter} says which is served")
    return own[names[0]]
