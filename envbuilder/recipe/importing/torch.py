"""Determine the version and build of torch that the other tool would have installed."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Sequence
from typing import Final
from urllib.parse import unquote

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename
from packaging.version import InvalidVersion, Version

from envbuilder.catalog.torch import TorchBuild, find_build, is_newer_than_table, nearest, table
from envbuilder.recipe.conda import TORCH_PACKAGES
from envbuilder.recipe.importing.conda_torch import CHOOSERS, compared, cuda_of, version_of
from envbuilder.recipe.importing.match_spec import Spec
from envbuilder.recipe.importing.remark import SourceLine
from envbuilder.recipe.importing.torch_choice import (
    FAMILY,
    TorchChoice,
    default_torch,
    is_torch,
    local_of_family,
    of_family,
)
from envbuilder.recipe.importing.wanted import Imported, Wanted
from envbuilder.recipe.template import DEFAULT_TORCH


def choose_torch(
    imported: Imported,
    specs: Sequence[Spec],
    *,
    python: str,
    torch: str | None = None,
    cuda: str | None = None,
    from_channel: bool = False,
) -> TorchChoice:
    """Return the version and the build of torch that the other tool would install.

    conda installs its packages first. pip then keeps its torch if that satisfies the requirement, and replaces it
    otherwise. The requirements of *imported* are those for CPython *python* (:meth:`Wanted.on`). *torch* and *cuda*
    are the user's choice, which overrides the file. *from_channel*: torch stays a conda package, whose channel may
    have builds that PyTorch never made.
    """
    choice = TorchChoice(torch=torch or "", cuda=cuda or "")
    asked = [spec for spec in specs if spec.name in TORCH_PACKAGES]
    wanted = imported.wanted
    lines = [line for line in (*wanted.requirements, *wanted.constraints) if is_torch(line[1])]
    in_place = version_of(asked)
    derived = of_family(wanted)
    if lines and asked and all(_fulfils(in_place or DEFAULT_TORCH, one) for _, one in lines):
        choice.remarks += [
            said.changed(f"{asked[0].line.text} satisfies it: pip leaves that in place") for said, _ in lines
        ]
        lines = []
    if lines:
        best = max(lines, key=lambda one: (bool(one[1].url), "==" in str(one[1].specifier)))
        _from_wheel(lines, best, choice, imported, python)
        _replaced(specs, asked, str(best[1]), choice)
    elif asked and derived is not None and derived != in_place:
        _from_family(choice, imported, python)
        _replaced(specs, asked, f"torch=={derived}", choice)
    elif asked or not wanted.requirements or (imported.conda and not wanted.names() & {*FAMILY}):
        _from_conda(specs, asked, choice, imported, python, from_channel=from_channel)
    else:
        _from_family(choice, imported, python)
    _indexes(choice, imported, cuda)
    _cuda_line(choice, imported, cuda)
    return choice


def _fulfils(version: str, requirement: Requirement) -> bool:
    return requirement.url is None and requirement.specifier.contains(version, prereleases=True)


# -- pip's torch -----------------------------------------------------------------------------------


def _from_wheel(
    lines: Sequence[tuple[SourceLine, Requirement]],
    best: tuple[SourceLine, Requirement],
    choice: TorchChoice,
    imported: Imported,
    python: str,
) -> None:
    """Choose for *lines* that require torch, of which *best* is the most specific."""
    wanted = imported.wanted
    choice.from_pip = True
    line, requirement = best
    version = _named_version(requirement)
    if version is None and (derived := of_family(wanted)) is not None:
        version = Version(derived)
    if version is None and requirement.url is None:
        together = SpecifierSet(",".join(str(one.specifier) for _, one in lines if one.specifier))
        version = _newest(together, wanted, python)
    if version is not None:
        choice.torch = choice.torch or _known(version, choice)
    choice.torch = choice.torch or default_torch(python)
    variant = (version.local if version is not None else None) or _variant(wanted, choice.torch)
    choice.cuda = choice.cuda or _built(variant, choice, imported)
    choice.remarks.append(line.changed(choice.summary))
    for said, other in lines:
        if other is not requirement:
            fits = other.url is None and other.specifier.contains(choice.torch, prereleases=True)
            choice.remarks.append(
                said.left_out(f"{line.text} says it" if fits else f"clash: {line.text} is taken")
            )


def _named_version(requirement: Requirement) -> Version | None:
    """Return the version that a requirement pins, or that of the wheel it names."""
    version: Version | None = None
    if requirement.url is not None:
        with contextlib.suppress(InvalidWheelFilename):  # a git reference has no version
            version = parse_wheel_filename(unquote(requirement.url.rsplit("/", 1)[-1]))[1]
    for one in requirement.specifier:
        if one.operator in ("==", "===") and not one.version.endswith(".*"):
            with contextlib.suppress(InvalidVersion):
                version = Version(one.version)
    return version


def _newest(specifier: SpecifierSet, wanted: Wanted, python: str) -> Version | None:
    """Return the newest matching torch of the configured indexes, with wheels for *python* if possible."""
    known = [build for build in table() if specifier.contains(build.version)]
    known = [build for build in known if python in build.pythons] or known
    variants = _variants(wanted)
    if variants and not (wanted.compares and wanted.elsewhere and wanted.own_variant("torch") is None):
        known = [build for build in known if {*variants} & {*build.variants}] or known
    return Version(known[-1].version) if known else None


def _variants(wanted: Wanted) -> list[str]:
    """Return the variants of the indexes that torch may come from, in order."""
    own = wanted.own_variant("torch")
    if own is not None:
        return [own]
    named = [variant for _, variant in wanted.indexes]
    return named if wanted.compares else named[:1]


def _variant(wanted: Wanted, torch: str) -> str | None:
    """Return the variant of the index that has *torch*; of several, pip takes the highest local version."""
    variants = _variants(wanted)
    build = find_build(torch)
    if build is None or len(variants) < 2:
        return variants[0] if variants else None
    return max((one for one in variants if one in build.variants), default=variants[0])


def _known(version: Version, choice: TorchChoice) -> str:
    """Return *version* in the recipe's form, or the nearest supported one, with a remark."""
    if find_build(version.public) is not None or is_newer_than_table(version.public):
        return version.public
    oldest = table()[0].version
    if version < Version(oldest):
        choice.clash = f"torch {version.public} is older than {oldest}, the first that recipes can have"
    elif version.is_devrelease:
        choice.clash = f"torch {version.public} is a nightly build, which does not stay where it is"
    else:
        choice.clash = f"there is no torch {version.public}"
    return nearest(version.public)


