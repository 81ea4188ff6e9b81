"""Check the provenance of an archive: its signer, its subject, and its agreement with the manifest."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from packaging.utils import canonicalize_name

from envbuilder.archive.manifest import Manifest
from envbuilder.errors import VerifyError
from envbuilder.provenance.envelope import open_envelope, provenance_beside, provenances_beside
from envbuilder.provenance.statement import PREDICATE_TYPE, STATEMENT_TYPE
from envbuilder.signing.verifier import Verifier
from envbuilder.util.documents import DOCUMENT, DocumentError, Record
from envbuilder.util.files import read_regular
from envbuilder.verification.report import Check, some

_SIGN: Final = "get the archive from a source you trust; `envbuilder attest` writes a provenance"
_MOST: Final = 32
"""Most provenances that are read beside one archive."""


def check_provenance(
    archive: Path, sha256: str, manifest: Manifest | None, trusted: Verifier
) -> Iterator[Check]:
    """Check the provenance next to *archive* with this *sha256* and *manifest*.

    Of several provenances, the first one that *trusted* signed for this archive is used.
    """
    refused = []
    fix = _SIGN
    another: Check | None = None
    for path in (provenances_beside(archive) or [provenance_beside(archive)])[:_MOST]:
        try:
            signed = open_envelope(read_regular(path, most=DOCUMENT.size + 1), trusted)
        except OSError as error:
            refused.append(f"{path.name}: {error.strerror}")
            continue
        except VerifyError as error:
            refused.append(f"{path.name}: {error.message}")
            fix = error.hint or fix
            continue
        good = Check(
            id="provenance.signature", status="passed", found=f"{path.name} is signed by {signed.signer}"
        )
        of = _check_subject(signed.statement, archive, sha256)
        if of.status == "passed":
            yield good
            yield of
            if manifest is not None:
                yield _check_materials(signed.statement, manifest)
            return
        another = another or of
    if another is not None:
        yield another
        return
    yield _failed("provenance.signature", "; ".join(refused), fix)


def _check_subject(statement: Record, archive: Path, sha256: str) -> Check:
    try:
        kind, predicate = statement.text("_type"), statement.text("predicateType")
        if (kind, predicate) != (STATEMENT_TYPE, PREDICATE_TYPE):
            return _failed(
                "provenance.subject",
                f"the statement is of type {predicate} ({kind}), not {PREDICATE_TYPE}",
                _SIGN,
            )
        found = [
            (one.text("name") if "name" in one else "something", one.record("digest").digest("sha256"))
            for one in statement.records("subject")
        ]
    except DocumentError as error:
        return _failed(
            "provenance.subject", f"the statement is not valid: {error.path}: {error.reason}", _SIGN
        )
    if sha256 in (digest for _, digest in found):
        return Check(
            id="provenance.subject", status="passed", found=f"it describes this archive: sha256 {sha256[:12]}"
        )
    names = some([f"{name} ({digest[:12]})" for name, digest in found]) or "nothing"
    return _failed(
        "provenance.subject",
        f"it describes another archive: {names}; this is {archive.name} ({sha256[:12]})",
        _SIGN,
    )


def _check_materials(statement: Record, manifest: Manifest) -> Check:
    try:
        definition = statement.record("predicate").record("buildDefinition")
        external = definition.record("externalParameters")
        stated = {
            one.record("digest").text("sha256")
            for one in definition.records("resolvedDependencies")
            if "sha256" in one.record("digest")
        }
        recipe = external.record("recipe").record("digest").text("envbuilder")
        lock = external.record("lock").record("digest").text("sha256")
    except DocumentError as error:
        return _failed(
            "provenance.materials",
            f"it does not list what the archive was built from: {error.path}: {error.reason}",
            _SIGN,
        )
    wrong = []
    if recipe != manifest.recipe_digest:
        wrong.append("another recipe")
    if lock != manifest.lock_digest:
        wrong.append("another lock")
    wrong += [
        f"without {canonicalize_name(package.name)} {package.version}"
        for package in manifest.all_packages
        if package.sha256 not in stated
    ]
    if wrong:
        return _failed("provenance.materials", f"it differs from the manifest: {some(wrong)}", _SIGN)
    return Check(
        id="provenance.materials",
        status="passed",
        found=f"recipe, lock and {len(manifest.all_packages)} artifacts match the manifest",
    )


def _failed(id: str, found: str, fix: str) -> Check:
    return Check(id=id, status="failed", found=found, fix=fix)
