"""Which torch, which build of it, and which Python a file leads to: what the other tool would have installed."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import unquote

from packaging.requirements import Requirement
from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename
from packaging.version import InvalidVersion, Version

from envbuilder.catalog.torch import find_build, newest_python, table, torch_of
from envbuilder.catalog.triton import Release
from envbuilder.recipe.conda import TORCH_PACKAGES
from envbuilder.recipe.importing.match_spec import Spec
from envbuilder.recipe.importing.remark import Remark, Said
from envbuilder.recipe.importing.wanted import Imported, Wanted
from envbuilder.recipe.template import DEFAULT_TORCH

CUDA_PACKAGES: Final = ("pytorch-cuda", "cuda-version", "cudatoolkit", "cuda-toolkit", "cuda-runtime")
"""Conda packages whose version is that of CUDA."""
_NO_CUDA: Final = ("cpuonly", "pytorch-mutex")
BUILD_PACKAGES: Final = (*TORCH_PACKAGES, *CUDA_PACKAGES, *_NO_CUDA)
"""Conda packages that `torch:` and `cuda:` say."""
FAMILY: Final = ("torchvision", "torchaudio")
"""What is built with torch: from where torch comes from."""


@dataclass(kw_only=True, slots=True)
class TorchChoice:
    """What ``torch:`` and ``cuda:`` become, and why."""

    torch: str
    cuda: str
    remarks: list[Remark] = field(default_factory=list)
    from_pip: bool = False
    """torch is a wheel that pip would have installed, not a conda package."""

    @property
    def said(self) -> str:
        """Say what stands in the recipe."""
        return f'torch: "{self.torch}", cuda: {self.cuda}'


def choose_torch(
    imported: Imported, specs: Sequence[Spec], *, torch: str | None = None, cuda: str | None = None
) -> TorchChoice:
    """Return the version and the build of torch that the other tool would end with.

    conda installs its packages first. pip then leaves its torch in place where that fulfils the requirement, and
    replaces it where not. *torch* and *cuda* are a person's own choice, which counts.
    """
    choice = TorchChoice(torch=torch or "", cuda=cuda or "")
    asked = [spec for spec in specs if spec.name in TORCH_PACKAGES]
    wheel = _wheel(imported.wanted, choice)
    in_place = _version(asked)
    if wheel is not None and asked and _fulfils(in_place or DEFAULT_TORCH, wheel[1]):
        choice.remarks.append(
            wheel[0].changed(f"{asked[0].said.text} satisfies it: pip leaves that in place")
        )
        wheel = None
    if wheel is not None:
        _from_wheel(*wheel, choice, imported)
        _replaced(specs, asked, wheel, choice)
    elif asked or not imported.wanted.requirements or imported.conda is not None:
        _from_conda(specs, asked, in_place, choice, imported)
    else:
        _from_family(choice, imported)
    _indexes(choice, imported, cuda)
    return choice


def is_torch(requirement: Requirement) -> bool:
    """Say whether a requirement is that of torch itself."""
    return canonicalize_name(requirement.name) == "torch"


def _wheel(wanted: Wanted, choice: TorchChoice) -> tuple[Said, Requirement] | None:
    """Return pip's requirement of torch: of several that hold here, the one that says most."""
    found = [one for one in wanted.requirements if is_torch(one[1])]
    locked = [one for one in wanted.constraints if is_torch(one[1])]
    best = max(
        found or locked, key=lambda one: ("==" in str(one[1].specifier), bool(one[1].url)), default=None
    )
    choice.remarks += [
        said.left_out(f"{best[0].text} says it")
        for said, one in found
        if best is not None and one is not best[1]
    ]
    return best


def _fulfils(version: str, requirement: Requirement) -> bool:
    return requirement.url is None and requirement.specifier.contains(version, prereleases=True)