def _built(variant: str | None, choice: TorchChoice, imported: Imported) -> str:
    """Return *variant*, or another that the file names; if torch was not built for it, pip's default."""
    if variant is None:
        return _named_cuda(choice, imported) or "pypi"
    build = find_build(choice.torch)
    if _is_possible(variant, build):
        return variant
    if not any(said_variant == variant for _, said_variant in imported.wanted.indexes):
        have = ", ".join(build.variants if build is not None else ())
        choice.clash = choice.clash or (
            f"torch {choice.torch} was not built for {variant} (but for {have})"
            if re.fullmatch(r"cu\d+", variant)
            else _NO_GPU.format(variant=variant)
        )
    return "pypi"


_NO_GPU: Final = "Triton's servers have CUDA, not {variant}"


def _is_possible(variant: str, build: TorchBuild | None) -> bool:
    if build is not None:
        return variant in build.variants
    return re.fullmatch(r"cpu|pypi|cu\d{3}", variant) is not None


def _replaced(specs: Sequence[Spec], asked: Sequence[Spec], wheel: str, choice: TorchChoice) -> None:
    """Add a remark on a conda torch that pip would have replaced."""
    choice.remarks += [
        spec.line.left_out(f"clash: pip replaces it by {wheel}, which is what that environment ended with")
        for spec in asked
    ]
    for spec in specs:
        if spec.name in CHOOSERS:
            why = (
                f"it is for conda's torch; pip's has its own CUDA (cuda: {choice.cuda}): --cuda takes another"
            )
            choice.remarks.append(spec.line.left_out(why))


# -- conda's torch ---------------------------------------------------------------------------------


def _from_conda(
    specs: Sequence[Spec],
    asked: Sequence[Spec],
    choice: TorchChoice,
    imported: Imported,
    python: str,
    *,
    from_channel: bool,
) -> None:
    version = version_of(asked)
    if not choice.torch:
        if version is not None and not from_channel:
            version = _known(Version(version), choice)
        default = default_torch(python)
        choice.torch = version or of_family(imported.wanted) or default
        versions = [spec.line.text for spec in asked if spec.version]
        if version is None and versions:
            choice.clash = f"recipes can have no torch that fits {versions[0]}"
        elif version is None and choice.torch == default:
            why = "sets no version of torch" if asked else "does not mention torch"
            choice.remarks.append(
                imported.whole.changed(f'{why}: torch: "{default}"; choose another with --torch')
            )
    if not choice.cuda:
        variant = _variant(imported.wanted, choice.torch) if not asked else None
        variant = variant or _of_conda(specs, asked, choice, imported.whole)
        choice.cuda = variant if from_channel else _nearest_build(variant, choice, asked=bool(asked))
    for spec in specs:
        if spec.name in CHOOSERS:
            choice.remarks.append(spec.line.changed(compared(spec, choice.cuda)))


def _of_conda(specs: Sequence[Spec], asked: Sequence[Spec], choice: TorchChoice, whole: SourceLine) -> str:
    found = cuda_of(specs, asked, choice.torch)
    if found is None and asked:
        choice.remarks.append(whole.changed("sets no CUDA version: cuda: cpu; choose another with --cuda"))
    return found or "cpu"


def _nearest_build(variant: str, choice: TorchChoice, *, asked: bool) -> str:
    """Return *variant*, or the build for the nearest CUDA where torch was not built for it."""
    build = find_build(choice.torch)
    if build is None or _is_possible(variant, build):
        return variant
    if not re.fullmatch(r"cu\d+", variant):
        return "cpu"
    if asked and not choice.clash:
        choice.clash = f"PyTorch has no wheel of torch {choice.torch} for {variant}"
    return min(build.cuda, key=lambda name: abs(int(name[2:]) - int(variant[2:])))


