"""References to what is in a registry: ``oci://HOST/REPOSITORY:TAG`` and ``oci://HOST/REPOSITORY@sha256:…``."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass, replace
from typing import Final

from envbuilder.errors import RecipeError

SCHEME: Final = "oci://"
_PART: Final = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_LABEL: Final = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_HOST: Final = re.compile(
    rf"(?:{_LABEL}(?:\.{_LABEL})*|\[(?P<address>[0-9a-fA-F:]+)\])(?::(?P<port>[0-9]{{1,5}}))?"
)
_LONGEST_HOST: Final = 253
_REPOSITORY: Final = re.compile(rf"{_PART}(?:/{_PART})*")
_TAG: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
_DIGEST: Final = re.compile(r"sha256:[0-9a-f]{64}")
_HINT: Final = "for instance oci://registry.example.com/envs/resnet:stable, or …/resnet@sha256:…"


@dataclass(frozen=True, kw_only=True, slots=True)
class Reference:
    """A repository of a registry, and what in it."""

    host: str
    """With its port, if it is not the usual one."""
    repository: str
    tag: str | None = None
    digest: str | None = None

    def __str__(self) -> str:
        tag = f":{self.tag}" if self.tag else ""
        return f"{SCHEME}{self.host}/{self.repository}{tag}" + (f"@{self.digest}" if self.digest else "")

    @property
    def image(self) -> str:
        """How a container runtime and Kubernetes name it, without the scheme."""
        return str(self).removeprefix(SCHEME)

    @property
    def wanted(self) -> str:
        """What is asked of the registry: the digest, or else the tag."""
        return self.digest or self.tag or "latest"

    def at(self, digest: str) -> Reference:
        """Return the reference to exactly this digest."""
        return replace(self, digest=digest)


def is_reference(text: str) -> bool:
    """Whether *text* is meant as a reference."""
    return text.startswith(SCHEME)


def parse_reference(text: str) -> Reference:
    """Read a reference, which must begin with ``oci://``; an empty repository is none.

    Raises:
        RecipeError: it is invalid.
    """
    rest = text.removeprefix(SCHEME)
    if rest == text:
        raise RecipeError(f"{text[:200]!r} is not a reference to a registry", hint=_HINT)
    host, slash, path = rest.partition("/")
    if "@" in host:
        raise RecipeError(
            f"{SCHEME}…@{host.rpartition('@')[2]} holds credentials", hint="`docker login HOST` keeps them"
        )
    path, at, digest = path.partition("@")
    path, colon, tag = path.partition(":")
    wrong = None
    if not slash or not _is_host(host):
        wrong = f"{host[:80]!r} is not a host name" if host else "it names no host"
    elif len(path) > 255 or not _REPOSITORY.fullmatch(path):
        wrong = f"{path[:80]!r} is not a repository name: lower-case letters, digits, '.', '_', '-' and '/'"
    elif colon and not _TAG.fullmatch(tag):
        wrong = f"{tag[:80]!r} is not a tag"
    elif at and not _DIGEST.fullmatch(digest):
        wrong = f"{digest[:80]!r} is not a digest: sha256: and 64 hex digits"
    if wrong is not None:
        raise RecipeError(f"{text[:200]!r}: {wrong}", hint=_HINT)
    return Reference(host=host, repository=path, tag=tag or None, digest=digest or None)


def _is_host(text: str) -> bool:
    match = _HOST.fullmatch(text)
    if (
        match is None
        or len(text.partition(":")[0]) > _LONGEST_HOST
        or int(match["port"] or 1) not in range(1, 65536)
    ):
        return False
    return match["address"] is None or _is_address(match["address"])


def _is_address(text: str) -> bool:
    try:
        ipaddress.IPv6Address(text)
    except ValueError:
        return False
    return True


def is_loopback(host: str) -> bool:
    """Whether *host*, which may have a port, is this machine."""
    name = re.sub(r":[0-9]+$", "", host).strip("[]")
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False
