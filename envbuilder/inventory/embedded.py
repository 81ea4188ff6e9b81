"""Read the SBOMs inside packages (PEP 770, ``.dist-info/sboms/``): crates, C libraries, other packages.

CycloneDX (JSON), as cargo-cyclonedx, maturin and auditwheel write it, and SPDX 2 (JSON).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote

from packageurl import PackageURL

from envbuilder.util.documents import LISTING, DocumentError, Grammar, Record, parse_json

_SBOM: Final = re.compile(r"(?P<folder>lib/python3\.\d+/site-packages/(?:.*/)?[^/]+\.dist-info)/sboms/.+")
_NAME: Final = Grammar(
    pattern=re.compile(r".*[^\s/].*"), expected="a name with a character that is no slash or space"
)
"""Types for which a package URL can be formed."""
MOST: Final = 10_000
"""Most components in the SBOMs of an archive: the largest Rust wheels have some hundred crates."""
_PURL_QUALIFIERS: Final = frozenset({"arch", "distro", "epoch", "upstream", "file_name"})
"""Qualifiers that identify a package, unlike ``download_url`` and ``vcs_url``."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Embedded:
    """One component that an SBOM names."""

    folder: str
    """The ``.dist-info`` of the package that contains it."""
    place: str
    """The path of the SBOM."""
    name: str
    version: str
    purl: str
    licence: str
    summary: str
    sha256: str | None


def read_sboms(files: Mapping[str, bytes]) -> tuple[tuple[Embedded, ...], tuple[str, ...]]:
    """Return the components in the SBOMs among *files*, and the SBOMs in unsupported formats.

    Raises:
        DocumentError: one cannot be read.
    """
    found: dict[tuple[str, str], Embedded] = {}
    unread = []
    for path, content in sorted(files.items()):
        match = _SBOM.fullmatch(path)
        if match is None:
            continue
        if not content.lstrip().startswith(b"{"):
            unread.append(path)
            continue
        document = parse_json(content, where=path, cap=LISTING)
        if "bomFormat" in document:
            parts = _cyclonedx(document)
        elif "spdxVersion" in document:
            parts = _spdx(document)
        else:
            unread.append(path)
            continue
        for name, version, said, licence, summary, sha256 in parts:
            if len(found) >= MOST:
                raise DocumentError(
                    path, "", f"with the SBOMs before it, it names more than {MOST:,} components"
                )
            purl = _purl(name, version, said)
            one = Embedded(
                folder=match["folder"],
                place=path,
                name=name,
                version=version or PackageURL.from_string(purl).version or "",
                purl=purl,
                licence=licence,
                summary=" ".join(summary.split()),
                sha256=sha256,
            )
            found.setdefault((one.folder, one.purl), one)
    ordered = sorted(found.values(), key=lambda one: (one.name, one.version, one.place, one.purl))
    return tuple(ordered), tuple(unread)


_Part = tuple[str, str, str, str, str, str | None]


def _cyclonedx(record: Record) -> Iterator[_Part]:
    """Yield the components and nested ones, without the document's subject, which is the package itself."""
    for one in record.records("components") if "components" in record else ():
        kind = one.text("type") if "type" in one else "library"
        if kind != "file":
            yield (
                one.text("name", _NAME),
                one.text("version") if "version" in one else "",
                one.text("purl") if "purl" in one else "",
                _licences(one),
                one.free_text("description") if "description" in one else "",
                _sha256(one, "alg", "content", "SHA-256"),
            )
        yield from _cyclonedx(one)


def _licences(record: Record) -> str:
    said = []
    for one in record.records("licenses") if "licenses" in record else ():
        if "expression" in one:
            said.append(one.text("expression"))
        elif "license" in one:
            licence = one.record("license")
            said += [licence.text(key) for key in ("id", "name") if key in licence][:1]
    return said[0] if len(said) == 1 else " AND ".join(f"({one})" for one in said)


def _spdx(record: Record) -> Iterator[_Part]:
    described = set(record.texts("documentDescribes")) if "documentDescribes" in record else set()
    for one in record.records("relationships") if "relationships" in record else ():
        if one.text("relationshipType") == "DESCRIBES":
            described.add(one.text("relatedSpdxElement"))
    for one in record.records("packages") if "packages" in record else ():
        if one.text("SPDXID") in described:
            continue
        purls = [
            reference.text("referenceLocator")
            for reference in (one.records("externalRefs") if "externalRefs" in one else ())
            if reference.text("referenceType") == "purl"
        ]
        said = [one.text(key) for key in ("licenseConcluded", "licenseDeclared") if key in one]
        yield (
            one.text("name", _NAME),
            one.text("versionInfo") if "versionInfo" in one else "",
            next(iter(purls), ""),
            next((licence for licence in said if licence not in ("NOASSERTION", "NONE")), ""),
            one.free_text("summary") if "summary" in one else "",
            _sha256(one, "algorithm", "checksumValue", "SHA256", key="checksums"),
        )


def _sha256(record: Record, algorithm: str, value: str, name: str, *, key: str = "hashes") -> str | None:
    for one in record.records(key) if key in record else ():
        if one.text(algorithm) == name:
            return one.digest(value)
    return None


def _purl(name: str, version: str, said: str) -> str:
    """Return the package URL without download locations; a generic one if there is no valid one."""
    try:
        parsed = PackageURL.from_string(said)
    except ValueError:
        at = f"@{quote(version, safe='')}" if version else ""
        return f"pkg:generic/{quote(name, safe='')}{at}"
    qualifiers = parsed.qualifiers if isinstance(parsed.qualifiers, dict) else {}
    kept = {key: value for key, value in qualifiers.items() if key in _PURL_QUALIFIERS}
    return parsed._replace(qualifiers=kept or None, version=parsed.version or version or None).to_string()
