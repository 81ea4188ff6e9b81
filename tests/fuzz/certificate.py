"""Fuzz the reader of certificates: ``python -m tests.fuzz.certificate --seconds 60``.

Any bytes in a certificate's place are refused with a VerifyError, or are one that its authority issued. See
:mod:`tests.fuzz.common`.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from cryptography.hazmat.primitives.serialization import Encoding

from tests.fuzz.common import fuzz, instrumented

with instrumented(include=["envbuilder.signing"]):
    from envbuilder.signing.certificates import certified_by, parse_certificates, parse_der_certificates
from envbuilder.errors import VerifyError
from envbuilder.util import clock
from tests.helpers.authority import write_certificate, write_key


def _seeds() -> list[bytes]:
    """Return the certificate of an authority, and those of a signer and of one between."""
    with tempfile.TemporaryDirectory(prefix="envbuilder-fuzz-") as name:
        folder = Path(name)
        keys = {who: write_key(folder, who) for who in ("authority", "middle", "signer")}
        paths = [write_certificate(folder / "authority.crt", keys["authority"], authority=True)]
        for who, by in (("middle", "authority"), ("signer", "middle")):
            options = {"issuer": keys[by], "issuer_name": by, "authority": who == "middle"}
            paths.append(write_certificate(folder / f"{who}.crt", keys[who], **options))
        return [path.read_bytes() for path in paths]


_AUTHORITY, _MIDDLE, _SIGNER = (parse_certificates(one)[0] for one in _seeds())
_GOOD = {one.public_bytes(Encoding.DER) for one in (_AUTHORITY, _MIDDLE, _SIGNER)}


def read_certificate(data: bytes) -> None:
    """Read *data* as a certificate, in both forms, at each place of a chain."""
    for der in (True, False):
        try:
            found = (parse_der_certificates([data]) if der else parse_certificates(data))[0]
        except VerifyError:
            continue
        for chain in ((found,), (found, _MIDDLE), (_SIGNER, found)):
            try:
                certified_by(chain, _AUTHORITY, clock.now())
            except VerifyError:
                continue
            assert found.public_bytes(Encoding.DER) in _GOOD, "nobody but the authority issued this"


SEEDS = [
    one.public_bytes(form) for one in (_AUTHORITY, _MIDDLE, _SIGNER) for form in (Encoding.DER, Encoding.PEM)
]

if __name__ == "__main__":
    fuzz(read_certificate, SEEDS, __doc__.splitlines()[0])
