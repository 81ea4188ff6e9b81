"""Locks that somebody else wrote, in each verb that reads one: what would fill memory, the stack, or the screen."""

from __future__ import annotations

import re

import pytest

from tests.helpers.hostile import Room, refused

RECIPE = 'triton: "25.06"\npython: "3.12"\ntorch: "2.7.1"\ncuda: cpu\n'
MANY = "has more than 200,000 tables, lists and dots of keys"
CASES: dict[str, tuple[bytes, str]] = {
    "a key of four million parts": (b"a" + b".a" * 4_000_000 + b" = 1", MANY),
    "a key of 40 parts": (b"a" + b".a" * 40 + b" = 1", "has a key of more than 32 parts"),
    "300,000 tables": (b"".join(b"[%d]\n" % number for number in range(300_000)), MANY),
    "300,000 inline tables": (b"a = [" + b"{}," * 300_000 + b"]", MANY),
    "two million values": (b"a = [" + b"1," * 2_000_000 + b"]", "has more than 1,000,000 values"),
    "50,000 lists in each other": (b"a = " + b"[" * 50_000, "is nested too deep"),
    "17 MB": (b"#" * (17 * 2**20), "is larger than 16.8 MB, .*"),
    "a number of 5000 digits": (b"a = " + b"9" * 5000, "has an integer of more than a hundred digits"),
    "no UTF-8": (b"a = '\xff'", "is not UTF-8: invalid start byte at byte 5"),
    "ESC": (b"a = '\x1b[2J'", r"is not TOML: .*"),
    "a file of nothing": (b"", ".*"),
}
VERBS = {"build": ("build", "x"), "lock --check": ("lock", "x", "--check")}
RUNS = [(case, "build") for case in CASES] + [
    (case, verb)
    for verb in VERBS
    if verb != "build"
    for case in ("a key of four million parts", "300,000 tables")
]


@pytest.mark.parametrize(("case", "verb"), RUNS)
def test_a_lock_is_refused(room: Room, case: str, verb: str) -> None:
    data, said = CASES[case]
    recipes = room.work / "recipes"
    recipes.mkdir()
    (recipes / "x.yaml").write_text(RECIPE)
    (recipes / "pylock.x.toml").write_bytes(data)
    outcome = room.run(*VERBS[verb], memory=700 * 10**6)
    refused(outcome, 5, re.compile(f"error: {re.escape(str(recipes / 'pylock.x.toml'))}: {said}"))
