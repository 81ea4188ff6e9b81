"""The Python projects inside conda packages, by the names that indexes know them under."""

from __future__ import annotations

from pathlib import Path

import pytest

from envbuilder.base.conda_projects import find_projects
from envbuilder.config.channels import Channel
from envbuilder.config.settings import Settings
from envbuilder.errors import AssembleError, FetchError
from envbuilder.lockfile.model import CondaPackage
from envbuilder.store.local import Store
from envbuilder.store.session import Session
from tests.helpers.channels import Cut, write_package
from tests.helpers.conda_parts import fake_cut, greeting_cut, locked, numpy_cut

SITE = "lib/python3.11/site-packages"


def find(folder: Path, *packages: CondaPackage) -> dict[str, bytes]:
    """Find the projects in *packages* of the channel ``own`` in *folder*."""
    session = Session(settings=Settings(no_index=True), store=Store.open(folder / "store"))
    try:
        return find_projects(
            packages, "3.11", (Channel(name="own", urls=((folder / "own").as_uri(),)),), session
        )
    finally:
        assert list((session.store.root / "tmp").iterdir()) == []


def publish(folder: Path, *cuts: Cut) -> list[CondaPackage]:
    return [locked(cut, write_package(folder / "own", cut)) for cut in cuts]


def test_projects_by_their_normalized_names(tmp_path: Path) -> None:
    several = Cut(
        name="several",
        files={
            f"{SITE}/Old_One-1.0.egg-info/PKG-INFO": b"Name: Old_One\nVersion: 1.0\n",
            f"{SITE}/zope.x-2.dist-info/METADATA": b"Name: Zope.X\nVersion: 2\n",
            f"{SITE}/nameless-1.0.dist-info/METADATA": b"Version: 1.0\n",
        },
    )
    found = find(tmp_path, *publish(tmp_path, several, greeting_cut(), numpy_cut(), fake_cut("tool")))
    assert sorted(found) == ["greeting", "numpy", "old-one", "zope-x"]
    assert found["old-one"] == b"Name: Old_One\nVersion: 1.0\n"
    assert b"Version: 1.26.4\n" in found["numpy"]


def test_a_package_that_no_channel_has(tmp_path: Path) -> None:
    (package,) = publish(tmp_path, greeting_cut())
    (tmp_path / "own" / "noarch" / package.filename).unlink()
    with pytest.raises(FetchError, match=r"^greeting-1\.0-py_0\.conda "):
        find(tmp_path, package)


def test_a_package_that_is_none(tmp_path: Path) -> None:
    cut = greeting_cut()
    path = write_package(tmp_path / "own", cut)
    path.write_bytes(b"no package")
    with pytest.raises(AssembleError, match="cannot be read as a conda package"):
        find(tmp_path, locked(cut, path))
