"""What an environment file says of torch, of its CUDA build, and of Python, in a recipe's words."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import unquote

from packaging.requirements import Requirement
from packaging.utils import InvalidWheelFilename, parse_wheel_filename
from packaging.version import InvalidVersion, Version

from envbuilder.catalog.torch import find_build, newest_python, table
from envbuilder.catalog.triton import Release
from envbuilder.recipe.conda import TORCH_PACKAGES
from envbuilder.recipe.importing.match_spec import Spec
from envbuilder.recipe.importing.remark import Remark, Said
from envbuilder.recipe.template import DEFAULT_TORCH

CUDA_PACKAGES: Final = ("pytorch-cuda", "cuda-version", "cudatoolkit", "cuda-toolkit", "cuda-runtime")
"""Conda packages whose version is that of CUDA."""
BUILD_PACKAGES: Final = (*TORCH_PACKAGES, *CUDA_PACKAGES, "cpuonly", "pytorch-mutex")
"""Conda packages that `torch:` and `cuda:` say."""
FAMILY: Final = ("torchvision", "torchaudio")
"""What is built with torch: from where torch comes from."""


@dataclass(kw_only=True, slots=True)
class TorchChoice:
    """What ``torch:`` and ``cuda:`` become, and why."""

    torch: str
    cuda: str
    remarks: list[Remark] = field(default_factory=list)

    @property
    def said(self) -> str:
        """Say where it stands."""
        return f'said by torch: "{self.torch}" and cuda: {self.cuda}'


def choose_torch(
    specs: Sequence[Spec],
    wheel: tuple[Said, Requirement] | None,
    variant: str | None,
    whole: Said,
    *,
    torch: str | None,
    cuda: str | None,
) -> TorchChoice:
    """Return the version and the build of torch that *specs*, or a *wheel* of torch, ask for.

    *variant* is the one whose index pip is told to use; *torch* and *cuda* are a person's own choice, which counts.
    *whole* is the file.
    """
    choice = TorchChoice(torch=torch or "", cuda=cuda or "")
    if wheel is not None:
        _from_wheel(*wheel, choice, variant)
    asked = [spec for spec in specs if spec.name in TORCH_PACKAGES]
    if not choice.torch:
        choice.torch = _version(asked, choice, whole)
    if not choice.cuda:
        choice.cuda = _cuda(specs, asked, choice, whole)
    for spec in specs:
        if spec.name in CUDA_PACKAGES or spec.name in ("cpuonly", "pytorch-mutex"):
            choice.remarks.append(spec.said.carried(f"said by cuda: {choice.cuda}"))
    return choice


def choose_python(
    spec: Spec | None, release: Release, torch: str, python: str | None
) -> tuple[str | None, list[Remark]]:
    """Return what ``python:`` becomes, None where the release decides it, and what to say of that."""
    if python is not None or spec is None or not spec.version:
        return python, []
    exact = re.fullmatch(r"(?:==)?(\d+\.\d+)(\.\d[\w.]*)?", spec.version.removesuffix(".*"))
    minor = exact and exact[1]
    fitting = [one for one in release.pythons if one == minor or (not minor and spec.allows(f"{one}.99"))]
    if not fitting:
        taken = newest_python(torch, release.pythons)
        have = ", ".join(release.pythons)
        return None, [spec.said.left_out(f"Triton {release.name} has a stub for {have} only: {taken} taken")]
    chosen = newest_python(torch, tuple(fitting))
    remarks = []
    if exact is None or exact[2]:
        remarks.append(spec.said.carried(f'said by python: "{chosen}"; the lock names the whole version'))
    return (chosen if len(release.pythons) > 1 else None), remarks


def _from_wheel(line: Said, requirement: Requirement, choice: TorchChoice, variant: str | None) -> None:
    version: Version | None = None
    if requirement.url is not None:
        with contextlib.suppress(InvalidWheelFilename):  # a git reference says no version
            version = parse_wheel_filename(unquote(requirement.url.rsplit("/", 1)[-1]))[1]
    for one in requirement.specifier:
        if one.operator in ("==", "===") and not one.version.endswith(".*"):
            try:
                version = Version(one.version)
            except InvalidVersion:
                continue
    if version is None and requirement.url is None:
        known = [build.version for build in table() if requirement.specifier.contains(build.version)]
        version = Version(known[-1]) if known else None
    if version is not None:
        choice.torch = choice.torch or version.public
        variant = version.local or variant
    choice.cuda = choice.cuda or variant or "pypi"  # what pip would have installed
    choice.torch = choice.torch or DEFAULT_TORCH
    choice.remarks.append(line.carried(choice.said))


def _version(asked: Sequence[Spec], choice: TorchChoice, whole: Said) -> str:
    """Return the newest known version that all of *asked* allow, or the one that is written there."""
    for spec in asked:
        exact = re.fullmatch(r"(?:==)?(\d+\.\d+\.\d+)(?:\.\*)?", spec.version)
        if exact is not None:
            return exact[1]
    known = [build.version for build in table() if all(spec.allows(build.version) for spec in asked)]
    if asked and known and any(spec.version for spec in asked):
        return known[-1]
    why = "does not say a version of torch" if asked else "says nothing of torch"
    choice.remarks.append(whole.carried(f"{why}: {DEFAULT_TORCH}, as `envbuilder init` proposes"))
    return DEFAULT_TORCH


def _cuda(specs: Sequence[Spec], asked: Sequence[Spec], choice: TorchChoice, whole: Said) -> str:
    names = {spec.name for spec in specs}
    for spec in asked:
        built = re.search(r"(?:cuda|cu)_?(\d\d)\.?(\d)", spec.build)
        if built is not None:
            return f"cu{built[1]}{built[2]}"
        if "cpu" in spec.build:
            return "cpu"
    build = find_build(choice.torch)
    known = build.cuda if build is not None else tuple({name for one in table() for name in one.cuda})
    newest_first = sorted(known, reverse=True)
    for spec in specs:
        if spec.name not in CUDA_PACKAGES or not spec.version:
            continue
        exact = re.fullmatch(r"(?:==)?(\d\d)\.(\d)(?:[.\d]*)(?:\.\*)?", spec.version)
        if exact is not None:
            return f"cu{exact[1]}{exact[2]}"
        for name in newest_first:
            if spec.allows(f"{name[2:4]}.{name[4]}"):
                return name
    wants_cuda = names & {*CUDA_PACKAGES, "pytorch-gpu"} or any("cuda" in spec.build for spec in asked)
    if wants_cuda and newest_first:
        return newest_first[0]
    if asked and not names & {"cpuonly", "pytorch-cpu"}:
        choice.remarks.append(whole.carried("does not say a CUDA: cuda: cpu; --cuda says another"))
    return "cpu"
