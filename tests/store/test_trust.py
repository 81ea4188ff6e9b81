from __future__ import annotations

import sys
from pathlib import Path

import pytest

from envbuilder.config.values import StoreKey
from envbuilder.errors import RecipeError
from envbuilder.signing.dsse import Envelope
from envbuilder.store.trust import KEY_VARIABLE, Trust, open_trust
from envbuilder.util.extras import installing
from tests.helpers.trust import Team


def test_nobody_is_trusted_and_nothing_is_needed_for_that(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cryptography", None)
    trust = open_trust((), environ={})
    assert not trust
    assert not trust.can_sign


def test_signatures_need_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    team = Team(tmp_path)
    for name in [*sys.modules]:
        if name.partition(".")[0] == "cryptography":
            monkeypatch.setitem(sys.modules, name, None)
    said = (
        "a signed remote store requires cryptography.exceptions, which is not installed\n"
        f"  hint: {installing('proof')}"
    )
    with pytest.raises(RecipeError) as raised:
        Trust([StoreKey(origin="key.pub", pem=team.public.read_text())]).objection(Envelope(payload=b""))
    assert str(raised.value) == said
    with pytest.raises(RecipeError) as raised:
        Trust(key=team.private).signer()
    assert str(raised.value) == said


def test_the_own_key_is_trusted(tmp_path: Path) -> None:
    team, other = Team(tmp_path, "team"), Team(tmp_path, "other")
    trust = open_trust([other.store_key], environ={KEY_VARIABLE: str(team.private)})
    assert set(trust.trusted) == {team.keyid, other.keyid}
    assert trust.objection(Envelope(payload=b"x").sign(team.signer)) is None
    assert trust.is_enough(Envelope(payload=b"x").sign(team.signer))
    assert not trust.is_enough(Envelope(payload=b"x").sign(other.signer)), "who has a key signs with it"


def test_a_key_that_ends_signs_only_what_nobody_else_did(tmp_path: Path) -> None:
    run, other = Team(tmp_path, "run"), Team(tmp_path, "other")
    trust = open_trust([other.store_key], key=run.private.read_text(), environ={})
    assert trust.is_enough(Envelope(payload=b"x").sign(other.signer))
    assert not trust.is_enough(Envelope(payload=b"x"))


def test_several_signatures_in_any_order(tmp_path: Path) -> None:
    good, bad, stranger = (Team(tmp_path, name) for name in ("good", "bad", "stranger"))
    trust = Trust([good.store_key, bad.store_key])
    signed = Envelope(payload=b"x").sign(stranger.signer).sign(good.signer)
    forged = Envelope(payload=b"y").sign(bad.signer).signatures
    for signatures in (signed.signatures, signed.signatures[::-1], (*forged, *signed.signatures)):
        assert trust.objection(Envelope(payload=b"x", signatures=signatures)) is None
    assert trust.objection(Envelope(payload=b"x", signatures=forged)) == (
        f"was changed after {bad.keyid[:12]} signed it"
    )
    keys = ", ".join(trust.trusted)
    assert trust.objection(Envelope(payload=b"x").sign(stranger.signer)) == (
        f"is signed by {stranger.keyid[:12]}, not by one of 2 trusted keys: "
        + ", ".join(name[:12] for name in keys.split(", "))
    )


def test_a_key_in_several_blocks_or_of_a_kind_that_signs_nothing(tmp_path: Path) -> None:
    wrong = "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VuAyEA" + "A" * 43 + "=\n-----END PUBLIC KEY-----\n"
    with pytest.raises(RecipeError) as raised:
        Trust([StoreKey(origin="x25519.pub", pem=wrong)]).described()
    assert raised.value.message in (
        "the key x25519.pub is of an unknown kind",
        "x25519.pub is not a public key",
    )
