"""Match specs, parsed by py-rattler, with the operations that an import needs."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Final

from packaging.specifiers import InvalidSpecifier, SpecifierSet

from envbuilder.recipe.channels import PLATFORMS
from envbuilder.recipe.importing.remark import Remark, SourceLine
from envbuilder.util.rattler import error_text, rattler

_OPERATOR: Final = re.compile(r"[<>=!~]")


@dataclass(frozen=True, kw_only=True, slots=True)
class Spec:
    """One match spec."""

    line: SourceLine
    text: str
    """Without its channel."""
    channel: str | None
    name: str
    version: str
    """``==2.7.1``, ``2.7.*``, ``>=2,<3``, or nothing."""
    build: str
    """``py311_0``, with ``*``, or nothing."""

    def allows(self, version: str) -> bool:
        """Return whether a package of *version* matches."""
        module = rattler()
        fits = module.VersionSpec(self.version).matches(module.Version(version)) if self.version else True
        return bool(fits)

    def pep440(self) -> str | None:
        """Return the version in PEP 508 form; None: it has no such form."""
        exact = re.fullmatch(r"(\d+\.\d+\.\d+)\.\*", self.version)
        if exact is not None:
            return f"=={exact[1]}"  # conda's =1.2.3; projects rarely have a fourth number
        parts = [part if _OPERATOR.match(part) else f"=={part}" for part in self.version.split(",") if part]
        try:
            return str(SpecifierSet(",".join(parts)))
        except InvalidSpecifier:
            return None


def read_spec(line: SourceLine) -> Spec | Remark:
    """Parse *line* as a match spec; return a remark if it is invalid.

    Raises:
        ResolveError: py-rattler is not installed.
    """
    module = rattler()
    channel, colons, text = line.text.rpartition("::")
    if "://" in channel or (not colons and "://" in text):
        return line.left_out("a place; name the package, and its channel under `channels`")
    parent, _, subdir = channel.rpartition("/")
    if subdir in PLATFORMS:
        channel = parent
    try:
        found: Any = module.MatchSpec(text)
    except module.exceptions.InvalidMatchSpecError as error:
        return line.left_out(f"invalid match spec: {error_text(error).splitlines()[0]}")
    return Spec(
        line=line,
        text=text.strip(),
        channel=channel or None,
        name=found.name.normalized,
        version=str(found.version or ""),
        build=str(found.build or ""),
    )
