"""``envbuilder attest``: provenance next to an archive."""

from __future__ import annotations

from pathlib import Path

from envbuilder.archive.manifest import MANIFEST_PATH
from envbuilder.config.settings import Settings, load_settings
from envbuilder.errors import IntegrityError, RecipeError
from envbuilder.foreign.measured import MeasuredManifest
from envbuilder.inventory.components import take_inventory
from envbuilder.progress import SILENT, Reporter
from envbuilder.provenance.envelope import provenance_beside, sign_statement, statement_beside
from envbuilder.provenance.statement import make_statement, statement_text
from envbuilder.provenance.timestamp import ask_authority
from envbuilder.signing.keys import load_signer
from envbuilder.signing.verifier import load_certificates
from envbuilder.util.files import atomic_write


def attest(
    archive: Path,
    *,
    key: Path | None = None,
    certificate: Path | None = None,
    report: Path | None = None,
    builder: str | None = None,
    timestamp: str | None = None,
    reporter: Reporter = SILENT,
) -> Path:
    """Write SLSA provenance next to an archive and return its path: signed with *key*, or for cosign to sign.

    *timestamp* is the URL of a timestamp authority (RFC 3161).

    Raises:
        RecipeError: the key or certificate is not usable, the authority does not answer, or the file cannot be
            written.
            IntegrityError: the archive cannot be read, or *report* is about another archive.
    """
    signer = None if key is None else load_signer(key)
    certified = "" if certificate is None else load_certificates(certificate, signer)
    inventory = take_inventory(archive, reporter=reporter)
    if isinstance(inventory.manifest, MeasuredManifest):
        raise IntegrityError(
            f"{archive}: the archive has no {MANIFEST_PATH}", hint="build it with `envbuilder build`"
        )
    text = statement_text(make_statement(inventory, report=report, builder=builder))
    path = statement_beside(archive) if signer is None else provenance_beside(archive)
    if signer is not None:
        settings = load_settings(Path.cwd()) if timestamp is not None else Settings()
        stamp = None if timestamp is None else lambda signature: ask_authority(timestamp, signature, settings)
        text = sign_statement(text, signer, certified, stamp)
    try:
        atomic_write(path, text.encode())
    except OSError as error:
        raise RecipeError(f"{path} cannot be written: {error.strerror}") from error
    return path
