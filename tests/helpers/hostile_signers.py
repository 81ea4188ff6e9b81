"""A folder of keys, certificates and a provenance, to be made wrong in one way each."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from envbuilder import api
from envbuilder.provenance.envelope import provenance_beside
from envbuilder.signing.dsse import PAYLOAD_TYPE, Envelope, parse_envelope
from envbuilder.signing.verifier import load_verifier
from envbuilder.util.files import file_sha256
from envbuilder.verification.static.provenance import check_provenance
from tests.helpers.authority import write_certificate, write_key
from tests.helpers.hostile import Room, refused


@dataclass(kw_only=True)
class Signers:
    """What lies in *folder*, beside an archive: keys, certificates, and the archive's provenance."""

    folder: Path
    archive: Path
    keys: dict[str, Any] = field(default_factory=dict)

    @property
    def provenance(self) -> Path:
        """Where the provenance lies."""
        return provenance_beside(self.archive)

    def key(self, name: str, kind: Any = None) -> Any:
        """Return the key of somebody: made where it is not there, of this *kind*."""
        if name not in self.keys:
            self.keys[name] = write_key(self.folder, name, kind)
        return self.keys[name]

    def certify(self, name: str, by: str | None = None, **options: Any) -> Path:
        """Write the certificate ``NAME.crt`` of somebody, issued by another (default: by themselves)."""
        issuer = None if by is None else self.key(by)
        options.setdefault("issuer_name", by)
        return write_certificate(
            self.folder / f"{name}.crt", self.key(name, options.pop("kind", None)), issuer=issuer, **options
        )

    def pem(self, *names: str) -> str:
        """Return certificates, one after the other."""
        return "".join((self.folder / f"{name}.crt").read_text() for name in names)

    def attest(self, *signatures: tuple[str, str]) -> None:
        """Write a provenance that is signed by each of *signatures*: a key's name and certificates (PEM)."""
        statement = api.attest(self.archive)
        envelope = Envelope(payload=statement.read_bytes())
        statement.unlink()
        for name, certificates in signatures:
            envelope = envelope.sign(self.key(name), certificates)
        self.provenance.write_text(envelope.text())

    def edit(self, change: Callable[[dict[str, Any]], object]) -> None:
        """Change the provenance's envelope by hand."""
        found = json.loads(self.provenance.read_text())
        change(found)
        self.provenance.write_text(json.dumps(found))

    def sign_anything(self, payload: bytes, name: str, payload_type: str = PAYLOAD_TYPE) -> None:
        """Have somebody sign any bytes as the provenance."""
        envelope = Envelope(payload=payload, payload_type=payload_type).sign(self.key(name))
        self.provenance.write_text(envelope.text())

    @property
    def payload(self) -> bytes:
        """What the provenance states."""
        return parse_envelope(self.provenance.read_text()).payload


OF = r"the certificate of CN=signer "
NONE = r"it is not a DSSE envelope of a statement: "
SIGNED = r"is signed by CN=signer, certified by CN=authority"


@dataclass(frozen=True, kw_only=True)
class Case:
    """What is wrong with who signed."""

    name: str
    arrange: Callable[[Signers], object]
    found: str
    """Pattern of what the check ``provenance.signature`` found, after the provenance's name."""
    good: bool = False
    """Whether the signature is good all the same."""
    trusted: str = "authority.crt"
    """The file of whom is trusted."""
    identity: str | None = None
    """The name that is pinned."""
    whole: bool = False
    """Whether the command line meets it, too: of each kind of row one does, as each takes two seconds."""


def certified(**options: Any) -> Callable[[Signers], object]:
    """Let the authority issue the signer's certificate with these options, and the signer sign."""

    def arrange(signers: Signers) -> None:
        signers.certify("signer", "authority", **options)
        signers.attest(("signer", signers.pem("signer")))

    return arrange


def check_told(signers: Signers, room: Room, case: Case) -> None:
    """Look at who signed, and check what is said of that."""
    case.arrange(signers)
    sha256 = file_sha256(signers.archive)
    with pytest.MonkeyPatch.context() as patched:
        patched.chdir(signers.folder)
        verifier = load_verifier(Path(case.trusted), case.identity)
        found = [*check_provenance(signers.archive, sha256, None, verifier)]
    check = next(one for one in found if one.id == "provenance.signature")
    assert check.status == ("passed" if case.good else "failed"), check.found
    said = check.found.removeprefix(signers.provenance.name).lstrip(": ")
    assert re.fullmatch(case.found, said, re.DOTALL), said
    if case.whole:
        _check_whole(signers, room, case)


def _check_whole(signers: Signers, room: Room, case: Case) -> None:
    report = room.work / "report.json"
    pinned = () if case.identity is None else ("--identity", case.identity)
    arguments = (
        "verify",
        "-q",
        "--no-server",
        "--report",
        report,
        signers.archive,
        "--provenance",
        case.trusted,
    )
    outcome = room.run(*arguments, *pinned)
    failed = (
        "1 check failed: manifest.files"
        if case.good
        else "2 checks failed: manifest.files, provenance.signature"
    )
    refused(outcome, 7, f"error: {failed}", may_write=["work/report.json"], report=report)
    checks = {check["id"]: check for check in json.loads(report.read_text())["checks"]}
    assert checks["provenance.signature"]["status"] == ("passed" if case.good else "failed")
