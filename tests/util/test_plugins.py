from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from envbuilder.errors import PluginError, RecipeError
from envbuilder.util.plugins import Registry, installed
from tests.helpers.plugins import install

GROUP = "envbuilder.test_shapes"
SOURCE = """
class Square:
    sides = 4

circle = object()

class Broken:
    def __init__(self):
        raise OSError("no room")
"""


@pytest.fixture
def shapes() -> Registry[Any]:
    """A registry with one shape built in."""
    return Registry(
        GROUP, "shape", built_in={"path": "pathlib:PurePosixPath", "name": "os:name"}, needs=("sides",)
    )


@pytest.fixture(autouse=True)
def _plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    places = {f"{GROUP}/square": "Square", f"{GROUP}/circle": "circle", f"{GROUP}/broken": "Broken"}
    places[f"{GROUP}/gone"] = "Gone"
    install(tmp_path / "one", monkeypatch, name="acme-shapes", source=SOURCE, entry_points=places)


def test_names_are_those_built_in_and_those_installed(shapes: Registry[Any]) -> None:
    assert installed(GROUP) == ("broken", "circle", "gone", "square")
    assert shapes.names() == ("broken", "circle", "gone", "name", "path", "square")


def test_a_class_is_called_and_an_object_is_taken(shapes: Registry[Any]) -> None:
    import os
    import pathlib

    assert shapes.get("name") is os.name
    assert shapes.get("path") == pathlib.PurePosixPath()
    assert shapes.get("square").sides == 4


def test_an_unknown_name_is_told_what_there_is(shapes: Registry[Any]) -> None:
    with pytest.raises(RecipeError) as raised:
        shapes.get("sqare")
    assert str(raised.value) == (
        "unknown shape 'sqare'; expected broken, circle, gone, name, path or square\n"
        "  hint: did you mean 'square'?"
    )
    with pytest.raises(RecipeError) as raised:
        shapes.get("zzz")
    assert raised.value.hint == f"plugins add one by an entry point in the group {GROUP}"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("circle", "the shape 'circle' of acme-shapes 1.0 has no sides"),
        ("broken", "the shape 'broken' of acme-shapes 1.0 cannot be loaded: OSError: no room"),
        (
            "gone",
            "the shape 'gone' of acme-shapes 1.0 cannot be loaded: AttributeError: module 'acme_shapes' has no "
            "attribute 'Gone'",
        ),
    ],
)
def test_a_plugin_that_cannot_be_used(shapes: Registry[Any], name: str, message: str) -> None:
    with pytest.raises(PluginError) as raised:
        shapes.get(name)
    assert str(raised.value) == f"{message}\n  hint: update or uninstall it"


def test_two_distributions_with_one_name(
    shapes: Registry[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    places = {f"{GROUP}/square": "Square"}
    install(tmp_path / "two", monkeypatch, name="other-shapes", source=SOURCE, entry_points=places)
    with pytest.raises(PluginError) as raised:
        shapes.get("square")
    assert str(raised.value) == (
        "other-shapes 1.0 and acme-shapes 1.0 all provide the shape 'square'\n  hint: uninstall all but one"
    )


def test_a_built_in_keeps_its_name(
    shapes: Registry[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import os

    places = {f"{GROUP}/name": "Square"}
    install(tmp_path / "two", monkeypatch, name="other-shapes", source=SOURCE, entry_points=places)
    assert shapes.get("name") is os.name
