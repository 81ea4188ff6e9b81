from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envbuilder.errors import VerifyError
from envbuilder.signing.dsse import Envelope, check_envelope, parse_envelope
from tests.signing.conftest import KEYS, trusts


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
    with pytest.raises(VerifyError, match=r"^it is not a DSSE envelope of a statement: "):
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
