from __future__ import annotations

import pytest

from envbuilder.catalog.triton import find_release
from envbuilder.verification.static.loader import System, host_libraries, inside


@pytest.mark.parametrize(
    ("element", "folder"),
    [
        ("$ORIGIN", "lib/a"),
        ("${ORIGIN}/../b", "lib/b"),
        ("$ORIGIN/../..", "."),
        ("$ORIGIN/../../..", None),
        ("/usr/lib", None),
    ],
)
def test_where_a_runpath_leads(element: str, folder: str | None) -> None:
    assert inside("lib/a/x.so", element) == folder


def test_what_a_system_has() -> None:
    image = System(release=find_release("25.06"), besides=frozenset({"libmine.so.1"}))
    assert image.name == "the image of 25.06"
    assert image.has("libmine.so.1")
    assert image.has("ld-linux-x86-64.so.2")
    assert image.has("libc.so.6")
    assert image.has("libcuda.so.1") is None


def test_this_machine_is_asked_where_there_is_no_image() -> None:
    machine = System(release=find_release("pytriton-0.7.0"))
    assert machine.name == "this machine"
    assert "libc.so.6" in host_libraries()
    assert machine.has("libno-such-library.so.1") is False
