"""Choose the Python version: one that the file allows and for which the release has a stub."""

from __future__ import annotations

import re
from collections.abc import Sequence

from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.version import Version

from envbuilder.catalog.triton import Release
from envbuilder.recipe.importing.match_spec import Spec
from envbuilder.recipe.importing.remark import Remark
from envbuilder.recipe.importing.wanted import Imported


def possible_pythons(
    imported: Imported, specs: Sequence[Spec], release: Release, python: str | None
) -> tuple[str, ...]:
    """Return the versions that the recipe may have, newest first.

    *python* is the user's choice, which overrides the file. If the file allows none for which the release has a
    stub, all of the release's are returned.
    """
    if python is not None:
        return (python,)
    fitting = _fitting(imported, _versions(specs), release) or release.pythons
    return tuple(sorted(fitting, key=Version, reverse=True))


def choose_python(
    imported: Imported, specs: Sequence[Spec], release: Release, minor: str, python: str | None
) -> tuple[str | None, list[Remark]]:
    """Return the value of ``python:``, None if the release determines it, and remarks on it.

    *minor* is the version that the recipe gets, one of :func:`possible_pythons`; *python* is the user's choice.
    """
    plain = [spec.line.carried() for spec in specs if spec.name == "python" and not spec.version]
    pinned = _versions(specs)
    lines = [spec.line for spec in pinned]
    if imported.python is not None and imported.python.text:
        lines.append(imported.python)
    if not lines:
        return python, plain
    if python is not None:
        return python, [*plain, *(said.changed(f'python: "{python}", as set by --python') for said in lines)]
    said, *others = lines
    if not _fitting(imported, pinned, release):
        have = ", ".join(release.pythons)
        why = f"Triton {release.name} has a stub for {have} only: {minor} is taken"
        return None, [*plain, *(line.left_out(why) for line in lines)]
    text = pinned[0].version if pinned else said.text
    exact = _EXACT.fullmatch(text.removesuffix(".*"))
    told = [said.carried()]
    if exact is None or exact[2]:
        told = [said.changed(f'python: "{minor}"; the lock names the whole version')]
    told += [line.left_out(f"{said.text} says it") for line in others]
    return (minor if len(release.pythons) > 1 else None), [*plain, *told]


def _versions(specs: Sequence[Spec]) -> list[Spec]:
    return [spec for spec in specs if spec.name == "python" and spec.version]


def _fitting(imported: Imported, pinned: Sequence[Spec], release: Release) -> list[str]:
    """Return the versions that all of the file's constraints allow; conda's come first."""
    if pinned:
        return [one for one in release.pythons if all(_spec_allows(spec, one) for spec in pinned)]
    text = imported.python.text if imported.python is not None else ""
    if not text:
        return [*release.pythons]
    exact = _EXACT.fullmatch(text.removesuffix(".*"))
    if exact is not None:
        return [one for one in release.pythons if one == exact[1]]
    return [one for one in release.pythons if any(_allows(part, one) for part in text.split("||"))]


_EXACT = re.compile(r"(?:==)?(\d+\.\d+)(\.\d[\w.]*)?")


def _spec_allows(spec: Spec, minor: str) -> bool:
    exact = _EXACT.fullmatch(spec.version.removesuffix(".*"))
    return minor == exact[1] if exact is not None else spec.allows(f"{minor}.99")


def _allows(text: str, minor: str) -> bool:
    try:
        wanted = SpecifierSet(text.strip())
    except InvalidSpecifier:
        return False
    return any(wanted.contains(f"{minor}.{patch}") for patch in (0, 9, 99))
