from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from envbuilder import api
from envbuilder.archive.extract import extract
from envbuilder.archive.manifest import Manifest
from envbuilder.signing.verifier import load_verifier
from envbuilder.verification.report import Check
from envbuilder.verification.static.provenance import check_provenance
from tests.helpers.authority import write_certificate, write_key
from tests.helpers.environments import environment, manifest, pack


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    tree = environment()
    return pack(tree, tmp_path, listed=tree)


@pytest.fixture
def key(tmp_path: Path) -> Any:
    return write_key(tmp_path, "key")


def check(archive: Path, trusted: Path, of: Manifest | None = None) -> list[Check]:
    found = of or manifest(environment())
    sha256 = extract(archive, archive.parent / "x").sha256
    shutil.rmtree(archive.parent / "x")
    return list(check_provenance(archive, sha256, found, load_verifier(trusted)))


def failed(archive: Path, trusted: Path, of: Manifest | None = None) -> dict[str, str]:
    return {one.id: one.found for one in check(archive, trusted, of) if one.status == "failed"}


def edit(path: Path, **values: Any) -> None:
    """Change an envelope by hand."""
    envelope = json.loads(path.read_text())
    envelope.update(values)
    path.write_text(json.dumps(envelope))


@pytest.fixture
def authority(tmp_path: Path) -> Any:
    key = write_key(tmp_path, "authority")
    write_certificate(tmp_path / "authority.crt", key, authority=True)
    return key


def attest_certified(archive: Path, folder: Path, key: Any, authority: Any) -> None:
    write_certificate(folder / "signer.crt", key, issuer=authority, issuer_name="authority")
    api.attest(archive, key=folder / "key.pem", certificate=folder / "signer.crt")
