"""Check the provenance of an archive: signed by whom it should be, of this archive, and true of its manifest."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from packaging.utils import canonicalize_name

from envbuilder.archive.manifest import Manifest
from envbuilder.errors import VerifyError
from envbuilder.provenance.envelope import open_envelope, provenance_beside, provenances_beside
from envbuilder.provenance.keys import Verifier
from envbuilder.provenance.statement import PREDICATE_TYPE, STATEMENT_TYPE
from envbuilder.verification.report import Check, some

_SIGN = "`envbuilder attest` writes it; take the archive from whom you trust"


def check_provenance(
    archive: Path, sha256: str, manifest: Manifest | None, trusted: Verifier
) -> Iterator[Check]:
    """Check what lies beside *archive*, of which *sha256* was measured and *manifest* read.

    Of several provenances the first counts that *trusted* signed.
    """
    refused = []
    for path in provenances_beside(archive) or [provenance_beside(archive)]:
        try:
            statement = open_envelope(path.read_bytes(), trusted)
            break
        except OSError as error:
            refused.append(f"{path.name}: {error.strerror}")
        except VerifyError as error:
            refused.append(f"{path.name}: {error.message}")
    else:
        yield _failed("provenance.signature", "; ".join(refused), _SIGN)
        return
    yield Check(
        id="provenance.signature",
        status="passed",
        found=f"{path.name} is signed by {trusted.path} ({trusted.keyid[:12]})",
    )
    yield _check_subject(statement, archive, sha256)
    if manifest is not None:
        yield _check_materials(statement, manifest)


def _check_subject(statement: Mapping[str, Any], archive: Path, sha256: str) -> Check:
    kinds = (statement.get("_type"), statement.get("predicateType"))
    if kinds != (STATEMENT_TYPE, PREDICATE_TYPE):
        return _failed(
            "provenance.subject", f"it states {kinds[1]} ({kinds[0]}), not {PREDICATE_TYPE}", _SIGN
        )
    subjects = statement.get("subject")
    found = [
        (str(one.get("name")), (one.get("digest") or {}).get("sha256"))
        for one in (subjects if isinstance(subjects, list) else [])
        if isinstance(one, dict) and isinstance(one.get("digest") or {}, dict)
    ]
    if sha256 in (digest for _, digest in found):
        return Check(
            id="provenance.subject", status="passed", found=f"it is of this archive: sha256 {sha256[:12]}"
        )
    names = some([f"{name} ({str(digest)[:12]})" for name, digest in found]) or "nothing"
    return _failed(
        "provenance.subject",
        f"it is of another archive: {names}; this is {archive.name} ({sha256[:12]})",
        _SIGN,
    )


def _check_materials(statement: Mapping[str, Any], manifest: Manifest) -> Check:
    try:
        definition = statement["predicate"]["buildDefinition"]
        external = definition["externalParameters"]
        stated = {
            str(one["digest"].get("sha256")): str(one["name"]) for one in definition["resolvedDependencies"]
        }
        said = (external["recipe"]["digest"]["envbuilder"], external["lock"]["digest"]["sha256"])
    except (KeyError, TypeError, AttributeError) as error:
        return _failed(
            "provenance.materials", f"it does not say what the archive was made of: {error}", _SIGN
        )
    wrong = []
    if said[0] != manifest.recipe_digest:
        wrong.append("another recipe")
    if said[1] != manifest.lock_digest:
        wrong.append("another lock")
    wrong += [
        f"without {canonicalize_name(package.name)} {package.version}"
        for package in manifest.all_packages
        if package.sha256 not in stated
    ]
    if wrong:
        return _failed("provenance.materials", f"it states an archive of {some(wrong)}", _SIGN)
    return Check(
        id="provenance.materials",
        status="passed",
        found=f"recipe, lock and {len(manifest.all_packages)} artifacts are those of the manifest",
    )


def _failed(id: str, found: str, fix: str) -> Check:
    return Check(id=id, status="failed", found=found, fix=fix)
