"""The static checks: first those that decide whether an archive can be run, then those that read every byte again."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

from envbuilder.catalog.triton import Release
from envbuilder.lockfile.model import Lock
from envbuilder.recipe.model import VerifyOptions
from envbuilder.signing.verifier import Verifier
from envbuilder.verification.failures import Made, guarded
from envbuilder.verification.findings import Findings
from envbuilder.verification.report import Check
from envbuilder.verification.static.archive import SLOW, archive_checks
from envbuilder.verification.static.extracted import Archive
from envbuilder.verification.static.policy import check_contents
from envbuilder.verification.static.provenance import check_provenance
from envbuilder.verification.static.release import check_release


def check_structure(
    archive: Archive,
    findings: Findings,
    *,
    releases: Sequence[Release],
    lock: Lock | None,
    trusted: Verifier | None,
    options: VerifyOptions | None,
) -> list[Callable[[], None]]:
    """Make the checks that decide whether *archive* can be run; return the other checks, which may be made later.

    All of them get their slots in *findings* now.
    """
    later: list[Callable[[], None]] = []
    for id, make in archive_checks(archive, lock):
        place = findings.place()
        if id in SLOW:
            later.append(functools.partial(_fill, place, id, make))
        else:
            _fill(place, id, make)
    if trusted is not None:
        sha256, manifest = archive.contents.sha256, archive.manifest
        findings.place(
            guarded("provenance.signature", lambda: check_provenance(archive.path, sha256, manifest, trusted))
        )
    if options is not None:
        wanted = options
        later.append(
            functools.partial(
                _fill, findings.place(), "contents.sbom", lambda: check_contents(archive, wanted)
            )
        )
    for release in releases:
        findings.place(check_release(archive, release))
    return later


def _fill(place: list[Check], id: str, make: Callable[[], Made]) -> None:
    place.extend(guarded(id, make))
