from __future__ import annotations

from pathlib import Path

import pytest

from envbuilder.util.paths import UnknownHomeError, expand_user


def test_a_home_is_filled_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    assert [expand_user(text) for text in ("~", "~/a", "a/~")] == [
        Path("/home/me"),
        Path("/home/me/a"),
        Path("a/~"),
    ]


def test_a_user_whom_nobody_knows() -> None:
    with pytest.raises(UnknownHomeError, match=r"^~nobody-of-that-name/a: the home directory is unknown"):
        expand_user("~nobody-of-that-name/a")
