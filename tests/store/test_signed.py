from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envbuilder.errors import IntegrityError
from envbuilder.signing.dsse import Envelope
from envbuilder.signing.keys import new_signer, private_pem
from envbuilder.store.signed import INLINE, Statement, open_object, state
from envbuilder.store.trust import Trust

SIGNER = new_signer("a test")
TRUST = Trust(key=private_pem(SIGNER))
NAME = "ab" * 32


def signed(payload: bytes) -> bytes:
    return Envelope(payload=payload).sign(SIGNER).text().encode()


def test_a_statement_is_read_as_it_was_written(tmp_path: Path) -> None:
    (tmp_path / "body").write_bytes(b"body")
    for made in (
        state("builds", NAME, b"body"),
        state("segments", NAME, b"body"),
        state("segments", NAME, tmp_path / "body"),
        state("manifests", NAME, b"body", archive_size=7),
        state("reports", f"{NAME}/{NAME}", b"body"),
    ):
        found = open_object(signed(made.payload()), made.kind, made.name, TRUST, place="there")
        assert found == made
        assert (found.content is None) == (made.kind not in INLINE)


def test_an_object_goes_for_no_other(tmp_path: Path) -> None:
    text = signed(state("segments", NAME, b"body").payload())
    with pytest.raises(IntegrityError) as raised:
        open_object(text, "segments", "cd" * 32, TRUST, place="there")
    assert raised.value.message == (
        f"there: subject[0].name: is segments/{NAME}: it was signed under that name, but stored as segments/"
        + "cd" * 32
    )
    assert raised.value.hint == "remove it from the store and push again"
    with pytest.raises(IntegrityError, match="it was signed under that name"):
        open_object(text, "manifests", NAME, TRUST, place="there")


@given(st.binary(max_size=400))
def test_any_bytes_are_refused_in_words(data: bytes) -> None:
    with pytest.raises(IntegrityError, match=r"^there is not a signed object: "):
        open_object(data, "builds", NAME, TRUST, place="there")


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@given(st.sampled_from(["_type", "subject", "predicateType", "predicate"]), _VALUES)
def test_any_signed_statement_is_read_or_refused_in_words(key: str, value: Any) -> None:
    statement = json.loads(state("builds", NAME, b"body").payload())
    changed = json.dumps(statement | {key: value}).encode()
    found: Statement | None = None
    with contextlib.suppress(IntegrityError):
        found = open_object(signed(changed), "builds", NAME, TRUST, place="there")
    assert found is None or statement[key] == value or key == "predicate"


@given(st.sampled_from(["name", "digest", "annotations"]), _VALUES)
def test_any_signed_subject_is_read_or_refused_in_words(key: str, value: Any) -> None:
    statement = json.loads(state("builds", NAME, b"body").payload())
    statement["subject"][0][key] = value
    with pytest.raises(IntegrityError, match=r"^there: "):
        open_object(signed(json.dumps(statement).encode()), "builds", NAME, TRUST, place="there")
