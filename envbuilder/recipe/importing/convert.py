"""Convert another tool's file to a recipe, with a remark on each of its lines."""

from __future__ import annotations

import io
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version
from ruamel.yaml import YAML

from envbuilder.catalog.torch import find_build, newest_python
from envbuilder.catalog.triton import PYTRITON, Release, find_release
from envbuilder.errors import RecipeError
from envbuilder.recipe.conda import TORCH_PACKAGES
from envbuilder.recipe.importing.conda_packages import CondaPart, stays
from envbuilder.recipe.importing.match_spec import Spec
from envbuilder.recipe.importing.python import choose_python, possible_pythons
from envbuilder.recipe.importing.remark import Remark, SourceLine, one_fate
from envbuilder.recipe.importing.torch import choose_torch
from envbuilder.recipe.importing.torch_choice import FAMILY, TorchChoice, is_torch
from envbuilder.recipe.importing.wanted import Imported, holds, parse
from envbuilder.recipe.schema import SCHEMA_FILE


@dataclass(frozen=True, kw_only=True, slots=True)
class Import:
    """The result of an import."""

    recipe: Path
    kind: str
    """The file's format, for messages: ``a requirements file``."""
    remarks: tuple[Remark, ...]
    """What became of each line, in the order of the file."""


@dataclass(frozen=True, kw_only=True, slots=True)
class MadeRecipe:
    """A recipe made from a file."""

    text: str
    remarks: tuple[Remark, ...]
    """What became of each line, in the order of the file."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Choices:
    """Choices of the user that override the file."""

    triton: str | None = None
    torch: str | None = None
    cuda: str | None = None
    python: str | None = None


def recipe_name(imported: Imported) -> str:
    """Return the name of a recipe made from *imported*."""
    return re.sub(r"[^A-Za-z0-9_-]+", "-", imported.name).strip("-_") or "environment"


def make_recipe(imported: Imported, folder: Path, choices: Choices | None = None) -> MadeRecipe:
    """Make a recipe in *folder* from *imported*; *choices* override the file.

    Raises:
        RecipeError: the release is unknown, or the torch of *choices* is not a version.
        ResolveError: the file has match specs, and py-rattler is not installed.
    """
    choices = choices or Choices()
    _check_torch(choices.torch)
    release = find_release(choices.triton or PYTRITON)
    conda = CondaPart(folder=folder)
    remarks, notes = [*imported.wanted.remarks], [*imported.wanted.notes]
    if choices.triton is None:
        remarks.append(
            imported.whole.changed(
                f"sets no Triton release: triton: {PYTRITON}; --triton names a different release"
            )
        )
    specs = []
    if imported.conda is not None:
        remarks += imported.conda.remarks
        notes += imported.conda.notes
        specs = conda.read_specs(imported.conda.specs)
        conda.read_channels(imported.conda)
    minor, chosen, from_channel = _choose(imported, specs, conda, release, choices)
    python, python_remarks = choose_python(imported, specs, release, minor, choices.python)
    if python is None and minor != newest_python(chosen.torch, release.pythons):
        python = minor  # without it the recipe gets the newest, for which other lines apply
        why = "its lines for torch differ by Python"
        remarks.append(imported.whole.changed(f'{why}: python: "{minor}"; choose another with --python'))
    kept: set[SourceLine] = set()
    settled = []
    for spec in specs:
        lines = _also_of_pip(spec, imported, minor)
        if not lines or conda.settle(spec, lines):
            settled.append(spec)
            kept |= {line for line, _ in lines}
    for spec in settled:
        conda.place(spec, chosen, from_channel=from_channel, minor=minor)
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
        "exclude-dependencies": sorted({canonicalize_name(name) for name in imported.wanted.excluded}),
    }
    ordered = sorted(one_fate(remarks, notes), key=lambda remark: _order(remark, imported.path))
    left_out = [remark for remark in ordered if remark.fate == "left out"]
    return MadeRecipe(text=_text(keys, imported, left_out), remarks=tuple(ordered))


def _check_torch(torch: str | None) -> None:
    try:
        Version(torch or "0")
    except InvalidVersion as error:
        raise RecipeError(
            f"{torch!r} is not a version of torch", hint="use an exact one, for example --torch 2.11.0"
        ) from error


def _choose(
    imported: Imported, specs: Sequence[Spec], conda: CondaPart, release: Release, choices: Choices
) -> tuple[str, TorchChoice, bool]:
    """Return the Python, the torch, and whether that comes from a channel.

    Requirements for torch may depend on Python (by a marker), and torch's wheels exist only for some Pythons: the
    newest Python is chosen for which the resulting torch has wheels.
    """
    found = []
    for minor in possible_pythons(imported, specs, release, choices.python):
        kept = {
            line
            for spec in specs
            if stays(spec, lines := _also_of_pip(spec, imported, minor))
            for line, _ in lines
        }
        wanted = imported.wanted.on(minor)
        wanted.requirements = [line for line in wanted.requirements if line[0] not in kept]
        from_channel = conda.torch_from_channel(specs, family=bool(wanted.names() & {*FAMILY}))
        chosen = choose_torch(
            replace(imported, wanted=wanted),
            specs,
            python=minor,
            torch=choices.torch,
            cuda=choices.cuda,
            from_channel=from_channel,
        )
        found.append((minor, chosen, from_channel and not chosen.from_pip))
        build = find_build(chosen.torch)
        if build is None or minor in build.pythons:
            return found[-1]
    return found[0]


def _also_of_pip(spec: Spec, imported: Imported, minor: str) -> list[tuple[SourceLine, Requirement]]:
    """Return pip's lines that also require the package of conda's *spec*; torch has separate rules."""
    if spec.name in TORCH_PACKAGES:
        return []
    name = canonicalize_name(spec.name)
    return [
        line
        for line in imported.wanted.requirements
        if canonicalize_name(line[1].name) == name and not is_torch(line[1]) and holds(line[1].marker, minor)
    ]


_PLACEHOLDERS = {
    "pytorch": "pip's pytorch is a placeholder that cannot be installed: use torch",
    "sklearn": "pip's sklearn is a placeholder that cannot be installed: use scikit-learn",
}


# -- wheels ----------------------------------------------------------------------------------------


@dataclass(kw_only=True, slots=True)
class _Wheels:
    folder: Path
    """The recipe's folder, to which paths are relative."""
    minor: str
    choice: TorchChoice
    release: Release
    dependencies: list[str] = field(default_factory=list)
    constraints: list[str] = field(default_factory=list)
    remarks: list[Remark] = field(default_factory=list)
    taken: dict[str, list[tuple[SourceLine, Requirement]]] = field(default_factory=dict)
    """By project, in the file's form."""

    def fill(
        self, imported: Imported, from_conda: Sequence[tuple[SourceLine, str]], kept: set[SourceLine]
    ) -> None:
        """Add the converted conda packages, pip's requirements, and constraints.

        *kept* are requirements that conda packages fulfil.
        """
        for _, text in from_conda:
            found = parse(text)
            assert isinstance(found, Requirement)
            self._add(str(found), self.dependencies)
        for line, requirement in imported.wanted.requirements:
            if line not in kept:
                self._take(line, requirement, self.dependencies)
        for line, requirement in imported.wanted.constraints:
            self._take(line, requirement, self.constraints)

    def _take(self, line: SourceLine, requirement: Requirement, into: list[str]) -> None:
        if not holds(requirement.marker, self.minor):
            self.remarks.append(line.left_out(f"not for CPython {self.minor} on Linux, x86-64"))
            return
        if is_torch(requirement):
            return  # its remark says what it became
        name = canonicalize_name(requirement.name)
        why = _PLACEHOLDERS.get(name) or self._clash(requirement) or self._contradicted(name, requirement)
        if why is not None:
            self.remarks.append(line.left_out(why))
            return
        self.taken.setdefault(name, []).append((line, requirement))
        text, how = self._written(requirement, into)
        self.remarks.append(line.changed(how) if how else line.carried())
        self._add(text, into)

    def _contradicted(self, name: str, requirement: Requirement) -> str | None:
        """Return the remark that an earlier line requires another version, so that pip would refuse both; None:
        none does."""
        for line, other in self.taken.get(name, []):
            for one, two in ((requirement, other), (other, requirement)):
                version = _pinned(one)
                if version is not None and not two.specifier.contains(version, prereleases=True):
                    return f"clash: {line.text} is taken, pip would refuse both"
            if requirement.url is not None and other.url is not None and requirement.url != other.url:
                return f"clash: {line.text} is taken, pip would refuse both"
        return None

    def _clash(self, requirement: Requirement) -> str | None:
        """Return the demand of the release that a requirement contradicts; None: it does not."""
        for text in self.release.demands:
            demand = Requirement(text)
            if canonicalize_name(demand.name) != canonicalize_name(requirement.name):
                continue
            version = _pinned(requirement)
            if version is not None and not demand.specifier.contains(version, prereleases=True):
                return f"Triton {self.release.name} itself demands {demand}"
        return None

    def _written(self, requirement: Requirement, into: list[str]) -> tuple[str, str]:
        """Return a requirement as the recipe has it, and how it differs from the file."""
        if requirement.url is not None and requirement.url.startswith("file:"):
            return self._local(requirement), ""
        pinned = str(requirement.specifier)
        if canonicalize_name(requirement.name) in FAMILY and "+" in pinned:
            variant = re.search(r"\+([\w.]+)", pinned)
            requirement = Requirement(str(requirement))  # the line itself is unchanged
            requirement.specifier = SpecifierSet(re.sub(r"\+[\w.]+", "", pinned))
            clash = (
                "" if variant and variant[1] == self.choice.cuda else f"clash with {variant and variant[1]}: "
            )
            return str(requirement), f"{requirement}: {clash}cuda: {self.choice.cuda} says its build"
        if into is self.constraints:
            return str(requirement), f"constraints: {requirement}"
        return str(requirement), ""

    def _local(self, requirement: Requirement) -> str:
        """Return a reference to a local wheel or folder, by its path relative to the recipe."""
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


def _pinned(requirement: Requirement) -> str | None:
    """Return the one version that a requirement allows."""
    for one in requirement.specifier:
        if one.operator in ("==", "===") and not one.version.endswith(".*"):
            return one.version
    return None


# -- the file --------------------------------------------------------------------------------------


def _order(remark: Remark, path: Path) -> tuple[bool, str, int]:
    """Sort remarks: those on the whole file, then on its lines, then on lines of other files."""
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
