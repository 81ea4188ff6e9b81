"""The files of a version folder: which of them define the model, their formats, and the user's code in them."""

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
from .weight_files import WeightSet, find_weights, not_weights, preferred, zip_members

PACKAGE = "triton_model_"
MOST_COMPRESSED = 2**30
"""Limit for the unpacked size of compressed members in a file of torch, in bytes: only code is compressed."""


class Files(NamedTuple):
    """The files of a version folder that are served: paths, or None."""

    source: str | None
    exported: str | None
    runtime: str
    """The file that Triton loaded, which may be there, too."""
    sets: tuple[WeightSet, ...] = ()
    """Weights in the folder; loading determines which of them are used."""
    weights: tuple[str, ...] = ()
    """The files of the weights that were loaded."""
    stem: str = "model"
    """The names of the files that define the model."""


def find_files(folder: str, default_name: str, runtime: str) -> Files:
    """Find the files in *folder* that define the model; *default_name* is ``default_model_filename``.

    *runtime* is the file that Triton loaded; it is not one of them.
    """
    stem, extension = "model", ""
    named = os.path.join(folder, default_name) if default_name else ""
    if named and os.path.exists(named) and not os.path.samefile(named, runtime):
        stem, extension = os.path.splitext(default_name)

    def existing(extension: str) -> str | None:
        path = os.path.join(folder, stem + extension)
        return path if os.path.exists(path) and not os.path.samefile(path, runtime) else None

    exported, source = existing(".pt2"), existing(".py")
    if exported and extension in (".pt2", ""):  # complete: a model.py beside it is its source
        return Files(None, exported, runtime, stem=stem)
    runtimes = [os.path.basename(runtime)] if os.path.dirname(runtime) == folder else []
    return Files(source, None, runtime, preferred(folder, find_weights(folder, runtimes)), stem=stem)


def kind_of(path: str) -> str:
    """Return the format of the file at *path*: ``torchscript``, ``state_dict``, ``exported`` or ``aotinductor``.

    Raises:
        ModelError: it has none of these formats; the message has its first bytes.
    """
    file = os.path.basename(path)
    with open(path, "rb") as opened:
        head = opened.read(64)
    problem = not_weights(head)
    if problem:
        raise ModelError(f"{file} cannot be read: {problem}")
    torch_zip = head.startswith(b"PK\x03\x04")
    named = path.endswith(".safetensors") and not torch_zip
    if named or head[8:10] == b'{"' or head.startswith(b"\x80"):  # \x80: before 1.6
        return "state_dict"
    if not torch_zip:
        hint = "(a download that failed, or a Git LFS pointer?)"
        raise ModelError(f"{file} is not a file that PyTorch wrote: it begins with {head[:32]!r} {hint}")
    if not zipfile.is_zipfile(path):
        raise ModelError(f"{file} is truncated or damaged: a zip archive without its end")
    whole = _member_names(path)
    names = [name.split("/", 1)[-1] for name in whole]
    if any(name.startswith("data/aotinductor/") for name in names):
        return "aotinductor"
    if any(name.startswith(("models/", "serialized_exported_program")) for name in [*names, *whole]):
        return "exported"
    return "torchscript" if "constants.pkl" in names else "state_dict"


def _member_names(path: str) -> list[str]:
    """Return the names of the members of a file that torch wrote, which compresses only code.

    Raises:
        ModelError: it is damaged, or would unpack to far more than its size: torch reads each member into memory.
    """
    file = os.path.basename(path)
    try:
        members = zip_members(path)
    except (zipfile.BadZipFile, ValueError, NotImplementedError) as error:
        raise ModelError(f"{file} is damaged: {describe(error, '')}") from error
    unpacked, most = sum(member.file_size for member in members), os.path.getsize(path) + MOST_COMPRESSED
    if unpacked > most:
        raise ModelError(
            f"{file} would unpack to {unpacked:,} bytes, more than {most:,}: "
            "its size and 1 GiB, as torch compresses no tensors"
        )
    return [member.filename for member in members]


def import_source(path: str, package: str) -> types.ModuleType:
    """Import the model file at *path* as ``<package>.model``, with its folder importable.

    A package of its own makes ``from .blocks import X`` work, lets objects pickle, and keeps two models with
    helper modules of the same name apart.
    """
    folder = os.path.dirname(path)
    forget_other_folders(folder)
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
        told = f"{describe(error, folder)}{_missing(error)}"
        raise ModelError(f"{os.path.basename(path)} cannot be imported: {told}") from error
    except SystemExit as error:  # it would end the stub, which Triton waits for
        raise ModelError(ended(os.path.basename(path), error)) from error
    return module


