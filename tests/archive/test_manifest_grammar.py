from __future__ import annotations

import pytest

from envbuilder.archive import manifest_grammar as grammar
from envbuilder.util.documents import Grammar


@pytest.mark.parametrize(
    ("rule", "fits", "others"),
    [
        (grammar.FILE, ["a-1.0-py3-none-any.whl", "a-1-0.conda", "a-1-0.tar.bz2"], ["../a.whl", "a.zip", ""]),
        (grammar.LIBRARY, ["2.28", "3.4.30"], ["2", "2.28\n", "x.y"]),
        (grammar.SONAME, ["libGL.so.1", "libc.so.6"], ["libGL", "a/libGL.so.1", ""]),
        (grammar.MODULE, ["a", "a.b_c"], [".a", "a..b", "a b"]),
    ],
)
def test_what_a_manifest_may_say(rule: Grammar, fits: list[str], others: list[str]) -> None:
    assert [text for text in fits if not rule.pattern.fullmatch(text)] == []
    assert [text for text in others if rule.pattern.fullmatch(text)] == []
