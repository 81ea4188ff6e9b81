"""Convert Poetry's version constraints to PEP 440 and PEP 508."""

from __future__ import annotations

import re

from packaging.version import InvalidVersion, Version

_ALTERNATIVES = re.compile(r"\s*\|\|?\s*|\s+or\s+")


def alternatives(text: str) -> list[str]:
    """Return the alternatives of a constraint."""
    return [part for part in _ALTERNATIVES.split(text.strip()) if part] or [""]


def specifier(text: str) -> str | None:
    """Return Poetry's version constraint *text* in PEP 440 form; empty for ``*``. None: it has no such form."""
    if len(alternatives(text)) > 1:
        return None
    parts = []
    for part in re.split(r"\s*,\s*|\s+(?=[<>=^~!])", text.strip()):
        converted = _part(part.replace(" ", ""))
        if converted is None:
            return None
        parts.append(converted)
    return ",".join(part for part in parts if part)


def python_marker(text: str) -> str | None:
    """Return the marker for Poetry's constraint *text* on Python; empty if all are allowed. None: it is invalid."""
    found = []
    for one in alternatives(text):
        version = specifier(one)
        if version is None:
            return None
        if not version:
            return ""
        found.append(" and ".join(_python(part) for part in version.split(",")))
    return found[0] if len(found) == 1 else " or ".join(f"({one})" for one in found)


def platform_marker(text: str) -> str | None:
    """Return the marker for Poetry's key ``platform``; None: it is invalid."""
    found = []
    for one in alternatives(text):
        match = re.fullmatch(r"(==|!=|)\s*([\w.-]+)", one)
        if match is None:
            return None
        found.append(f'sys_platform {match[1] or "=="} "{match[2]}"')
    return found[0] if len(found) == 1 else " or ".join(found)


def _python(part: str) -> str:
    match = re.fullmatch(r"(===?|!=|<=?|>=?|~=)(.+)", part)
    assert match is not None  # it is one of specifier()'s
    long = match[2].count(".") > 1
    return f'{"python_full_version" if long else "python_version"} {match[1]} "{match[2]}"'


def _part(part: str) -> str | None:
    if part in ("", "*"):
        return ""
    match = re.fullmatch(r"(\^|~=|~|<>|!=|===?|=|<=?|>=?|)v?(\d[\w.+!-]*?)(\.\*)?", part)
    if match is None:
        return None
    sign, number, wild = match.groups()
    try:
        version = Version(number)
    except InvalidVersion:
        return None
    if sign in ("", "=", "=="):
        return f"=={number}{wild or ''}"
    if sign in ("!=", "<>"):
        return f"!={number}{wild or ''}"
    if sign not in ("^", "~"):
        # `>=3.*` is `>=3`; after ~= a star means nothing.
        return None if wild and sign in ("~=", "===") else f"{sign}{number}"
    return None if wild else f">={number},<{_above(sign, version)}"


def _above(sign: str, version: Version) -> str:
    """Return the first version that ``^`` or ``~`` excludes."""
    release = version.release
    if sign == "~":
        kept = release[:2]
        above = (*kept[:-1], kept[-1] + 1) if len(kept) > 1 else (kept[0] + 1,)
    else:
        first = next((index for index, one in enumerate(release) if one), len(release) - 1)
        above = (*release[:first], release[first] + 1)
    epoch = f"{version.epoch}!" if version.epoch else ""
    return epoch + ".".join(map(str, above))
