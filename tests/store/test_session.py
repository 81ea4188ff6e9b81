from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from envbuilder.config.settings import Settings
from envbuilder.errors import RecipeError
from envbuilder.progress import SILENT
from envbuilder.store.local import CACHE_VARIABLE, Store
from envbuilder.store.remote import RemoteStore
from envbuilder.store.session import Session
from tests.helpers.notes import Notes


@pytest.fixture(autouse=True)
def _own_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "store"))


def configured(folder: Path, text: str) -> Path:
    folder.mkdir()
    (folder / "envbuilder.toml").write_text(text)
    return folder


def test_given_settings_hold_in_every_folder(tmp_path: Path) -> None:
    folder = configured(tmp_path / "project", "timeout = 5\nno-index = true\n")
    session = Session(settings=Settings(timeout=7))
    assert session.at(folder) is session
    assert (session.store.root, session.reporter) == (tmp_path / "store", SILENT)


def test_an_opened_session_follows_the_configuration_of_the_folder(tmp_path: Path) -> None:
    one = configured(tmp_path / "one", 'timeout = 5\nfind-links = ["wheels"]\n')
    other = configured(tmp_path / "other", "timeout = 6\n")
    notes = Notes()
    session = Session.open(one, find_links=["mine"], reporter=notes)
    assert session.settings.timeout == 5
    # This machine's own configuration of pip may name further ones, after these.
    assert session.settings.find_links[:2] == (str(Path.cwd() / "mine"), str(one / "wheels"))
    moved = session.at(other)
    assert (moved.settings.timeout, moved.settings.find_links[0]) == (6, str(Path.cwd() / "mine"))
    assert str(one / "wheels") not in moved.settings.find_links
    assert (moved.store, moved.reporter) == (session.store, notes)


def test_a_configuration_is_read_when_its_folder_is_known(tmp_path: Path) -> None:
    folder = configured(tmp_path / "project", "timeout = -1\n")
    session = Session.open()
    assert session.settings == Settings()
    with pytest.raises(RecipeError, match="timeout must be a number of seconds above 0"):
        session.at(folder)


def test_the_remote_store_of_the_configuration_stands_behind_this_machine_s(tmp_path: Path) -> None:
    folder = configured(tmp_path / "project", f'store = "{tmp_path}/elsewhere"\ntimeout = 5\n')
    session = Session.open(folder)
    assert session.remote_store().url == f"file://{tmp_path}/elsewhere"
    assert session.at(folder).remote_store() is session.remote_store()
    alone = Session.open().at(folder, remote=False)
    assert (alone.settings.store, alone.store.remote) == (f"file://{tmp_path}/elsewhere", None)
    assert not alone.with_remote().store.sharing
    assert alone.with_remote(sharing=True).store.sharing


def test_a_given_remote_store_stays_where_none_is_configured(tmp_path: Path) -> None:
    remote = RemoteStore(f"file://{tmp_path}/elsewhere")
    store = dataclasses.replace(Store(root=tmp_path / "mine"), remote=remote)
    session = Session.open(store=store).at(configured(tmp_path / "project", ""))
    assert session.remote_store() is remote


def test_no_remote_store() -> None:
    with pytest.raises(RecipeError) as raised:
        Session().remote_store()
    assert str(raised.value) == (
        'no remote store is configured\n  hint: set store = "s3://bucket/folder" in envbuilder.toml'
    )
