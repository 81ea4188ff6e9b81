"""Artifacts of a lock from the store and by download, and a wheelhouse that is filled with them."""

from __future__ import annotations

import dataclasses
import errno
import hashlib
import os
from pathlib import Path

import pytest

from envbuilder.config.settings import Settings
from envbuilder.errors import FetchError, IntegrityError
from envbuilder.fetch.artifacts import fetch, fetch_into_wheelhouse, fetch_packages
from envbuilder.store.local import Store
from envbuilder.store.session import Session
from envbuilder.util.tempdirs import DRAFT, temporary_name
from tests.fetch.conftest import TOOL, Notes, fetch_one, make_wheel, own
from tests.helpers.index_server import Index

WHEEL, DATA = make_wheel("demo_pkg-1.0-py3-none-any.whl")
OTHER = b"x" * len(DATA)
SHORT = "demo_pkg-1.0-py3-none-any.whl"


def test_what_is_in_the_store_is_asked_of_nobody(index: Index, empty_store: Store) -> None:
    index.add(WHEEL.filename, DATA)
    settings = Settings(index_url=index.url)
    fetch_one(WHEEL, settings, empty_store)
    index.requests.clear()
    notes = Notes()
    assert [
        a for a, _ in fetch([WHEEL], "pypi", Session(settings=settings, store=empty_store, reporter=notes))
    ] == [WHEEL]
    assert index.requests == []
    assert (notes.total, notes.done, notes.from_store) == (len(DATA), len(DATA), len(DATA))


def test_a_wheelhouse_is_filled(index: Index, empty_store: Store, tmp_path: Path) -> None:
    other, other_data = make_wheel("other-2.0-py3-none-any.whl", 1000)
    index.add(WHEEL.filename, DATA)
    index.add(other.filename, other_data)
    house = tmp_path / "a" / "wheelhouse"
    settings = Settings(index_url=index.url)
    files = fetch_into_wheelhouse(
        [other, WHEEL], "pypi", Session(settings=settings, store=empty_store), house
    )
    assert files == [house / SHORT, house / other.filename]
    assert [file.read_bytes() for file in files] == [DATA, other_data]
    files[0].write_bytes(OTHER)
    (house / temporary_name(DRAFT + "fetch")).mkdir()  # a killed one's
    before = files[1].stat().st_ino
    fetch_into_wheelhouse([other, WHEEL], "pypi", Session(settings=settings, store=empty_store), house)
    assert files[0].read_bytes() == DATA
    assert files[1].stat().st_ino == before  # what is right stays
    assert sorted(house.iterdir()) == files
    # and that wheelhouse does for an air-gapped machine
    air_gapped = Settings(find_links=(str(house),), no_index=True)
    assert (
        len(
            list(
                fetch(
                    [WHEEL, other],
                    "pypi",
                    Session(settings=air_gapped, store=Store(root=tmp_path / "second")),
                )
            )
        )
        == 2
    )


def test_a_wheelhouse_gets_no_broken_artifact(index: Index, empty_store: Store, tmp_path: Path) -> None:
    index.add(WHEEL.filename, DATA)
    settings = Settings(index_url=index.url)
    fetch_one(WHEEL, settings, empty_store)
    path = empty_store.artifact_path(WHEEL.sha256)
    path.write_bytes(OTHER)
    with pytest.raises(IntegrityError) as caught:
        fetch_into_wheelhouse(
            [WHEEL], "pypi", Session(settings=settings, store=empty_store), tmp_path / "house"
        )
    assert str(caught.value) == (
        f"{SHORT} in the store has sha256 {hashlib.sha256(OTHER).hexdigest()}, the lock says {WHEEL.sha256}\n"
        f"  hint: remove {path}, and run the command again"
    )
    assert list((tmp_path / "house").iterdir()) == []


def test_a_full_disk_leaves_a_wheelhouse_as_it_was(
    index: Index, empty_store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index.add(WHEEL.filename, DATA)
    house = tmp_path / "house"
    house.mkdir()
    (house / SHORT).write_bytes(b"before")

    def fill_the_disk(source: Path, target: Path) -> None:
        target.write_bytes(DATA[:1000])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("shutil.copyfile", fill_the_disk)
    with pytest.raises(FetchError) as caught:
        fetch_into_wheelhouse(
            [WHEEL], "pypi", Session(settings=Settings(index_url=index.url), store=empty_store), house
        )
    assert caught.value.message == f"{house / SHORT} cannot be written: No space left on device"
    assert [(file.name, file.read_bytes()) for file in house.iterdir()] == [(SHORT, b"before")]


def test_a_wheelhouse_that_cannot_be_written_is_an_error(
    index: Index, empty_store: Store, tmp_path: Path
) -> None:
    index.add(WHEEL.filename, DATA)
    (tmp_path / "file").write_text("")
    with pytest.raises(FetchError) as caught:
        fetch_into_wheelhouse(
            [WHEEL],
            "pypi",
            Session(settings=Settings(index_url=index.url), store=empty_store),
            tmp_path / "file" / "house",
        )
    assert caught.value.message == f"{tmp_path / 'file' / 'house' / SHORT} cannot be written: Not a directory"


def test_what_is_in_the_store_comes_first_and_the_same_bytes_once(index: Index, empty_store: Store) -> None:
    other, other_data = make_wheel("other-2.0-py3-none-any.whl", 1000)
    index.add(WHEEL.filename, DATA)
    with empty_store.artifact_writer(other.sha256) as writer:
        writer.write(other_data)
    same = dataclasses.replace(WHEEL, name="same")
    session = Session(settings=Settings(index_url=index.url), store=empty_store)
    found = list(fetch([same, WHEEL, other], "pypi", session))
    assert [(artifact.sha256, path) for artifact, path in found] == [
        (one.sha256, empty_store.artifact_path(one.sha256)) for one in (other, WHEEL)
    ]


def test_conda_packages_of_the_same_bytes_have_one_path(index: Index, empty_store: Store) -> None:
    tool = dataclasses.replace(TOOL, sha256=hashlib.sha256(DATA).hexdigest(), size=len(DATA))
    twin = dataclasses.replace(tool, subdir="linux-64", filename="twin-1.0-0.conda")
    with empty_store.artifact_writer(tool.sha256) as writer:
        writer.write(DATA)
    session = Session(settings=Settings(no_index=True), store=empty_store)
    path = empty_store.artifact_path(tool.sha256)
    assert fetch_packages(iter([tool, twin]), own(index), session) == {tool: path, twin: path}
    assert fetch_packages([], [], session) == {}
