from __future__ import annotations

from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from envbuilder.signing.verifier import Verifier

KEYS = [
    ed25519.Ed25519PrivateKey.generate(),
    ec.generate_private_key(ec.SECP256R1()),
    rsa.generate_private_key(65537, 2048),
]


def trusts(key: Any) -> Verifier:
    return Verifier(path=Path("key.pub"), key=key.public_key())
