"""The last patch taken back: locks as they were, and nothing where the journal may not lead."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from envbuilder import api
from envbuilder.errors import RecipeError
from envbuilder.fleet.patching.journal import Entry, Patched, read_journal, write_journal
from envbuilder.fleet.patching.patch import PatchOptions
from envbuilder.fleet.patching.rollback import roll_back
from envbuilder.store.local import Store
from envbuilder.store.session import Session

OPTIONS = PatchOptions(archives=Path("envs"))


@pytest.fixture
def session(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Session:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "recipes").mkdir()
    return Session(store=Store.open(tmp_path / "store"))


def patched(name: str, **changes: Any) -> Entry:
    """Note a patch of the recipe *name*, whose lock is there as the patch wrote it."""
    lock = Path("recipes") / f"pylock.{name}.toml"
    lock.write_text("after")
    made = {"recipe": f"recipes/{name}.yaml", "lock": str(lock), "before": "before", "after": "after"}
    return Entry(**{**made, **changes})


def test_locks_are_as_they_were_and_the_patch_is_forgotten(session: Session) -> None:
    first = Patched(subject="CVE-1", entries=(patched("other"),), finished=True)
    entries = (patched("one"), patched("two", before="before two"))
    write_journal(Path("envs"), (first, Patched(subject="CVE-2", entries=entries)))
    rows = roll_back(session, OPTIONS)
    assert [(row.recipe, row.state) for row in rows] == [("one", "rolled back"), ("two", "rolled back")]
    texts = {path.name: path.read_text() for path in Path("recipes").iterdir()}
    assert texts == {
        "pylock.one.toml": "before",
        "pylock.two.toml": "before two",
        "pylock.other.toml": "after",
    }
    assert read_journal(Path("envs")) == (first,)


def test_a_lock_that_somebody_changed_is_left_and_the_patch_stays_noted(session: Session) -> None:
    noted = (Patched(subject="CVE-1", entries=(patched("one"), patched("two"))),)
    write_journal(Path("envs"), noted)
    Path("recipes/pylock.one.toml").write_text("by hand")
    one, two = roll_back(session, OPTIONS)
    assert (one.state, two.state) == ("refused", "rolled back")
    assert one.error is not None
    assert one.error.message == "recipes/pylock.one.toml changed since it was patched"
    assert Path("recipes/pylock.one.toml").read_text() == "by hand"
    assert read_journal(Path("envs")) == noted
    # Put back by hand, as the hint says, it is done; what is back already stays.
    Path("recipes/pylock.one.toml").write_text("before")
    assert [row.state for row in roll_back(session, OPTIONS)] == ["rolled back"] * 2
    assert read_journal(Path("envs")) == ()


def test_a_lock_that_is_gone(session: Session) -> None:
    write_journal(Path("envs"), (Patched(subject="CVE-1", entries=(patched("one"),)),))
    Path("recipes/pylock.one.toml").unlink()
    (row,) = roll_back(session, OPTIONS)
    assert (row.state, "pylock.one.toml" in str(row.error)) == ("refused", True)


def test_nothing_was_patched(session: Session) -> None:
    with pytest.raises(RecipeError, match=r"^no patch is recorded in envs\n"):
        roll_back(session, OPTIONS)


@pytest.mark.parametrize("through", ["path", "link"])
def test_a_lock_outside_is_not_written(
    session: Session, tmp_path_factory: pytest.TempPathFactory, through: str
) -> None:
    outside = tmp_path_factory.mktemp("outside")
    (outside / "pylock.one.toml").write_text("after")
    place = outside
    if through == "link":
        place = Path("recipes") / "linked"
        place.symlink_to(outside)
    entry = Entry(recipe=f"{place}/one.yaml", lock=f"{place}/pylock.one.toml", before="before", after="after")
    write_journal(Path("envs"), (Patched(subject="CVE-1", entries=(entry,)),))
    with pytest.raises(RecipeError, match="lies outside of"):
        roll_back(session, OPTIONS)
    assert (outside / "pylock.one.toml").read_text() == "after"
    named = PatchOptions(archives=Path("envs"), repositories=(outside,))
    assert [row.state for row in roll_back(session, named)] == ["rolled back"]
    assert (outside / "pylock.one.toml").read_text() == "before"


@pytest.mark.parametrize("changed", ["recipe", "repository"])
def test_a_journal_that_leads_outside_is_not_followed(
    session: Session, tmp_path_factory: pytest.TempPathFactory, changed: str
) -> None:
    outside = tmp_path_factory.mktemp("outside")
    (outside / "pylock.x.toml").write_text("after")
    entries = [patched("one"), patched("two")]
    repositories: tuple[str, ...] = ()
    if changed == "recipe":
        lock = str(outside / "pylock.x.toml")
        entries[1] = dataclasses.replace(entries[1], recipe=str(outside / "x.yaml"), lock=lock)
    else:
        repositories = (str(outside),)
    noted = Patched(subject="CVE-1", repositories=repositories, entries=tuple(entries), finished=True)
    write_journal(Path("envs"), (noted,))
    with pytest.raises(RecipeError, match="lies outside of"):
        api.patch(None, PatchOptions(), session=session)
    for path in (outside / "pylock.x.toml", *Path("recipes").glob("pylock.*")):
        assert path.read_text() == "after"