def _from_wheel(line: Said, requirement: Requirement, choice: TorchChoice, imported: Imported) -> None:
    choice.from_pip = True
    version: Version | None = None
    if requirement.url is not None:
        with contextlib.suppress(InvalidWheelFilename):  # a git reference says no version
            version = parse_wheel_filename(unquote(requirement.url.rsplit("/", 1)[-1]))[1]
    for one in requirement.specifier:
        if one.operator in ("==", "===") and not one.version.endswith(".*"):
            with contextlib.suppress(InvalidVersion):
                version = Version(one.version)
    if version is None and (of_family := _of_family(imported.wanted)) is not None:
        version = Version(of_family)
    wanted = imported.wanted
    variant = wanted.own_index.get("torch") or (wanted.indexes[0][1] if wanted.indexes else None)
    if version is None and requirement.url is None:
        known = [build for build in table() if requirement.specifier.contains(build.version)]
        built = [build for build in known if variant is None or variant in build.variants] or known
        version = Version(built[-1].version) if built else None
    if version is not None:
        choice.torch = choice.torch or version.public
        variant = version.local or variant
    choice.torch = choice.torch or DEFAULT_TORCH
    choice.cuda = (
        choice.cuda or variant or _named_cuda(choice, imported) or "pypi"
    )  # what pip installs unasked
    choice.remarks.append(line.changed(choice.said))


def _replaced(
    specs: Sequence[Spec], asked: Sequence[Spec], wheel: tuple[Said, Requirement], choice: TorchChoice
) -> None:
    """Tell the clash of a conda torch that pip would have replaced."""
    choice.remarks += [
        spec.said.left_out(f"clash: pip replaces it by {wheel[1]}, which is what that environment ended with")
        for spec in asked
    ]
    for spec in specs:
        if spec.name in (*CUDA_PACKAGES, *_NO_CUDA):
            why = (
                f"it is for conda's torch; pip's has its own CUDA (cuda: {choice.cuda}): --cuda takes another"
            )
            choice.remarks.append(spec.said.left_out(why))


def _from_conda(
    specs: Sequence[Spec], asked: Sequence[Spec], version: str | None, choice: TorchChoice, imported: Imported
) -> None:
    if not choice.torch:
        choice.torch = version or _of_family(imported.wanted) or DEFAULT_TORCH
        if version is None and choice.torch == DEFAULT_TORCH:
            why = "sets no version of torch" if asked else "does not mention torch"
            choice.remarks.append(
                imported.whole.changed(f'{why}: torch: "{DEFAULT_TORCH}"; choose another with --torch')
            )
    if not choice.cuda:
        wanted = imported.wanted
        variant = wanted.indexes[0][1] if wanted.indexes and not asked else None
        choice.cuda = variant or _conda_cuda(specs, asked, choice, imported.whole)
    for spec in specs:
        if spec.name in (*CUDA_PACKAGES, *_NO_CUDA):
            choice.remarks.append(spec.said.changed(_compared(spec, choice.cuda)))


def _compared(spec: Spec, cuda: str) -> str:
    """Say what became of a package that chooses a build, as it compares with the build that was chosen."""
    if spec.name in _NO_CUDA or not spec.version or not cuda.startswith("cu"):
        fits = (spec.name not in _NO_CUDA) == (cuda != "cpu")
    else:
        fits = spec.allows(f"{cuda[2:4]}.{cuda[4:]}")
    return f"cuda: {cuda}" if fits else f"clash: cuda: {cuda} is taken instead"


def _from_family(choice: TorchChoice, imported: Imported) -> None:
    """Choose for a file that does not name torch itself."""
    wanted = imported.wanted
    choice.from_pip = True
    derived = _of_family(wanted)
    if not choice.torch:
        choice.torch = derived or DEFAULT_TORCH
        why = (
            f"its {', '.join(sorted(wanted.names() & {*FAMILY}))} is of torch {derived}"
            if derived
            else "does not mention torch"
        )
        choice.remarks.append(
            imported.whole.changed(f'{why}: torch: "{choice.torch}"; choose another with --torch')
        )
    if not choice.cuda:
        family = [name for name in FAMILY if name in wanted.own_index]
        variant = wanted.own_index[family[0]] if family else wanted.indexes[0][1] if wanted.indexes else None
        variant = variant or _local_of_family(wanted) or _named_cuda(choice, imported)
        choice.cuda = variant or ("pypi" if wanted.names() & {*FAMILY} else "cpu")
        if variant is None and choice.cuda == "cpu":
            choice.remarks.append(
                imported.whole.changed("sets no CUDA version: cuda: cpu; choose another with --cuda")
            )


def _of_family(wanted: Wanted) -> str | None:
    """Return the version of torch that a pinned torchvision or torchaudio was built for."""
    for _, requirement in (*wanted.requirements, *wanted.constraints):
        name = canonicalize_name(requirement.name)
        for one in requirement.specifier if name in FAMILY else ():
            if one.operator == "==" and (found := torch_of(name, one.version)) is not None:
                return found
    return None


