"""Determine the licence of a component: its declared licence, and the SPDX expression of it."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

from packaging.licenses import InvalidLicenseExpression, canonicalize_license_expression
from packaging.metadata import RawMetadata

from envbuilder.inventory.known_licenses import (
    NVIDIA_TERMS,
    PROPRIETARY,
    expression_of_name,
    expression_of_text,
    nvidia_terms,
)

Source = Literal[
    "License-Expression",
    "License",
    "classifiers",
    "licence file",
    "distribution's copyright file",
    "library's name",
    "decision",
    "nothing",
]
_SHOWN: Final = 70
"""How many characters of a free text are shown."""
_NAMED: Final = re.compile(r"(?i:licen[cs]e|copying|unlicense|eula)")
_SAYS_NOTHING: Final = frozenset({"", "unknown", "none", "n/a", "see license", "license", "license file"})
_VAGUE: Final = frozenset({"LicenseRef-NVIDIA-Proprietary", "LicenseRef-NVIDIA-Proprietary-Software"})


@dataclass(frozen=True, kw_only=True, slots=True)
class Licence:
    """A component's licence, and its source."""

    expression: str | None
    """An SPDX expression; ``LicenseRef-NVIDIA-…`` for NVIDIA's own terms. None: unknown."""
    declared: str
    """The first line of the licence that the component declares; empty if none."""
    source: Source
    files: tuple[str, ...] = ()
    """Licence files in the archive."""

    @property
    def name(self) -> str:
        """Its name: the expression, the declared text, or that there is none."""
        return self.expression or self.declared or "no licence"

    @property
    def terms(self) -> str | None:
        """The full name of NVIDIA's own terms, if it is one of them."""
        return NVIDIA_TERMS.get(self.expression or "")


def licence_of(metadata: RawMetadata, texts: Mapping[str, str]) -> Licence:
    """Return the licence of a Python package: its ``License-Expression``, else ``License``, classifiers, files.

    *texts* are its licence files, by path. The first of these with a known expression is used; if there is none,
    the declared text.
    """
    files = tuple(sorted(texts))
    declared: tuple[tuple[str, Source], ...] = (
        (metadata.get("license_expression", ""), "License-Expression"),
        (metadata.get("license", ""), "License"),
    )
    for said, source in declared:
        expression = to_expression(said)
        if expression is not None:
            if _is_vague(expression):
                expression = _terms_in(texts) or PROPRIETARY
            return Licence(expression=expression, declared=_short(said), source=source, files=files)
    said, source = next(((one, by) for one, by in declared if _says(one)), ("", "nothing"))
    classified, names = _classified(metadata)
    if classified is not None:
        return Licence(
            expression=classified, declared=_short(said or names), source="classifiers", files=files
        )
    known = _expression_in_files(texts)
    if not said and names:
        said, source = names, "classifiers"
    if known is not None:
        return Licence(expression=known, declared=_short(said), source="licence file", files=files)
    return Licence(expression=None, declared=_short(said), source=source, files=files)


def licence_of_text(said: str, texts: Mapping[str, str]) -> Licence:
    """Return the licence of a conda package or an interpreter that declares *said*.

    *texts* as in :func:`licence_of`.
    """
    expression = to_expression(said)
    if expression is not None:
        return Licence(
            expression=expression, declared=_short(said), source="License", files=tuple(sorted(texts))
        )
    known = _expression_in_files(texts)
    source: Source = "licence file" if known else "License" if _says(said) else "nothing"
    return Licence(expression=known, declared=_short(said), source=source, files=tuple(sorted(texts)))


def to_expression(said: str) -> str | None:
    """Return the SPDX expression of *said*: an expression, a name, or a licence text."""
    if not _says(said):
        return None
    try:
        return canonicalize_license_expression(said)
    except InvalidLicenseExpression:
        pass
    return expression_of_name(said) or (
        expression_of_text(said) if len(said) > _SHOWN else nvidia_terms(said)
    )


def _classified(metadata: RawMetadata) -> tuple[str | None, str]:
    """Return the expression of the classifiers, and their names."""
    found, names = set(), []
    for classifier in metadata.get("classifiers", []):
        kind, *path = classifier.split(" :: ")
        if kind != "License" or not path or path == ["OSI Approved"]:
            continue
        names.append(path[-1])
        found.add(expression_of_name(path[-1]))
    sure = [one for one in found if one is not None]
    if len(sure) != len(found) or not sure:  # "BSD License" may be any of them: the licence file knows
        return None, ", ".join(names)
    return " AND ".join(sorted(sure)), ", ".join(names)


def _expression_in_files(texts: Mapping[str, str]) -> str | None:
    """Return the expression of the package's own licence files, all at the top level.

    Those below are of bundled code.
    """
    found = set()
    top = min((path.count("/") for path in texts), default=0)
    for path, text in texts.items():
        if path.count("/") == top and _NAMED.match(posixpath.basename(path)):
            found.add(expression_of_text(text))
    return found.pop() if len(found) == 1 else None


def _terms_in(texts: Mapping[str, str]) -> str | None:
    return next((found for text in texts.values() if (found := nvidia_terms(text)) is not None), None)


def _is_vague(expression: str) -> bool:
    return expression in _VAGUE


def _says(text: str) -> bool:
    return " ".join(text.lower().split()) not in _SAYS_NOTHING


def _short(text: str) -> str:
    line = " ".join(next((line for line in text.splitlines() if line.strip()), "").split())
    return line if len(line) <= _SHOWN else f"{line[: _SHOWN - 1]}…"
