"""Parse a Debian package's copyright file: machine-readable (DEP 5), or else by its text."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from packageurl import PackageURL
from packaging.licenses import InvalidLicenseExpression, canonicalize_license_expression

from envbuilder.base.library_origins import LibraryOrigin
from envbuilder.inventory.known_licenses import expression_of_text
from envbuilder.inventory.license import Licence, to_expression

_READABLE: Final = re.compile(r"Format(-Specification)?:", re.IGNORECASE)
_GNU: Final = re.compile(r"(?P<name>A?GPL|LGPL|GFDL)-(?P<version>\d(?:\.\d)?)(?P<later>\+?)")
_NAMES: Final = {
    "Expat": "MIT",
    "MIT/X11": "MIT",
    "BSD-2-clause": "BSD-2-Clause",
    "BSD-3-clause": "BSD-3-Clause",
}
_OWN: Final = "debian/"
"""Licences of the packaging files, which are not in the package."""


def licence_in(copyright: str, package: str, known: Licence) -> Licence:
    """Return the licence that the *copyright* file of *package* states.

    A source may have parts with several licences: the *known* licence of the relevant part is used if the file
    states it, or if the file has no valid expression.
    """
    if _READABLE.match(copyright) is None:
        found = expression_of_text(copyright) if known.expression is None else None
        return known if found is None else _licence(found, found, package)
    stated = [(files, name) for files, name in _stanzas(copyright) if not files.startswith(_OWN)]
    by_expression = {expression_of(name): name for _, name in stated}
    if known.expression is not None and known.expression in by_expression:
        return _licence(known.expression, by_expression[known.expression], package)
    whole = next((name for files, name in stated if "*" in files.split()), None)
    if whole is None:
        return known
    made = _licence(expression_of(whole), whole, package)
    if made.expression is None and known.expression is not None:
        return replace(known, declared=made.declared)
    return made


def purl_of(origin: LibraryOrigin) -> str:
    """Return the package URL of a library's package."""
    qualifiers = {
        "arch": origin.architecture,
        "distro": f"{origin.distribution}-{origin.release}" if origin.release else "",
        "upstream": origin.source if origin.source != origin.package else "",
    }
    return PackageURL("deb", origin.distribution, origin.package, origin.version, qualifiers).to_string()


def expression_of(name: str) -> str | None:
    """Return the SPDX expression of a licence's short name in a copyright file: ``GPL-2+ or Expat``."""
    parts = re.split(r"(?i)(?:,\s*)?\b(and|or)\b", name.strip())
    words = []
    for part in parts:
        one = part.strip(" ,")
        if one.lower() in ("and", "or"):
            words.append(one.upper())
            continue
        gnu = _GNU.fullmatch(one)
        if gnu is not None:
            version = gnu["version"] if "." in gnu["version"] else f"{gnu['version']}.0"
            words.append(f"{gnu['name']}-{version}-{'or-later' if gnu['later'] else 'only'}")
            continue
        known = _NAMES.get(one) or to_expression(one)
        if known is None:
            return None
        words.append(known)
    try:
        return str(canonicalize_license_expression(" ".join(words)))
    except InvalidLicenseExpression:
        return None


def _licence(expression: str | None, said: str, package: str) -> Licence:
    return Licence(
        expression=expression, declared=f"{said} ({package})", source="distribution's copyright file"
    )


def _stanzas(text: str) -> Iterator[tuple[str, str]]:
    """Yield the files and the licence's short name of each stanza that has both."""
    for stanza in re.split(r"\n[ \t]*\n", text):
        fields = {}
        for match in re.finditer(r"(?mi)^(files|license):(.*(?:\n[ \t]+.*)*)", stanza):
            fields[match[1].lower()] = match[2].strip()
        if "files" in fields and fields.get("license"):
            yield " ".join(fields["files"].split()), fields["license"].splitlines()[0].strip()
