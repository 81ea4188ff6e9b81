"""The recipe that a conda environment file becomes."""

from __future__ import annotations

import io
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit
from urllib.request import url2pathname

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from ruamel.yaml import YAML

from envbuilder.catalog.triton import PYTRITON, find_release
from envbuilder.recipe.channels import channel_name, is_anacondas
from envbuilder.recipe.conda import TORCH_PACKAGES
from envbuilder.recipe.importing.environment_yml import Environment
from envbuilder.recipe.importing.match_spec import Spec, read_spec
from envbuilder.recipe.importing.remark import Remark, Said
from envbuilder.recipe.importing.requirements import read_pip_lines
from envbuilder.recipe.importing.torch import BUILD_PACKAGES, FAMILY, choose_python, choose_torch
from envbuilder.recipe.schema import SCHEMA_FILE
from envbuilder.util.paths import expand_user
from envbuilder.util.urls import public

_COMPILERS: Final = ("gxx", "gxx_linux-64", "cxx-compiler", "compilers")
"""Conda packages that are, or bring, a C++ compiler."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Import:
    """What became of an environment file."""

    recipe: Path
    remarks: tuple[Remark, ...]
    """What is in it in other words, and what is not, in the order of the file."""


@dataclass(frozen=True, kw_only=True, slots=True)
class MadeRecipe:
    """A recipe made of an environment file."""

    text: str
    remarks: tuple[Remark, ...]
    """What is in it in other words, and what is not, in the order of the file."""


@dataclass(kw_only=True, slots=True)
class _Draft:
    """A recipe in the making."""

    folder: Path
    """Where it will lie: relative paths are from there."""
    channels: list[str] = field(default_factory=list)
    conda: list[str] = field(default_factory=list)
    dependencies: list[str] = field(default_factory=list)
    bundled: bool = False
    remarks: list[Remark] = field(default_factory=list)


def recipe_name(environment: Environment) -> str:
    """Return what a recipe made of *environment* is called."""
    return re.sub(r"[^A-Za-z0-9_-]+", "-", environment.name).strip("-_") or "environment"


def make_recipe(
    environment: Environment,
    folder: Path,
    *,
    triton: str | None = None,
    torch: str | None = None,
    cuda: str | None = None,
    python: str | None = None,
) -> MadeRecipe:
    """Make a recipe in *folder* of *environment*; what is not None counts instead of what the file says.

    Raises:
        RecipeError: no such release.
        ResolveError: py-rattler is not installed.
    """
    draft = _Draft(folder=folder, remarks=[*environment.remarks])
    release = find_release(triton or PYTRITON)
    whole = Said(text="", place=str(environment.path))
    if triton is None:
        draft.remarks.append(whole.carried(f"says no Triton release: {PYTRITON}; --triton says another"))
    pip = read_pip_lines(environment.pip, environment.path.parent)
    draft.remarks += pip.remarks
    specs = _specs(environment.specs, draft)
    wheel = next((one for one in pip.requirements if canonicalize_name(one[1].name) == "torch"), None)
    chosen = choose_torch(specs, wheel, pip.variant, whole, torch=torch, cuda=cuda)
    asked = next((spec for spec in specs if spec.name == "python"), None)
    said_python, remarks = choose_python(asked, release, chosen.torch, python)
    draft.remarks += [*chosen.remarks, *remarks]
    _channels(environment, draft, whole)
    from_channel = wheel is None and _torch_from_channel(specs, draft.channels)
    minor = said_python or (release.pythons[0] if len(release.pythons) == 1 else "")
    for spec in specs:
        _place(spec, draft, from_channel, minor, chosen.said)
    for line, requirement in pip.requirements:
        if requirement is not (wheel and wheel[1]):
            draft.dependencies.append(_dependency(line, requirement, draft))
    keys: dict[str, Any] = {
        "triton": release.name,
        "torch": chosen.torch,
        "cuda": chosen.cuda,
        "python": said_python,
        "provider": "conda",
        "channels": draft.channels,
        "conda": draft.conda,
        "compiler": "bundled" if draft.bundled else None,
        "dependencies": draft.dependencies,
    }
    ordered = sorted(draft.remarks, key=lambda remark: _order(remark, environment.path))
    left_out = [remark for remark in ordered if remark.left_out]
    return MadeRecipe(text=_text(keys, environment.path, left_out), remarks=tuple(ordered))


# -- parts -----------------------------------------------------------------------------------------


def _specs(lines: Iterable[Said], draft: _Draft) -> list[Spec]:
    found = []
    for line in lines:
        spec = read_spec(line)
        if isinstance(spec, Remark):
            draft.remarks.append(spec)
        elif spec.name.startswith("__"):
            draft.remarks.append(
                line.left_out("what the system has is the release's and the recipe's affair")
            )
        elif spec.name == "pip":
            draft.remarks.append(
                line.left_out("wheels get into an archive without it; `conda: [pip]` takes it along")
            )
        else:
            found.append(spec)
    return found


def _channels(environment: Environment, draft: _Draft, whole: Said) -> None:
    names: set[str] = set()
    for line in environment.channels:
        if line.text == "nodefaults":
            continue  # that is always so
        channel = _channel(line, environment.path.parent, draft)
        if channel is None:
            continue
        if _name(channel) in names:
            draft.remarks.append(line.left_out(f"there is a channel {_name(channel)} already"))
            continue
        names.add(_name(channel))
        draft.channels.append(channel)
    if not draft.channels:
        draft.channels.append("conda-forge")
        draft.remarks.append(whole.carried("names no channel that can be used as it is: conda-forge instead"))


def _channel(line: Said, folder: Path, draft: _Draft) -> str | None:
    channel = line.text
    if channel.startswith((".", "~")):
        place = os.path.relpath(folder / expand_user(channel), draft.folder)
        return place if place.startswith(".") else f"./{place}"
    if is_anacondas(channel):
        draft.remarks.append(
            line.left_out(
                "its terms of service bind companies; name it, and say `anaconda-terms: accepted`, if you may use it"
            )
        )
        return None
    if public(channel) != channel:
        draft.remarks.append(
            line.carried(
                "without its password or token, which belongs into .netrc or the conda configuration"
            )
        )
    return public(channel)


def _name(channel: str) -> str:
    """Return what a lock will call *channel*, which may be a folder."""
    return Path(channel).name if channel.startswith((".", "/", "~")) else channel_name(channel)


def _torch_from_channel(specs: Sequence[Spec], channels: Sequence[str]) -> bool:
    """Say whether torch is a package of a channel that is alive: PyTorch's own ended, with the builds of its wheels."""
    asked = [spec for spec in specs if spec.name in TORCH_PACKAGES]
    theirs = {"pytorch", "pytorch-nightly", "pytorch-test"}
    if any(spec.channel is not None for spec in asked):
        return not any(spec.channel in theirs for spec in asked)
    return bool(asked) and not theirs & {_name(channel) for channel in channels}


