from __future__ import annotations

from pathlib import Path

import pytest

from envbuilder.errors import IntegrityError
from envbuilder.fleet.patching.journal import NAME, Entry, Patched, read_journal, write_journal


def test_what_is_noted_is_read_again(tmp_path: Path) -> None:
    assert read_journal(tmp_path) == ()
    entry = Entry(recipe="r.yaml", lock="pylock.r.toml", before="a\nb", after=None, aliases={"r:x": "1"})
    patches = (
        Patched(subject="CVE-1"),
        Patched(subject="CVE-2", repositories=("m",), entries=(entry,), finished=True),
    )
    write_journal(tmp_path / "new", patches)
    assert read_journal(tmp_path / "new") == patches


def test_a_recipe_has_one_entry() -> None:
    one, two = (Entry(recipe="r", lock="l", before=text) for text in ("1", "2"))
    patched = Patched(subject="x").with_entry(one).with_entry(two)
    assert patched.entries == (two,)
    assert patched.entry(Path("r")) == two
    assert patched.entry(Path("s")) is None


@pytest.mark.parametrize("text", ["", "[]", '{"format": 2, "patches": []}', '{"format": 1, "patches": [{}]}'])
def test_a_journal_that_cannot_be_read(text: str, tmp_path: Path) -> None:
    (tmp_path / NAME).write_text(text)
    with pytest.raises(IntegrityError, match="cannot be read"):
        read_journal(tmp_path)
