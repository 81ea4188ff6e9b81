"""Fuzz the reader of a remote store's objects: ``python -m tests.fuzz.store_object --seconds 60``.

Any bytes in an object's place, and any bytes that a trusted key signed, are refused with an IntegrityError, or mean
what they say. See :mod:`tests.fuzz.common`.
"""

from __future__ import annotations

import json

from tests.fuzz.common import fuzz, instrumented

with instrumented(include=["envbuilder.store.signed", "envbuilder.signing.dsse", "envbuilder.util"]):
    from envbuilder.signing.dsse import Envelope, parse_envelope
    from envbuilder.store.signed import open_object, state
from envbuilder.errors import IntegrityError
from envbuilder.signing.keys import new_signer, private_pem
from envbuilder.store.trust import Trust

_SIGNER = new_signer("a fuzzer")
_TRUST = Trust(key=private_pem(_SIGNER))
_NAME = "ab" * 32


def read_object(data: bytes) -> None:
    """Read *data* as an object, and as what the trusted key signed."""
    for text in (data, Envelope(payload=data).sign(_SIGNER).text().encode()):
        for kind in ("builds", "manifests"):
            try:
                found = open_object(text, kind, _NAME, _TRUST, place="there")
            except IntegrityError:
                continue
            (first, *_) = json.loads(parse_envelope(text).payload)["subject"]
            assert (first["digest"]["sha256"], first["annotations"]["size"]) == (found.sha256, found.size)
            assert first["name"] == f"{kind}/{_NAME}"


SEEDS = [
    state("builds", _NAME, b'{"sha256": "0"}').payload(),
    state("manifests", _NAME, b"manifest", archive_size=5).payload(),
    Envelope(payload=state("builds", _NAME, b"x").payload()).sign(_SIGNER).text().encode(),
]

if __name__ == "__main__":
    fuzz(read_object, SEEDS, __doc__.splitlines()[0])