def _place(spec: Spec, draft: _Draft, from_channel: bool, minor: str, said: str) -> None:
    """Put *spec* among ``conda:`` or ``dependencies:``; torch is *said* otherwise."""
    if spec.name == "python":
        return
    if spec.name in TORCH_PACKAGES:
        if from_channel:
            draft.conda.append(_with_channel(spec, spec.name, draft))
        else:
            draft.remarks.append(spec.said.carried(f"{said}, which take PyTorch's own wheel"))
        if from_channel and (spec.version or spec.build):
            draft.remarks.append(spec.said.carried(said))
        return
    if spec.name in BUILD_PACKAGES:
        return
    if spec.name in FAMILY and not from_channel:
        version = spec.pep440()
        if version is None:
            draft.remarks.append(spec.said.carried("a wheel, of whatever version torch wants"))
        draft.dependencies.append(f"{spec.name}{version or ''}")
        return
    if spec.name in _COMPILERS:
        draft.bundled = True
        if not spec.version or spec.name != "gxx":
            draft.remarks.append(spec.said.carried("said by compiler: bundled"))
            return
    text = spec.text
    built = re.search(r"py(3)\.?(\d+)", spec.build)
    if built is not None and minor and f"{built[1]}.{built[2]}" != minor:
        text = f"{spec.name} {spec.version}".strip()
        draft.remarks.append(spec.said.carried(f"without its build, which is not for Python {minor}"))
    draft.conda.append(_with_channel(spec, text, draft))


def _with_channel(spec: Spec, text: str, draft: _Draft) -> str:
    if spec.channel is None:
        return text
    if is_anacondas(spec.channel):
        draft.remarks.append(spec.said.carried("from the channels of the recipe"))
        return text
    if spec.channel not in map(_name, draft.channels):
        draft.channels.append(spec.channel)
    return f"{spec.channel}::{text}"


def _dependency(line: Said, requirement: Requirement, draft: _Draft) -> str:
    """Return a requirement as a recipe in ``draft.folder`` has it: local wheels by their path from there."""
    if requirement.url is None or not requirement.url.startswith("file:"):
        return str(requirement)
    place = os.path.relpath(url2pathname(urlsplit(requirement.url).path), draft.folder)
    return place if place.startswith(".") else f"./{place}"


def _order(remark: Remark, path: Path) -> tuple[bool, str, int]:
    """Sort what is of the whole file first, then its lines, then those of other files."""
    source, _, line = remark.place.rpartition(":")
    if not line.isdecimal():
        return (False, str(path), 0)
    return (source != str(path), source, int(line))


def _text(keys: dict[str, Any], path: Path, left_out: Sequence[Remark]) -> str:
    head = [
        f"# yaml-language-server: $schema={SCHEMA_FILE}",
        f"# Made of {path.name} by `envbuilder import`.",
    ]
    if left_out:
        head.append("# Not carried over:")
        head += [f"#   {Path(one.place).name}: {one.text}: {one.why}" for one in left_out]
    yaml = YAML()
    yaml.width = 4096  # a value is never folded
    yaml.indent(mapping=2, sequence=4, offset=2)
    body = io.StringIO()
    yaml.dump({key: value for key, value in keys.items() if value not in (None, [])}, body)
    return "\n".join(head) + "\n\n" + body.getvalue()
