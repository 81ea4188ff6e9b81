"""Provenances beside archives: checked, edited by hand, and signed with a certificate."""

from __future__ import annotations

import base64
import json
import shutil
from pathlib import Path
from typing import Any

from envbuilder import api
from envbuilder.archive.extract import extract
from envbuilder.archive.manifest import Manifest
from envbuilder.signing.verifier import load_verifier
from envbuilder.verification.report import Check
from envbuilder.verification.static.provenance import check_provenance
from tests.helpers.authority import write_certificate
from tests.helpers.environments import environment, manifest


def statement_of(path: Path) -> dict[str, Any]:
    """Return the statement in an envelope."""
    found: dict[str, Any] = json.loads(base64.b64decode(json.loads(path.read_text())["payload"]))
    return found


def check(archive: Path, trusted: Path, of: Manifest | None = None) -> list[Check]:
    """Return the checks of the provenance beside *archive*, against the manifest *of* an archive."""
    found = of or manifest(environment())
    sha256 = extract(archive, archive.parent / "x").sha256
    shutil.rmtree(archive.parent / "x")
    return list(check_provenance(archive, sha256, found, load_verifier(trusted)))


def failed(archive: Path, trusted: Path, of: Manifest | None = None) -> dict[str, str]:
    """Return what was found by the id of each failed check."""
    return {one.id: one.found for one in check(archive, trusted, of) if one.status == "failed"}


def edit(path: Path, **values: Any) -> None:
    """Change an envelope by hand."""
    envelope = json.loads(path.read_text())
    envelope.update(values)
    path.write_text(json.dumps(envelope))


def attest_certified(archive: Path, folder: Path, key: Any, authority: Any) -> None:
    """Sign the provenance of *archive* with a certificate that *authority* issued."""
    write_certificate(folder / "signer.crt", key, issuer=authority, issuer_name="authority")
    api.attest(archive, key=folder / "key.pem", certificate=folder / "signer.crt")
