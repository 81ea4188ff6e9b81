"""Match specs as py-rattler understands them, with what the rest of an import asks of them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Final

from packaging.specifiers import InvalidSpecifier, SpecifierSet

from envbuilder.recipe.channels import PLATFORMS
from envbuilder.recipe.importing.remark import Remark, Said
from envbuilder.util.rattler import rattler, said

_OPERATOR: Final = re.compile(r"[<>=!~]")


@dataclass(frozen=True, kw_only=True, slots=True)
class Spec:
    """One match spec."""

    said: Said
    text: str
    """Without its channel."""
    channel: str | None
    name: str
    version: str
    """``==2.7.1``, ``2.7.*``, ``>=2,<3``, or nothing."""
    build: str
    """``py311_0``, with ``*``, or nothing."""

    def allows(self, version: str) -> bool:
        """Say whether a package of *version* fits."""
        module = rattler()
        fits = module.VersionSpec(self.version).matches(module.Version(version)) if self.version else True
        return bool(fits)

    def pep440(self) -> str | None:
        """Return the version as a PEP 508 requirement says it; None: it cannot say that."""
        exact = re.fullmatch(r"(\d+\.\d+\.\d+)\.\*", self.version)
        if exact is not None:
            return f"=={exact[1]}"  # conda's =1.2.3; projects have no fourth number
        parts = [part if _OPERATOR.match(part) else f"=={part}" for part in self.version.split(",") if part]
        try:
            return str(SpecifierSet(",".join(parts)))
        except InvalidSpecifier:
            return None


def read_spec(line: Said) -> Spec | Remark:
    """Return the spec that *line* is, or the remark that it is none.

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
        return line.left_out(f"invalid match spec: {said(error).splitlines()[0]}")
    return Spec(
        said=line,
        text=text.strip(),
        channel=channel or None,
        name=found.name.normalized,
        version=str(found.version or ""),
        build=str(found.build or ""),
    )
