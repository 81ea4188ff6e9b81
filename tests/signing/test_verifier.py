from __future__ import annotations

import pytest

from envbuilder.errors import VerifyError
from envbuilder.signing.dsse import Envelope, check_envelope, parse_envelope
from tests.signing.conftest import KEYS, trusts


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
        f"none of its 2 signatures is valid: 1. it was signed by {first}, not by key.pub ({own}); "
        f"2. it was signed by {second}, not by key.pub ({own})"
    )
