"""The report of a verification, as JSON, JUnit XML, or rows of a table."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Final, Literal, get_args

from envbuilder.catalog.triton import Release
from envbuilder.util.printable import json_text, printable_line, valid_xml

Status = Literal["passed", "failed", "warning", "unknown", "omitted"]
FORMAT: Final = 1
_SHOWN: Final = 8
"""How many items of a list a message names."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Check:
    """One check, and what it found."""

    id: str
    """Stable: ``layout.libpython``."""
    status: Status
    """``unknown``: the check was made, but without a result; ``omitted``: it could not be made. *found* has the
    reason."""
    found: str
    fix: str | None = None
    """What to change."""
    release: str | None = None
    """The release whose contract was replayed; None if it applies to all."""
    seconds: float = 0.0
    proven: str | None = None
    """When an earlier verification proved it: ISO 8601, UTC. None: it was made now, and the report has no such
    key."""

    @property
    def result(self) -> str:
        """The status for display."""
        return "not known" if self.status == "unknown" else self.status

    def of_model(self, name: str) -> Check:
        """Return it with the *name* of its model, if there are several."""
        about = self.id.startswith(("probe.", "server.")) and self.id not in (
            "probe.packages",
            "server.start",
        )
        return replace(self, found=f"{name}: {self.found}") if about else self


def check(
    id: str, status: Status, found: str, fix: str | None = None, release: Release | None = None
) -> Check:
    """Return a check for *release*, or for all."""
    return Check(id=id, status=status, found=found, fix=fix, release=release.name if release else None)


def passed(id: str, found: str, release: Release | None = None) -> Check:
    """Return a check that passed."""
    return check(id, "passed", found, None, release)


def failed(id: str, found: str, fix: str, release: Release | None = None) -> Check:
    """Return a check that failed, and what to change."""
    return check(id, "failed", found, fix, release)


def omitted(id: str, why: str) -> Check:
    """Return a check that could not be made."""
    return Check(id=id, status="omitted", found=why)


@dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    """The result of a verification."""

    archive: str
    sha256: str | None
    """None: it could not be read."""
    size: int
    """Size of the archive in bytes."""
    unpacked_size: int
    """Unpacked size of its files in bytes."""
    recipe: str | None
    releases: tuple[str, ...]
    """The releases whose contracts were replayed."""
    isolated: bool
    """Whether the archive was run without access to the files it was built from."""
    server: str | None
    """The server that was used, if any."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """Versions, times in seconds and devices, as reported by the running environment."""
    checks: tuple[Check, ...]
    seconds: float
    format: int = FORMAT

    @property
    def passed(self) -> bool:
        """Whether no check failed."""
        return not self.failures

    @property
    def failures(self) -> tuple[Check, ...]:
        """The checks that failed."""
        return tuple(check for check in self.checks if check.status == "failed")

    def summary(self) -> str:
        """Return the result in one line."""
        count = {status: sum(check.status == status for check in self.checks) for status in get_args(Status)}
        words = {
            "passed": "passed",
            "failed": "failed",
            "warning": "with a warning",
            "unknown": "not known",
            "omitted": "omitted",
        }
        said = ", ".join(f"{count[status]} {words[status]}" for status in words if count[status])
        before = sum(check.proven is not None for check in self.checks)
        proven = f"; {before} of them proven before" if before else ""
        return f"{self.archive}: {said} ({self.seconds:.0f} s{proven})"

    def json(self) -> str:
        """Return the report as JSON, as :func:`report_schema` describes it."""
        checks = [
            {name: value for name, value in asdict(one).items() if name != "proven" or value is not None}
            for one in self.checks
        ]
        return json_text({**asdict(self), "checks": checks, "passed": self.passed}) + "\n"

    def junit(self) -> str:
        """Return the report as JUnit XML: each check is a test case, each release a class."""
        suite = ET.Element(
            "testsuite",
            name=f"envbuilder verify {valid_xml(self.archive)}",
            tests=str(len(self.checks)),
            failures=str(len(self.failures)),
            errors="0",
            skipped=str(sum(check.status in ("unknown", "omitted") for check in self.checks)),
            time=f"{self.seconds:.3f}",
        )
        for check in self.checks:
            case = ET.SubElement(
                suite,
                "testcase",
                classname=f"envbuilder.verify.{(check.release or 'archive').replace('.', '_')}",
                name=check.id,
                time=f"{check.seconds:.3f}",
            )
            text = check.found if check.fix is None else f"{check.found}\n{check.fix}"
            if check.status == "failed":
                ET.SubElement(case, "failure", message=valid_xml(check.found)).text = valid_xml(text)
            elif check.status in ("unknown", "omitted"):
                ET.SubElement(case, "skipped", message=valid_xml(check.found)).text = valid_xml(text)
            else:
                ET.SubElement(case, "system-out").text = valid_xml(text)
        root = ET.Element("testsuites")
        root.append(suite)
        ET.indent(root)
        return ET.tostring(root, encoding="unicode", xml_declaration=True) + "\n"

    def rows(self) -> list[tuple[str, str, str, str]]:
        """Return a row of a table for each check: check, release, status, what was found and what to change."""
        return [(check.id, check.release or "", check.result, _told(check)) for check in self.checks]


def _told(check: Check) -> str:
    found = check.found if check.proven is None else f"{check.found} (proven {check.proven[:10]})"
    return found if check.fix is None or check.status == "passed" else f"{found}\n→ {check.fix}"


def unread(archive: Path, checks: Sequence[Check], seconds: float) -> Report:
    """Return the report of an archive that was not read."""
    return Report(
        archive=str(archive),
        sha256=None,
        size=0,
        unpacked_size=0,
        recipe=None,
        releases=(),
        isolated=False,
        server=None,
        checks=tuple(checks),
        seconds=seconds,
    )


def some(items: Sequence[str], count: int = _SHOWN) -> str:
    """Name the first few of *items*, which may be untrusted names, and the number of the rest."""
    more = len(items) - count
    return ", ".join(printable_line(item) for item in items[:count]) + (
        f" and {more} more" if more > 0 else ""
    )


def report_schema() -> dict[str, Any]:
    """Return the JSON schema of a report."""
    text, maybe = {"type": "string"}, {"type": ["string", "null"]}
    count, seconds = {"type": "integer", "minimum": 0}, {"type": "number", "minimum": 0}
    check = {
        "id": {"type": "string", "pattern": r"^[a-z]+\.[a-z-]+$"},
        "status": {"enum": list(get_args(Status))},
        "found": text,
        "fix": maybe,
        "release": maybe,
        "seconds": seconds,
    }
    properties: dict[str, Any] = {
        "format": {"const": FORMAT},
        "archive": text,
        "sha256": {"type": ["string", "null"], "pattern": "^[0-9a-f]{64}$"},
        "size": count,
        "unpacked_size": count,
        "recipe": maybe,
        "releases": {"type": "array", "items": text},
        "isolated": {"type": "boolean"},
        "server": maybe,
        "environment": {"type": "object", "additionalProperties": text},
        "checks": {"type": "array", "items": _record(check, optional={"proven": text})},
        "seconds": seconds,
        "passed": {"type": "boolean"},
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:envbuilder:schema:report:{FORMAT}",
        "title": "envbuilder verification report",
        **_record(properties),
    }


def _record(properties: Mapping[str, Any], optional: Mapping[str, Any] | None = None) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {**properties, **(optional or {})},
        "required": sorted(properties),
        "additionalProperties": False,
    }
