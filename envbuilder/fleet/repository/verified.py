"""What was verified: the models that an archive was verified with, beside it as ``NAME-DIGEST.verified.json``."""

from __future__ import annotations

import datetime
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from envbuilder.archive.manifest import manifest_beside
from envbuilder.errors import IntegrityError
from envbuilder.util.documents import DOCUMENT, DocumentError, parse_json
from envbuilder.util.files import atomic_write, read_regular
from envbuilder.verification.report import Report

FORMAT: Final = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class Verified:
    """One verification of an archive with a model."""

    model: str
    """Its name then."""
    time: str
    """UTC, ISO 8601."""
    passed: bool
    server: str | None
    """The server that was asked, if one was."""
    summary: str
    failed: tuple[str, ...] = ()
    """Names of the checks that failed."""


def verified_of(model: str, report: Report) -> Verified:
    """Return what is kept of a report."""
    return Verified(
        model=model,
        time=datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        passed=report.passed,
        server=report.server,
        summary=report.summary().partition(": ")[2],
        failed=tuple(dict.fromkeys(check.id for check in report.failures)),
    )


def _path(archive: Path) -> Path:
    beside = manifest_beside(archive)
    return beside.with_name(f"{beside.stem}.verified.json")


def read_verified(archive: Path, sha256: str) -> dict[str, Verified]:
    """Return what *archive* was verified with, by the model's digest; what is of another archive does not count."""
    path = _path(archive)
    try:
        found = parse_json(read_regular(path, most=DOCUMENT.size + 1), where=str(path))
        if found.integer("format") != FORMAT or found.digest("sha256") != sha256:
            return {}
        return {
            digest: Verified(
                model=one.text("model"),
                time=one.text("time"),
                passed=one.boolean("passed"),
                server=one.text("server") if one.value.get("server") is not None else None,
                summary=one.text("summary"),
                failed=one.texts("failed"),
            )
            for digest, one in found.record_map("models").items()
        }
    except (OSError, DocumentError):
        return {}  # it is verified again


def write_verified(archive: Path, sha256: str, known: Mapping[str, Verified]) -> None:
    """Keep what *archive* was verified with.

    Raises:
        IntegrityError: it cannot be written.
    """
    models: dict[str, Any] = {digest: asdict(one) for digest, one in sorted(known.items())}
    text = json.dumps({"format": FORMAT, "sha256": sha256, "models": models}, indent=1)
    try:
        atomic_write(_path(archive), f"{text}\n".encode())
    except OSError as error:
        raise IntegrityError(f"{_path(archive)} cannot be written: {error.strerror}") from error
