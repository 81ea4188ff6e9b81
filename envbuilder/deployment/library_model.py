"""A model that a library defines, as a configuration and a recipe describe it."""

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
    """What a model is made from: a folder that a library wrote, or a function of one."""

    name: str
    """The folder, or ``module:name``."""
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    """What the function is called with."""
    weights: str | None = None
    """The file of its weights; ``none`` to serve what it returns as it is."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LibraryModel:
    """A model that needs no code of its own."""

    what: str
    """What it was found to be, for a comment."""
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    dependencies: tuple[str, ...]
    """What the recipe needs."""
    parameters: Mapping[str, str] = field(default_factory=dict)
    folder: Path | None = None
    """Where the files of its version come from."""
    weights: Path | None = None
    """The file of its weights, where those come by themselves."""
    left_out: tuple[str, ...] = ()
    """Which of them it does not need."""

    def config(self) -> str:
        """Return the text of its config.pbtxt."""
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
