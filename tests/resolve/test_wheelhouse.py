from __future__ import annotations

from pathlib import Path

import pytest

from envbuilder.config.settings import Settings
from envbuilder.resolve.wheelhouse import local_path, read_wheelhouses
from envbuilder.store.local import Store
from envbuilder.store.session import Session


@pytest.mark.parametrize(
    ("link", "path"),
    [("/a/b", "/a/b"), ("file:///a%20b", "/a b"), ("a", "a"), ("https://example.com/a", None)],
)
def test_what_is_on_this_machine(link: str, path: str | None) -> None:
    assert local_path(link) == (None if path is None else Path(path))


def test_the_wheels_that_lie_there(tmp_path: Path) -> None:
    house = tmp_path / "house"
    house.mkdir()
    for name in ("torch-2.13.0%2Bcpu-cp311-cp311-linux_x86_64.whl", "notes.txt", "bad.whl"):
        (house / name).touch()
    settings = Settings(find_links=(str(house), str(tmp_path / "gone")))
    session = Session(settings=settings, store=Store.open(tmp_path / "store"))
    (tmp_path / "scratch").mkdir()
    (found,) = read_wheelhouses(session, tmp_path / "scratch")
    assert [(wheel.name, str(wheel.version)) for wheel in found.wheels] == [("torch", "2.13.0+cpu")]
    readable = local_path(found.url)
    assert readable is not None
    assert [path.name for path in readable.iterdir() if path.name.startswith("torch")] == [
        "torch-2.13.0+cpu-cp311-cp311-linux_x86_64.whl"
    ]
