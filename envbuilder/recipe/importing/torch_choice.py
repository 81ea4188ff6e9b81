"""The torch of a recipe, also as determined by packages that are built with it."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from envbuilder.catalog.torch import table, torch_of
from envbuilder.recipe.importing.remark import Remark
from envbuilder.recipe.importing.wanted import Wanted
from envbuilder.recipe.template import DEFAULT_TORCH

FAMILY: Final = ("torchvision", "torchaudio")
"""Packages that are built with torch, and come from the same index."""


@dataclass(kw_only=True, slots=True)
class TorchChoice:
    """The values of ``torch:`` and ``cuda:``, and why."""

    torch: str
    cuda: str
    remarks: list[Remark] = field(default_factory=list)
    from_pip: bool = False
    """Whether torch is a wheel that pip would have installed, not a conda package."""
    clash: str = ""
    """Why it is not the torch that the file requires."""

    @property
    def summary(self) -> str:
        """Return the values for a remark."""
        values = f'torch: "{self.torch}", cuda: {self.cuda}'
        return f"clash: {self.clash}: {values}" if self.clash else values


def is_torch(requirement: Requirement) -> bool:
    """Return whether a requirement is for torch itself."""
    return canonicalize_name(requirement.name) == "torch"


def default_torch(python: str) -> str:
    """Return the torch for a file that sets no version: one with wheels for *python*."""
    fitting = [build.version for build in table() if python in build.pythons]
    return DEFAULT_TORCH if DEFAULT_TORCH in fitting or not fitting else fitting[-1]


def of_family(wanted: Wanted) -> str | None:
    """Return the version of torch that a pinned torchvision or torchaudio was built for."""
    for _, requirement in (*wanted.requirements, *wanted.constraints):
        name = canonicalize_name(requirement.name)
        for one in requirement.specifier if name in FAMILY else ():
            if one.operator == "==" and (found := torch_of(name, one.version)) is not None:
                return found
    return None


def local_of_family(wanted: Wanted) -> str | None:
    """Return the variant that the version of a torchvision or torchaudio names: ``0.22.1+cu126``."""
    for _, requirement in wanted.requirements:
        for one in requirement.specifier if canonicalize_name(requirement.name) in FAMILY else ():
            match = re.search(r"\+(cpu|cu\d{3})$", one.version)
            if match is not None:
                return match[1]
    return None
