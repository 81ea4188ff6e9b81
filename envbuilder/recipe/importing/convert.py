"""The recipe that a file of another tool becomes, and what became of each of its lines."""

from __future__ import annotations

import io
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from ruamel.yaml import YAML

from envbuilder.catalog.torch import newest_python
from envbuilder.catalog.triton import PYTRITON, Release, find_release
from envbuilder.recipe.conda import TORCH_PACKAGES
from envbuilder.recipe.importing.conda_packages import CondaPart
from envbuilder.recipe.importing.remark import Remark, Said
from envbuilder.recipe.importing.torch import FAMILY, TorchChoice, choose_python, choose_torch, is_torch
from envbuilder.recipe.importing.wanted import Imported, holds, parse
from envbuilder.recipe.schema import SCHEMA_FILE


@dataclass(frozen=True, kw_only=True, slots=True)
class Import:
    """What became of a file."""

    recipe: Path
    kind: str
    """What the file is, for people: ``a requirements file``."""
    remarks: tuple[Remark, ...]
    """What became of each line, in the order of the file."""


@dataclass(frozen=True, kw_only=True, slots=True)
class MadeRecipe:
    """A recipe made of a file."""

    text: str
    remarks: tuple[Remark, ...]
    """What became of each line, in the order of the file."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Choices:
    """What a person says instead of the file."""

    triton: str | None = None
    torch: str | None = None
    cuda: str | None = None
    python: str | None = None


def recipe_name(imported: Imported) -> str:
    """Return what a recipe made of *imported* is called."""
    return re.sub(r"[^A-Za-z0-9_-]+", "-", imported.name).strip("-_") or "environment"


def make_recipe(imported: Imported, folder: Path, choices: Choices | None = None) -> MadeRecipe:
    """Make a recipe in *folder* of *imported*; what *choices* say counts instead of what the file says.

    Raises:
        RecipeError: no such release.
        ResolveError: the file has match specs, and py-rattler is not installed.
    """
    choices = choices or Choices()
    release = find_release(choices.triton or PYTRITON)
    conda = CondaPart(folder=folder)
    remarks = [*imported.wanted.remarks]
    if choices.triton is None:
        remarks.append(
            imported.whole.changed(
                f"sets no Triton release: triton: {PYTRITON}; --triton names a different release"
            )
        )
    specs = []
    if imported.conda is not None:
        remarks += imported.conda.remarks
        specs = conda.read_specs(imported.conda.specs)
        conda.read_channels(imported.conda)
    chosen = choose_torch(imported, specs, torch=choices.torch, cuda=choices.cuda)
    python, python_remarks = choose_python(imported, specs, release, chosen.torch, choices.python)
    family = bool(imported.wanted.names() & {*FAMILY})
    from_channel = not chosen.from_pip and conda.torch_from_channel(specs, family=family)
    minor = python or newest_python(chosen.torch, release.pythons)
    twice = {
        canonicalize_name(one.name): (said, one)
        for said, one in imported.wanted.requirements
        if holds(one.marker, minor) and not is_torch(one) and one.name not in FAMILY
    }
    kept = set()
    for spec in specs:
        none = (None, None)
        said, requirement = (
            none if spec.name in TORCH_PACKAGES else twice.get(canonicalize_name(spec.name), none)
        )
        if said is None or requirement is None or conda.settle(spec, said, requirement):
            conda.place(spec, chosen, from_channel=from_channel, minor=minor)
            kept |= {said.place} if said is not None else set()
    if imported.conda is not None:
        conda.finish(imported.whole)
    wheels = _Wheels(folder=folder, minor=minor, choice=chosen, release=release)
    wheels.fill(imported, conda.wheels, kept)
    remarks += [*chosen.remarks, *python_remarks, *conda.remarks, *wheels.remarks]
    with_conda = bool(conda.conda or conda.bundled)
    keys: dict[str, Any] = {
        "triton": release.name,
        "torch": chosen.torch,
        "cuda": chosen.cuda,
        "python": python,
        "provider": "conda" if with_conda else None,
        "channels": conda.channels if with_conda else [],
        "conda": conda.conda,
        "compiler": "bundled" if conda.bundled else None,
        "dependencies": wheels.dependencies,
        "constraints": wheels.constraints,
        "prereleases": True if imported.wanted.prereleases is not None else None,
        "build-from-source": sorted({canonicalize_name(name) for name in imported.wanted.build}),
    }
    ordered = sorted(remarks, key=lambda remark: _order(remark, imported.path))
    left_out = [remark for remark in ordered if remark.fate == "left out"]
    return MadeRecipe(text=_text(keys, imported, left_out), remarks=tuple(ordered))


_PLACEHOLDERS = {
    "pytorch": "pip's pytorch is a placeholder that cannot be installed: use torch",
    "sklearn": "pip's sklearn is a placeholder that cannot be installed: use scikit-learn",
}


# -- wheels ----------------------------------------------------------------------------------------


@dataclass(kw_only=True, slots=True)
class _Wheels:
    folder: Path
    """Where the recipe will lie: relative paths are from there."""
    minor: str
    choice: TorchChoice
    release: Release
    dependencies: list[str] = field(default_factory=list)
    constraints: list[str] = field(default_factory=list)
    remarks: list[Remark] = field(default_factory=list)

    def fill(self, imported: Imported, from_conda: Sequence[tuple[Said, str]], kept: set[str]) -> None:
        """Take in what conda packages became, what pip is asked for, and what limits it.

        *kept* are places of requirements that conda packages fulfil.
        """
        for _, text in from_conda:
            found = parse(text)
            assert isinstance(found, Requirement)
            self._add(str(found), self.dependencies)
        said_otherwise = {remark.place for remark in imported.wanted.remarks if remark.fate == "changed"}
        for said, requirement in imported.wanted.requirements:
            if said.place in kept:
                continue
            self._take(said, requirement, self.dependencies, quiet=said.place in said_otherwise)
        for said, requirement in imported.wanted.constraints:
            self._take(said, requirement, self.constraints, quiet=False)

    def _take(self, said: Said, requirement: Requirement, into: list[str], *, quiet: bool) -> None:
        if is_torch(requirement):
            return  # its remark says what it became
        if not holds(requirement.marker, self.minor):
            self.remarks.append(said.left_out(f"not for CPython {self.minor} on Linux, x86-64"))
            return
        why = _PLACEHOLDERS.get(canonicalize_name(requirement.name)) or self._clash(requirement)
        if why is not None:
            self.remarks.append(said.left_out(why))
            return
        text, how = self._written(requirement, into)
        if how:
            self.remarks.append(said.changed(how))
        elif not quiet:
            self.remarks.append(said.carried())
        self._add(text, into)

    def _clash(self, requirement: Requirement) -> str | None:
        """Say which demand of the release a requirement contradicts; None: it does not."""
        for text in self.release.demands:
            demand = Requirement(text)
            if canonicalize_name(demand.name) != canonicalize_name(requirement.name):
                continue
            pinned = [one.version for one in requirement.specifier if one.operator in ("==", "===")]
            if (
                pinned
                and not pinned[0].endswith(".*")
                and not demand.specifier.contains(pinned[0], prereleases=True)
            ):
                return f"Triton {self.release.name} itself demands {demand}"
        return None

    def _written(self, requirement: Requirement, into: list[str]) -> tuple[str, str]:
        """Return a requirement as the recipe says it, and what of it is other than in the file."""
        if requirement.url is not None and requirement.url.startswith("file:"):
            return self._local(requirement), ""
        pinned = str(requirement.specifier)
        if canonicalize_name(requirement.name) in FAMILY and "+" in pinned:
            variant = re.search(r"\+([\w.]+)", pinned)
            requirement.specifier = SpecifierSet(re.sub(r"\+[\w.]+", "", pinned))
            clash = (
                "" if variant and variant[1] == self.choice.cuda else f"clash with {variant and variant[1]}: "
            )
            return str(requirement), f"{requirement}: {clash}cuda: {self.choice.cuda} says its build"
        if into is self.constraints:
            return str(requirement), f"constraints: {requirement}"
        return str(requirement), ""

    def _local(self, requirement: Requirement) -> str:
        """Return a reference to a local wheel or folder, by its path from where the recipe lies."""
        place = os.path.relpath(url2pathname(urlsplit(requirement.url or "").path), self.folder)
        place = place if place.startswith(".") else f"./{place}"
        if place.endswith(".whl") and not requirement.extras and requirement.marker is None:
            return place
        extras = f"[{','.join(sorted(requirement.extras))}]" if requirement.extras else ""
        marker = f" ; {requirement.marker}" if requirement.marker is not None else ""
        return f"{requirement.name}{extras} @ {place}{marker}"

    def _add(self, text: str, into: list[str]) -> None:
        if text not in into:
            into.append(text)


# -- the file --------------------------------------------------------------------------------------


def _order(remark: Remark, path: Path) -> tuple[bool, str, int]:
    """Sort what is of the whole file first, then its lines, then those of other files."""
    source, _, line = remark.place.rpartition(":")
    if not line.isdecimal():
        return (False, str(path), 0)
    return (source != str(path), source, int(line))


def _text(keys: dict[str, Any], imported: Imported, left_out: Sequence[Remark]) -> str:
    head = [
        f"# yaml-language-server: $schema={SCHEMA_FILE}",
        f"# Made of {imported.path.name}, {imported.kind}, by `envbuilder import`.",
    ]
    if left_out:
        head.append("# Left out:")
        head += [f"#   {Path(one.place).name}: {' '.join(one.text.split())}: {one.why}" for one in left_out]
    yaml = YAML()
    yaml.width = 4096  # a value is never folded
    yaml.indent(mapping=2, sequence=4, offset=2)
    body = io.StringIO()
    yaml.dump({key: value for key, value in keys.items() if value not in (None, [])}, body)
    return "\n".join(head) + "\n\n" + body.getvalue()
