"""Observe which weights a model's own code loads while it is imported and constructed; they are not loaded again."""

from __future__ import annotations

import os
import re
import sys
from types import FrameType, TracebackType
from typing import Any

READERS = {
    ("torch/serialization.py", "load"): "f",
    ("torch/jit/_serialization.py", "load"): "f",
    ("torch/nn/modules/module.py", "load_state_dict"): "",
    ("safetensors/torch.py", "load_file"): "filename",
    ("safetensors/torch.py", "load_model"): "filename",
    ("transformers/modeling_utils.py", "from_pretrained"): "pretrained_model_name_or_path",
    ("diffusers/models/modeling_utils.py", "from_pretrained"): "pretrained_model_name_or_path",
    ("numpy/lib/npyio.py", "load"): "file",
    ("numpy/lib/_npyio_impl.py", "load"): "file",
}
"""Functions that load weights, by the end of their file's path and their name, with the argument that is the path."""
_STANDARD = re.compile(
    r"(model|pytorch_model|diffusion_pytorch_model|adapter_model)(\.\w+)?(-\d{5}-of-\d{5})?\.(safetensors|bin)"
)
"""Matches names of files that ``from_pretrained`` finds in a folder, with shards and variants."""
_NAMES = {name for _, name in READERS}
_GIVERS = {
    "load_state_dict": "torch/nn/modules/module.py",
    "from_pretrained": "/modeling_utils.py",
    "load": "torch/jit/_serialization.py",
}
"""Functions that give a module its weights, and where they are defined."""
_CALLS = re.compile(rb"\b(load|from_pretrained|load_state_dict|load_file|load_model|safe_open)\b")


class Evidence:
    """A context that records calls of functions that load weights, however they were imported."""

    def __init__(self) -> None:
        self.loaded = False
        """Whether anything was loaded."""
        self.paths: list[str] = []
        """The files and folders that were read, as far as they are known."""
        self._given: set[int] = set()
        """The parameters of modules that were given weights, by identity."""
        self._calls: dict[FrameType, str | None] = {}
        """Calls of loading functions that have not returned yet, each with the path it loads from, if known."""
        self._kept: list[Any] = []
        """References to those, so that no identity is reused."""
        self._before: Any = None

    def __enter__(self) -> Evidence:
        self._before = sys.getprofile()
        sys.setprofile(self._note)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # A C profiler such as cProfile is returned as an object that cannot be set again: it has ended already.
        sys.setprofile(self._before if callable(self._before) else None)

    def _note(self, frame: FrameType, event: str, argument: Any) -> None:
        if event == "c_call":
            if getattr(argument, "__name__", "") == "get_tensor":  # safetensors.safe_open
                self.loaded = True
        elif event == "call" and frame.f_code.co_name in _NAMES:
            self._begun(frame)
        elif event == "return" and frame in self._calls:
            path = self._calls.pop(frame)
            if argument is None:  # it raised an exception, so nothing was loaded
                return
            self.loaded = True
            if path is not None:
                self.paths.append(path)
        if event == "return" and argument is not None and frame.f_code.co_name in _GIVERS:
            given = frame.f_locals.get("self") if frame.f_code.co_name == "load_state_dict" else argument
            if _GIVERS[frame.f_code.co_name] in frame.f_code.co_filename:
                self._gave(given)

    def _begun(self, frame: FrameType) -> None:
        file = frame.f_code.co_filename
        for (end, name), argument_name in READERS.items():
            if name == frame.f_code.co_name and file.endswith(end):
                where = frame.f_locals.get(argument_name)
                if not isinstance(where, os.PathLike):  # the name of a Path is only its last part
                    where = getattr(where, "name", where)  # an open file
                known = os.fspath(where) if isinstance(where, (str, os.PathLike)) else None
                self._calls[frame] = known

    def _gave(self, given: Any) -> None:
        module = given[0] if isinstance(given, tuple) and given else given  # with output_loading_info
        if callable(getattr(module, "parameters", None)):
            parameters = list(module.parameters())
            self._kept += parameters
            self._given.update(map(id, parameters))

    def gave_all(self, module: Any) -> bool:
        """Return whether every parameter of *module* belongs to a module that was given weights."""
        return all(id(parameter) in self._given for parameter in module.parameters())

    def ungiven(self, module: Any) -> list[str]:
        """Return the names of parameters of *module* that still seem to have the values of its constructor.

        If code loaded tensors without ``load_state_dict`` or ``from_pretrained``, it is trusted to have assigned them
        all.
        """
        if self.loaded and not self._given:
            return []
        return [name for name, parameter in module.named_parameters() if id(parameter) not in self._given]

    def has_read(self, path: str) -> bool:
        """Return whether the file at *path* was loaded, or ``from_pretrained`` finds it in a folder that was."""
        candidates = [one for one in self.paths if os.path.exists(one)]
        if not os.path.exists(path):
            return False
        found = bool(_STANDARD.fullmatch(os.path.basename(path)))
        return any(
            os.path.samefile(one, path) or (found and os.path.samefile(one, os.path.dirname(path)))
            for one in candidates
        )


def may_load(folder: str) -> bool:
    """Return whether code in *folder* mentions a function that loads weights.

    Otherwise its import is not observed.
    """
    with os.scandir(folder) as entries:
        paths = [entry.path for entry in entries if entry.name.endswith(".py") and entry.is_file()]
    for path in paths:
        with open(path, "rb") as file:
            if _CALLS.search(file.read(16 * 2**20)):
                return True
    return False