def _missing(error: Exception) -> str:
    """Return what to do about a module that a model's code imports and that does not exist."""
    name = (getattr(error, "name", None) or "").split(".")[0]
    if not isinstance(error, ModuleNotFoundError) or not name or name.startswith(PACKAGE):
        return ""
    return (
        f"; add what provides {name} to the recipe's dependencies, or put {name}.py into the version folder"
    )


def ended(what: str, error: SystemExit) -> str:
    """Return the message for code (*what*) that calls ``sys.exit`` while it is imported or constructs a model."""
    return (
        f"{what} ends the process (SystemExit: {error.code}): what it does as a program belongs under "
        "`if __name__ == '__main__':`"
    )


def forget_other_folders(folder: str) -> None:
    """Forget top-level modules that were imported from version folders of other models in this process."""
    packages = [name for name in sys.modules if name.startswith(PACKAGE) and "." not in name]
    others = {path for name in packages for path in sys.modules[name].__path__} - {folder}
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if file and "." not in name and os.path.dirname(file) in others:
            del sys.modules[name]
    sys.path[:] = [part for part in sys.path if part != folder and part not in others]


def find_model(module: types.ModuleType, parameters: Parameters) -> Any:
    """Return the object of *module* to serve: a subclass of ``nn.Module``, an instance of one, or a plain function.

    A function that MODEL_CLASS names is a factory that returns the model; otherwise a function is the model itself.

    Raises:
        ModelError: there is none, there are several, or MODEL_CLASS or MODEL_FUNCTION names another.
    """
    file = os.path.basename(str(module.__file__))
    own = {n: v for n, v in vars(module).items() if getattr(v, "__module__", None) == module.__name__}
    classes = [n for n, v in own.items() if is_class(v) and not inspect.isabstract(v)]
    functions = [n for n, v in own.items() if inspect.isfunction(v) and not n.startswith("_")]
    instances = _instances(module, [own[name] for name in classes])
    for parameter, wanted, fits, names in (
        ("MODEL_CLASS", parameters.model_class, makes_model, [*classes, *instances]),
        ("MODEL_FUNCTION", parameters.model_function, callable, functions),
    ):
        value = getattr(module, wanted or "", None)
        if wanted and fits(value):
            return value
        if wanted:
            found = ", ".join(names) or "nothing"
            raise ModelError(f"{parameter}: there is no {wanted!r} in {file}; found: {found}")
    wrappers = [n for n in functions if not set(own[n].__code__.co_names).isdisjoint(instances)]
    if len(instances) == 1 and (
        classes or not wrappers
    ):  # a function that calls it is the purpose of the file
        return vars(module)[instances[0]]
    names, kind, parameter = instances or classes, "nn.Module", "MODEL_CLASS"
    if not classes and (wrappers or not instances):
        names, kind, parameter = functions, "function", "MODEL_FUNCTION"
    if not names:
        raise ModelError(f"{file} defines no nn.Module and no function{_imported(module)}")
    if len(names) > 1:
        several = f"{file} defines several {kind}s: {', '.join(names)}"
        raise ModelError(f"{several}; {parameter} says which is served")
    return vars(module)[names[0]]


def is_class(value: Any) -> bool:
    """Return whether *value* is a subclass of ``nn.Module``."""
    return inspect.isclass(value) and issubclass(value, torch.nn.Module)


def makes_model(value: Any) -> bool:
    """Return whether *value* is a subclass or an instance of ``nn.Module``, or a function that may return one."""
    return is_class(value) or (callable(value) and not inspect.isclass(value))


def _instances(module: types.ModuleType, classes: list[Any]) -> list[str]:
    """Return the names of module instances in the file.

    If it defines module classes, only instances that contain one of these count.
    """
    found: dict[int, str] = {}
    for name, value in vars(module).items():
        made = isinstance(value, torch.nn.Module) and not name.startswith("_")
        if made and (not classes or any(type(part) in classes for part in value.modules())):
            found.setdefault(id(value), name)
    inside = {id(part) for name in found.values() for part in list(vars(module)[name].modules())[1:]}
    return [name for identity, name in found.items() if identity not in inside]


def _imported(module: types.ModuleType) -> str:
    """Return a hint with the classes of *module* that may be meant: those of Triton's interface, or imported ones."""
    served = [
        n for n, v in vars(module).items() if inspect.isclass(v) and callable(getattr(v, "execute", None))
    ]
    if served:
        return f"; {served[0]} has execute: Triton serves such a class by the name TritonPythonModel"
    names = [n for n, v in vars(module).items() if is_class(v)]
    if not names:
        return ""
    which = "it" if len(names) == 1 else "one of them"
    return f"; it imports {', '.join(names[:8])}: MODEL_CLASS serves {which}"
