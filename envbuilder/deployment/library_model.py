"""A model that a library defines, and the config.pbtxt for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from envbuilder.deployment.architectures import Tensor
from envbuilder.deployment.pbtxt import quote
from envbuilder.util.printable import printable_line

_BATCH = 8
_SHOWN = 6


@dataclass(frozen=True, kw_only=True, slots=True)
class LibrarySource:
    """The source of a model: a folder that a library wrote, or a class or function of a library."""

    name: str
    """The folder, or ``module:name``."""
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    """Keyword arguments for the class or function (MODEL_KWARGS)."""
    weights: str | None = None
    """The weights file; ``none`` to serve the model as constructed; None: no file is copied."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LibraryModel:
    """A model that a library defines, so that no ``model.py`` is needed."""

    what: str
    """A description, for a comment in config.pbtxt."""
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    dependencies: tuple[str, ...]
    """Dependencies for the recipe."""
    parameters: Mapping[str, str] = field(default_factory=dict)
    folder: Path | None = None
    """The folder whose files are copied into the version folder."""
    weights: Path | None = None
    """A weights file to copy, if it is not in *folder*."""
    left_out: tuple[str, ...] = ()
    """Files of *folder* that are not copied, as paths relative to it."""

    def config(self) -> str:
        """Return the text of the config.pbtxt."""
        lines = [f"# {self.what}"]
        if self.left_out:
            more = f" and {len(self.left_out) - _SHOWN} more" if len(self.left_out) > _SHOWN else ""
            lines.append(f"# not copied: {', '.join(map(printable_line, self.left_out[:_SHOWN]))}{more}")
        lines.append(f"max_batch_size: {_BATCH}")
        for kind, tensors in (("input", self.inputs), ("output", self.outputs)):
            lines += [f"{kind} [", ",\n".join(f"  {one.text()}" for one in tensors), "]"]
        lines += ["dynamic_batching { }", "instance_group [ { count: 1 } ]"]
        for key, value in self.parameters.items():
            lines.append(f"parameters {{ key: {quote(key)} value {{ string_value: {quote(value)} }} }}")
        return "\n".join(lines) + "\n"
