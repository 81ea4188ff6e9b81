from __future__ import annotations

from envbuilder.util.text import counted


def test_one_is_not_many() -> None:
    assert [counted(number, "wheel") for number in (0, 1, 2)] == ["0 wheels", "1 wheel", "2 wheels"]
    assert [counted(number, "entry", "entries") for number in (0, 1, 2)] == [
        "0 entries",
        "1 entry",
        "2 entries",
    ]