# -- what is built with torch, and where it is from ------------------------------------------------


def _from_family(choice: TorchChoice, imported: Imported, python: str) -> None:
    """Choose for a file that does not name torch itself."""
    wanted = imported.wanted
    choice.from_pip = True
    derived = of_family(wanted)
    if not choice.torch:
        choice.torch = derived or default_torch(python)
        why = (
            f"its {', '.join(sorted(wanted.names() & {*FAMILY}))} is of torch {derived}"
            if derived
            else "does not mention torch"
        )
        choice.remarks.append(
            imported.whole.changed(f'{why}: torch: "{choice.torch}"; choose another with --torch')
        )
    if not choice.cuda:
        own = [variant for one, variant in wanted.own_index if canonicalize_name(one.name) in FAMILY]
        variant = local_of_family(wanted) or (own[0] if own else _variant(wanted, choice.torch))
        if variant is not None or wanted.names() & {*FAMILY}:
            choice.cuda = _built(variant, choice, imported)
            if choice.clash:
                choice.remarks.append(imported.whole.changed(choice.summary))
            return
        choice.cuda = _named_cuda(choice, imported) or ""
        if not choice.cuda:
            choice.cuda = "cpu"
            choice.remarks.append(
                imported.whole.changed("sets no CUDA version: cuda: cpu; choose another with --cuda")
            )


def _named_cuda(choice: TorchChoice, imported: Imported) -> str | None:
    """Return the variant for the CUDA version that the file names, where torch was built for it."""
    if imported.cuda is None:
        return None
    name = _cuda_name(imported.cuda.text)
    build = find_build(choice.torch) if choice.torch else None
    if name == "cpu" or (name and (build is None or name in build.cuda)):
        choice.remarks.append(imported.cuda.changed(f"cuda: {name}"))
        return name
    have = ", ".join(build.cuda) if build is not None else "unknown"
    choice.remarks.append(
        imported.cuda.left_out(f"torch {choice.torch} was not built for it (but for {have})")
    )
    return None


def _cuda_name(text: str) -> str:
    match = re.match(r"(\d\d)\.(\d)", text)
    return "cpu" if text == "cpu" else f"cu{match[1]}{match[2]}" if match else ""


def _indexes(choice: TorchChoice, imported: Imported, cuda: str | None) -> None:
    """Add remarks on the lines that name PyTorch's index of one variant."""
    wanted = imported.wanted
    for said in wanted.nightly:
        why = f"clash: nightly builds do not stay where they are: {choice.summary}, a release, is taken"
        choice.remarks.append(said.changed(why))
    for said, variant in wanted.indexes:
        if variant == choice.cuda:
            choice.remarks.append(said.changed(f"cuda: {variant}"))
        elif cuda is not None:
            choice.remarks.append(said.left_out(f"--cuda {cuda} counts"))
        elif choice.from_pip:
            choice.remarks.append(said.left_out(_unused(variant, choice, wanted)))
        else:
            why = f"clash: conda's torch ({choice.cuda}) is in place first; --cuda {variant} takes the other"
            choice.remarks.append(said.left_out(why))
    used = {variant for _, variant in wanted.own_index}
    for said, variant in wanted.explicit:
        if variant == choice.cuda and variant in used:
            choice.remarks.append(said.changed(f"cuda: {variant}"))
        else:
            choice.remarks.append(said.left_out(f"nothing that is taken comes from it (cuda: {choice.cuda})"))


def _cuda_line(choice: TorchChoice, imported: Imported, cuda: str | None) -> None:
    """Add a remark on the CUDA version that the file names, if something else takes precedence."""
    line = imported.cuda
    if line is None or any((one.place, one.text) == (line.place, line.text) for one in choice.remarks):
        return
    if _cuda_name(line.text) == choice.cuda:
        choice.remarks.append(line.changed(f"cuda: {choice.cuda}"))
    elif cuda is not None:
        choice.remarks.append(line.left_out(f"--cuda {cuda} counts"))
    else:
        choice.remarks.append(line.left_out(f"clash: torch itself is asked for as {choice.cuda}"))


def _unused(variant: str, choice: TorchChoice, wanted: Wanted) -> str:
    """Return why torch does not come from one of PyTorch's indexes."""
    if not re.fullmatch(r"cpu|cu\d+", variant):
        return f"clash: {_NO_GPU.format(variant=variant)}: cuda: {choice.cuda} is taken"
    build = find_build(choice.torch)
    if build is None or variant in build.variants:
        return f"clash: torch itself is asked for as {choice.cuda}"
    if wanted.compares and wanted.elsewhere:
        return f"clash: it has no torch {choice.torch}: pip takes that from elsewhere (cuda: {choice.cuda})"
    return f"clash: it has no torch {choice.torch}: cuda: {choice.cuda} is taken"