def _local_of_family(wanted: Wanted) -> str | None:
    for _, requirement in wanted.requirements:
        for one in requirement.specifier if canonicalize_name(requirement.name) in FAMILY else ():
            match = re.search(r"\+(cpu|cu\d{3})$", one.version)
            if match is not None:
                return match[1]
    return None


def _named_cuda(choice: TorchChoice, imported: Imported) -> str | None:
    """Return the variant for the CUDA version that the file names, where torch was built for it."""
    if imported.cuda is None:
        return None
    text = imported.cuda.text
    match = re.match(r"(\d\d)\.(\d)", text)
    name = "cpu" if text == "cpu" else f"cu{match[1]}{match[2]}" if match else ""
    build = find_build(choice.torch) if choice.torch else None
    if name == "cpu" or (name and (build is None or name in build.cuda)):
        choice.remarks.append(imported.cuda.changed(f"cuda: {name}"))
        return name
    have = ", ".join(build.cuda) if build is not None else "unknown"
    choice.remarks.append(
        imported.cuda.left_out(f"torch {choice.torch} was not built for it (but for {have})")
    )
    return None


def _indexes(choice: TorchChoice, imported: Imported, cuda: str | None) -> None:
    """Say what became of the lines that name PyTorch's index of one variant."""
    for said, variant in imported.wanted.indexes:
        if variant == choice.cuda:
            choice.remarks.append(said.changed(f"cuda: {variant}"))
        elif cuda is not None:
            choice.remarks.append(said.left_out(f"--cuda {cuda} counts"))
        elif choice.from_pip:
            choice.remarks.append(said.left_out(f"clash: torch itself is asked for as {choice.cuda}"))
        else:
            why = f"clash: conda's torch ({choice.cuda}) is in place first; --cuda {variant} takes the other"
            choice.remarks.append(said.left_out(why))


def _version(asked: Sequence[Spec]) -> str | None:
    """Return the newest known version that all of *asked* allow, or the one that is written there."""
    for spec in asked:
        exact = re.fullmatch(r"(?:==)?(\d+\.\d+\.\d+)(?:\.\*)?", spec.version)
        if exact is not None:
            return exact[1]
    if not any(spec.version for spec in asked):
        return None
    known = [build.version for build in table() if all(spec.allows(build.version) for spec in asked)]
    return known[-1] if known else None


def _conda_cuda(specs: Sequence[Spec], asked: Sequence[Spec], choice: TorchChoice, whole: Said) -> str:
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
        choice.remarks.append(whole.changed("sets no CUDA version: cuda: cpu; choose another with --cuda"))
    return "cpu"


# -- Python ----------------------------------------------------------------------------------------


def choose_python(
    imported: Imported, specs: Sequence[Spec], release: Release, torch: str, python: str | None
) -> tuple[str | None, list[Remark]]:
    """Return what ``python:`` becomes, None where the release decides it, and what to say of that."""
    spec = next((spec for spec in specs if spec.name == "python"), None)
    said = spec.said if spec is not None and spec.version else imported.python
    if said is None or not said.text:
        return python, []
    if python is not None:
        return python, [said.changed(f'python: "{python}", as set by --python')]
    text = spec.version if spec is not None and spec.version else said.text
    exact = re.fullmatch(r"(?:==)?(\d+\.\d+)(\.\d[\w.]*)?", text.removesuffix(".*"))
    if exact is not None:
        fitting = [one for one in release.pythons if one == exact[1]]
    elif spec is not None and spec.version:
        fitting = [one for one in release.pythons if spec.allows(f"{one}.99")]
    else:
        fitting = [one for one in release.pythons if _allows(text, one)]
    if not fitting:
        taken = newest_python(torch, release.pythons)
        have = ", ".join(release.pythons)
        return None, [said.left_out(f"Triton {release.name} has a stub for {have} only: {taken} is taken")]
    chosen = newest_python(torch, tuple(fitting))
    return (chosen if len(release.pythons) > 1 else None), [_python_remark(said, chosen, exact)]


def _python_remark(said: Said, chosen: str, exact: re.Match[str] | None) -> Remark:
    if exact is None or exact[2]:
        return said.changed(f'python: "{chosen}"; the lock names the whole version')
    return said.carried()


def _allows(text: str, minor: str) -> bool:
    try:
        wanted = SpecifierSet(text)
    except InvalidSpecifier:
        return False
    return any(wanted.contains(f"{minor}.{patch}") for patch in (0, 9, 99))
