from __future__ import annotations

from pathlib import Path

import pytest

from envbuilder import api
from envbuilder.api.stores import find_pushed
from envbuilder.errors import RecipeError
from envbuilder.store.local import Store
from envbuilder.store.session import Session


@pytest.fixture
def session(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Session:
    """A session of a folder that names no remote store."""
    monkeypatch.chdir(tmp_path)
    return Session(store=Store.open(tmp_path / "store"))


def test_what_is_pushed(session: Session, tmp_path: Path) -> None:
    archive = tmp_path / "envs" / "small-0123456789ab.tar.gz"
    archive.parent.mkdir()
    archive.touch()
    assert find_pushed("0123456789ab", archive.parent) == archive
    assert find_pushed(archive.name, archive.parent) == archive
    with pytest.raises(RecipeError, match="no recipe 'gone'"):
        find_pushed("gone", archive.parent)


def test_without_a_remote_store(session: Session) -> None:
    for call in (
        lambda: api.push("small-0123456789ab.tar.gz", session=session),
        lambda: api.pull("small:stable", session=session),
        lambda: api.alias("small:stable", session=session),
    ):
        with pytest.raises(RecipeError, match="no remote store is configured"):
            call()


def test_a_registry_keeps_no_tag_before(session: Session) -> None:
    with pytest.raises(RecipeError, match="is a tag, and a registry keeps no history of tags"):
        api.alias("oci://localhost:1/small:1", back=True, session=session)
