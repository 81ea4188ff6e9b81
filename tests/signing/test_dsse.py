from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from hypothesis import given
from hypothesis import strategies as st

from envbuilder.errors import VerifyError
from envbuilder.signing.dsse import Envelope, check_envelope, parse_envelope
from envbuilder.signing.verifier import Verifier

KEYS = [
    ed25519.Ed25519PrivateKey.generate(),
    ec.generate_private_key(ec.SECP256R1()),
    rsa.generate_private_key(65537, 2048),
]


def trusts(key: Any) -> Verifier:
    return Verifier(path=Path("key.pub"), key=key.public_key())


def test_one_good_signature_is_enough_in_any_order() -> None:
    for order in (KEYS, KEYS[::-1], [KEYS[1], KEYS[0], KEYS[2]]):
        envelope = Envelope(payload=b"{}")
        for key in order:
            envelope = envelope.sign(key)
        again = parse_envelope(envelope.text())
        assert again == envelope
        for key in KEYS:
            assert check_envelope(again, trusts(key)).name.startswith("key.pub (")
    assert len(envelope.sign(KEYS[0]).signatures) == 3, "nobody signs twice"


def test_none_of_several_is_good() -> None:
    envelope = Envelope(payload=b"{}").sign(KEYS[0]).sign(KEYS[1])
    with pytest.raises(VerifyError) as raised:
        check_envelope(envelope, trusts(KEYS[2]))
    first, second = (one.keyid[:12] for one in envelope.signatures)
    own = trusts(KEYS[2]).keyid[:12]
    assert raised.value.message == (
        f"none of its 2 signatures is good: 1. it was signed by {first}, not by key.pub ({own}); "
        f"2. it was signed by {second}, not by key.pub ({own})"
    )


def test_a_signature_is_of_its_type_too() -> None:
    envelope = Envelope(payload=b"{}", payload_type="a").sign(KEYS[0])
    moved = Envelope(payload=b"{}", payload_type="b", signatures=envelope.signatures)
    with pytest.raises(VerifyError, match=r"it was changed after key\.pub signed it"):
        check_envelope(moved, trusts(KEYS[0]))


@pytest.mark.parametrize("alphabet", ["+/", "-_"])
def test_either_base64(alphabet: str) -> None:
    text = Envelope(payload=bytes(range(256)) * 3).sign(KEYS[0]).text()
    swapped = json.loads(text)
    swapped["payload"] = swapped["payload"].replace("+", alphabet[0]).replace("/", alphabet[1])
    assert parse_envelope(json.dumps(swapped)).payload == bytes(range(256)) * 3


@given(st.binary(max_size=300) | st.recursive(st.none() | st.text() | st.integers(), st.lists).map(str))
def test_any_bytes_are_refused_in_words(data: bytes | str) -> None:
    with pytest.raises(VerifyError, match=r"^it is no envelope of a statement \(DSSE\): "):
        parse_envelope(data)


NAMES = [
    "payload", "payloadType", "signatures", "sig", "keyid", "certificate", "dsseEnvelope", "verificationMaterial",
    "certificates", "rawBytes", "rfc3161Timestamps", "signedTimestamp", "x509CertificateChain",
]  # fmt: skip
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=4),
    max_leaves=12,
)


@given(st.dictionaries(st.sampled_from(NAMES), _JSON))
def test_any_document_is_refused_in_words_or_nobody_signed_it(document: dict[str, Any]) -> None:
    try:
        envelope = parse_envelope(json.dumps(document))
    except VerifyError:
        return
    with pytest.raises(VerifyError):
        check_envelope(envelope, trusts(KEYS[0]))
