"""Map package URLs to the ecosystems of OSV: names of packages, and order of versions."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final, NamedTuple

from packageurl import PackageURL
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from envbuilder.util.extras import needs_extra

GIT: Final = "GIT"
"""The ecosystem of records that name a repository instead of a package."""
_TYPES: Final = {
    "cargo": "crates.io",
    "composer": "Packagist",
    "conan": "ConanCenter",
    "conda": "conda",
    "cran": "CRAN",
    "gem": "RubyGems",
    "golang": "Go",
    "hackage": "Hackage",
    "hex": "Hex",
    "maven": "Maven",
    "npm": "npm",
    "nuget": "NuGet",
    "pub": "Pub",
    "pypi": "PyPI",
    "swift": "SwiftURL",
}
_DISTRIBUTIONS: Final = {
    ("apk", "alpine"): "Alpine",
    ("apk", "chainguard"): "Chainguard",
    ("apk", "wolfi"): "Wolfi",
    ("deb", "debian"): "Debian",
    ("deb", "ubuntu"): "Ubuntu",
    ("rpm", "almalinux"): "AlmaLinux",
    ("rpm", "opensuse"): "openSUSE",
    ("rpm", "redhat"): "Red Hat",
    ("rpm", "rocky"): "Rocky Linux",
    ("rpm", "suse"): "SUSE",
}
DISTRIBUTIONS: Final = frozenset(_DISTRIBUTIONS.values())
_UPSTREAM: Final = ("apk", "conan", "conda", "deb", "generic", "github", "rpm")
"""Types of mostly C projects, which OSS-Fuzz and records of repositories call by their own names."""
_SEMVER: Final = re.compile(r"v?(\d+)\.(\d+)\.(\d+)(?:-([0-9A-Za-z.-]+))?(?:\+.*)?")
_TAG: Final = re.compile(
    r"(?:(?!v\d)(?:[a-z]+[0-9]*[-_/]|[a-z]{2,}[0-9]*\.))*v?(?P<version>\d[\w.+-]*)", re.IGNORECASE
)
"""A tag: words (``zlib-``, ``libxml2-``, ``OpenSSL_``), then a version."""


class Key(NamedTuple):
    """A package's name in an advisory."""

    ecosystem: str
    name: str


def normalize(ecosystem: str, name: str) -> str:
    """Return *name* normalized for *ecosystem*."""
    return canonicalize_name(name) if ecosystem == "PyPI" else name.lower()


def keys_of(purl: str) -> tuple[set[Key], str | None]:
    """Return the names of the package *purl* in advisories, and its distribution's release, if any."""
    parsed = PackageURL.from_string(purl)
    name, space = parsed.name, parsed.namespace
    qualifiers = parsed.qualifiers if isinstance(parsed.qualifiers, dict) else {}
    keys: set[Key] = set()
    if parsed.type in _TYPES:
        separator = ":" if parsed.type == "maven" else "/"
        whole = f"{space}{separator}{name}" if space else name
        keys.add(Key(_TYPES[parsed.type], normalize(_TYPES[parsed.type], whole)))
    release = None
    distribution = _DISTRIBUTIONS.get((parsed.type, (space or "").lower()))
    if distribution is not None:
        release = _release(qualifiers.get("distro", ""), parsed.version or "")
        # The advisories of distributions are about source packages.
        source = qualifiers.get("upstream", name).partition("@")[0]
        keys |= {Key(distribution, one.lower()) for one in (source, name)}
    if parsed.type in _UPSTREAM:
        keys |= {Key(ecosystem, name.lower()) for ecosystem in ("OSS-Fuzz", GIT)}
    return keys, release


def _release(distro: str, version: str) -> str | None:
    """Return ``12`` of ``debian-12``, and ``8`` of a version that ends in ``.el8_10``."""
    said = re.search(r"(\d+(?:\.\d+)*)", distro) or re.search(r"\.el(\d+)", version)
    return said[1] if said else None


def ordering(ecosystem: str, kind: str) -> Callable[[str], Any] | None:
    """Return the sort key of versions in *ecosystem*, for ranges of a *kind*; None: there is none.

    Raises:
        RecipeError: the extra ``proof`` is not installed, and it is a distribution's or another registry's.
    """
    if kind == "SEMVER" or ecosystem in ("crates.io", "npm", "Go", "Hex", "Pub", "SwiftURL"):
        return semver
    if ecosystem in ("PyPI", "conda", "CRAN", "OSS-Fuzz", GIT):
        return pep440
    classes = {
        "Alpine": "AlpineLinuxVersion",
        "AlmaLinux": "RpmVersion",
        "Chainguard": "AlpineLinuxVersion",
        "ConanCenter": "ConanVersion",
        "Debian": "DebianVersion",
        "Maven": "MavenVersion",
        "NuGet": "NugetVersion",
        "Packagist": "ComposerVersion",
        "Red Hat": "RpmVersion",
        "Rocky Linux": "RpmVersion",
        "RubyGems": "RubygemsVersion",
        "SUSE": "RpmVersion",
        "Ubuntu": "DebianVersion",
        "Wolfi": "AlpineLinuxVersion",
        "openSUSE": "RpmVersion",
    }
    if ecosystem not in classes:
        return None
    with needs_extra("proof", "comparing versions of distributions"):
        import univers.versions
    of_ecosystem: Callable[[str], Any] = getattr(univers.versions, classes[ecosystem])
    return of_ecosystem


def same_version(ecosystem: str, said: str, version: str) -> bool:
    """Whether a listed version equals *version*; tags of repositories are compared without the project's name."""
    if ecosystem in ("OSS-Fuzz", GIT):
        tag = _TAG.fullmatch(said)
        said = re.sub(r"(?<=\d)[-_](?=\d)", ".", tag["version"]) if tag is not None else said
    elif ecosystem != "PyPI":
        return said == version
    said = public_version(said.removeprefix("v"))
    try:
        return Version(said) == Version(version)
    except InvalidVersion:  # names from before PEP 440
        return said == version


def public_version(version: str) -> str:
    """Return *version* without its local part."""
    return version.partition("+")[0]


def pep440(version: str) -> Version:
    """Return the sort key of a PEP 440 version, without its local part."""
    return Version(public_version(version))


def semver(version: str) -> tuple[tuple[int, ...], tuple[Any, ...]]:
    """Return the sort key of a SemVer 2.0 version; a missing third number counts as 0."""
    padded = version + ".0" * max(2 - version.partition("-")[0].count("."), 0)
    match = _SEMVER.fullmatch(padded)
    if match is None:
        raise InvalidVersion(f"{version!r} is not a SemVer version")
    before = match[4]
    parts = (
        [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in before.split(".")]
        if before
        else [(2, 0, "")]
    )
    return (int(match[1]), int(match[2]), int(match[3])), tuple(parts)
