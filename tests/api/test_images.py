"""Images of archives and of recipes, by the Python interface."""

from __future__ import annotations

from pathlib import Path

import pytest

from envbuilder import api
from envbuilder.errors import DeployError, StaleLockError
from envbuilder.images.layout import Layout
from envbuilder.recipe.load import load_recipe
from envbuilder.registry.documents import REF_NAME


def names(path: Path) -> list[str]:
    return [one.annotations[REF_NAME] for one in Layout(path).index().manifests]


def test_of_a_recipe_which_is_built_first(locked: Path) -> None:
    report = api.image(load_recipe(locked), archives="out")
    (archive,) = Path("out").glob("small-*.tar.gz")
    assert report.path == archive.with_name(archive.name.replace(".tar.gz", ".oci"))
    assert (names(report.path), report.platforms) == (["small"], ("linux/amd64",))
    again = api.image([load_recipe(locked)], output="other.oci", archives="out", name="v1")
    assert (again.path, names(Path("other.oci"))) == (Path("other.oci"), ["v1"])
    assert len(list(Path("out").glob("*.tar.gz"))) == 1
    lazy = api.image(archive, output="lazy.oci", estargz=True)
    assert lazy.digest != report.digest
    assert api.image(str(archive), output="again.oci").digest == report.digest


def test_of_a_recipe_whose_lock_is_stale(locked: Path) -> None:
    locked.write_text(locked.read_text() + "dependencies: [six]\n")
    with pytest.raises(StaleLockError):
        api.image(load_recipe(locked))
    assert not Path("envs").exists()


def test_of_what_is_no_archive() -> None:
    with pytest.raises(DeployError, match="does not exist"):
        api.image("gone.tar.gz")
