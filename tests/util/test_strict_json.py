from __future__ import annotations

import tracemalloc
from time import monotonic

import pytest

from envbuilder.util.strict_json import DocumentError
from envbuilder.util.strict_toml import parse_toml_value

_TABLES = "has more than 200,000 tables, lists and dots of keys"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b"a" + b".a" * 4_000_000 + b" = 1", _TABLES),
        (b"a" + b".a" * 32 + b" = 1", "has a key of more than 32 parts"),
        (b"[a" + b" . 'b.c'" * 40 + b"]", "has a key of more than 32 parts"),
        (b'a = 1\n"x"' + b' . "y"' * 40 + b" = 1", "has a key of more than 32 parts"),
        (b"".join(b"[%d]\n" % number for number in range(250_000)), _TABLES),
        (b"a = [" + b"{}," * 250_000 + b"]", _TABLES),
        (b"a = [" + b"[]," * 250_000 + b"]", _TABLES),
        (b"x = '''.'''\n" + b"\n".join(b"%d.a = 1" % number for number in range(250_000)), _TABLES),
        (b"a = [" + b"1," * 1_100_000 + b"]", "has more than 1,000,000 values"),
        (b"\n".join(b"%d=1" % number for number in range(1_100_000)), "has more than 1,000,000 values"),
        (b"a = '" + b"x" * 2**24 + b"'", "is larger than 16.8 MB, the limit for this kind of document"),
        (b"a = " + b"9" * 5000, "has an integer of more than a hundred digits"),
        (b"a = " + b"[" * 50_000, "is nested too deep"),
        (b"a = '\xff'", "is not UTF-8: invalid start byte at byte 5"),
        (b'a = "x', "is not TOML: Unterminated string (at end of document)"),
    ],
    ids=lambda value: value[:24] if isinstance(value, bytes) else None,
)
def test_what_is_too_much_is_refused_before_it_is_parsed(text: bytes, reason: str) -> None:
    tracemalloc.start()
    began = monotonic()
    try:
        with pytest.raises(DocumentError) as caught:
            parse_toml_value(text, where="x.toml")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert str(caught.value) == f"x.toml: {reason}"
    assert peak < 100 * 2**20
    assert monotonic() - began < 10
