"""``envbuilder attest``: a provenance beside an archive."""

from __future__ import annotations

from pathlib import Path

from envbuilder.config.settings import Settings, load_settings
from envbuilder.errors import RecipeError
from envbuilder.inventory.components import take_inventory
from envbuilder.progress import SILENT, Reporter
from envbuilder.provenance.envelope import provenance_beside, seal, statement_beside
from envbuilder.provenance.statement import make_statement, statement_text
from envbuilder.provenance.timestamp import ask_authority
from envbuilder.signing.keys import load_signer
from envbuilder.signing.verifier import load_certificates
from envbuilder.util.files import write_whole


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
    """State of what an archive was made, beside it, and return the file: signed with *key*, or for cosign to sign.

    *timestamp* is the address of an authority that says when it was signed (RFC 3161).

    Raises:
        RecipeError: the key or the certificate cannot be used, the authority cannot be asked, or the file cannot be
            written.
        IntegrityError: the archive cannot be read, or *report* is of another one.
    """
    signer = None if key is None else load_signer(key)
    certified = "" if certificate is None else load_certificates(certificate, signer)
    inventory = take_inventory(archive, reporter=reporter)
    text = statement_text(make_statement(inventory, report=report, builder=builder))
    path = statement_beside(archive) if signer is None else provenance_beside(archive)
    if signer is not None:
        settings = load_settings(Path.cwd()) if timestamp is not None else Settings()
        stamp = None if timestamp is None else lambda signature: ask_authority(timestamp, signature, settings)
        text = seal(text, signer, certified, stamp)
    try:
        write_whole(path, text.encode())
    except OSError as error:
        raise RecipeError(f"{path} cannot be written: {error.strerror}") from error
    return path
