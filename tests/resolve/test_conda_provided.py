from __future__ import annotations

import email
import zipfile
from pathlib import Path

import pytest

from envbuilder.errors import ResolveError
from envbuilder.recipe.location import where
from envbuilder.resolve.conda_provided import write_stand_ins
from tests.helpers.channels import Cut
from tests.helpers.conda_parts import numpy_cut
from tests.helpers.conda_project import Project


@pytest.fixture
def project(conda_project: Project) -> Project:
    return conda_project


def test_what_conda_has_is_no_wheel(project: Project) -> None:
    project.publish(numpy_cut(), numpy_cut("2.1.0"))
    report = project.build(project.recipe(conda=["numpy"], dependencies=["numpy"]))
    assert [package.name for package in report.manifest.packages] == ["torch"]
    assert report.manifest.provides == {"numpy": "1.26.4"}  # the release wants numpy<2


def test_a_local_wheel_and_a_conda_package_of_one_name(project: Project) -> None:
    project.publish(numpy_cut())
    wheel = project.sources.publish("wheels", "numpy", "1.26.4")
    with pytest.raises(ResolveError) as caught:
        project.lock(project.recipe(conda=["numpy"], dependencies=["safe", f"numpy @ {wheel.as_uri()}"]))
    assert caught.value.message == (
        f"{project.folder / 'mine.yaml'}:9: {wheel.name} and the conda package of numpy 1.26.4 both provide numpy"
    )
    assert caught.value.exit_code == 4


def test_a_wheel_of_another_version_than_the_conda_package(project: Project) -> None:
    project.publish(numpy_cut())
    with pytest.raises(ResolveError) as caught:
        project.lock(project.recipe(conda=["numpy"], dependencies=["numpy>=1.27"]))
    assert "numpy" in caught.value.message
    assert caught.value.exit_code == 4


def test_an_egg_and_a_package_without_a_name(project: Project) -> None:
    site = "lib/python3.11/site-packages"
    project.publish(
        Cut(
            name="old",
            files={
                f"{site}/Old_One-1.0.egg-info/PKG-INFO": b"Name: Old_One\nVersion: 1.0\n",
                f"{site}/single-1.0.egg-info": b"Name: single\nVersion: 1.0\n",
                f"{site}/nameless-1.0.dist-info/METADATA": b"Version: 1.0\n",
            },
            depends=["python"],
        )
    )
    lock = project.lock(project.recipe(conda=["old"])).lock
    assert lock.conda is not None
    assert dict(lock.conda.provides) == {"old-one": "1.0", "single": "1.0"}


def test_a_stand_in_needs_nothing_but_for_extras(tmp_path: Path) -> None:
    metadata = (
        b"Name: Tool\nVersion: 1.0.0\nProvides-Extra: gpu\nRequires-Dist: cupy; extra == 'gpu'\n"
        b"Requires-Dist: numpy; python_version > '3'\nRequires-Dist: typing\nRequires-Dist: no requirement!\n"
    )
    found = write_stand_ins({"tool": metadata, "odd": b"Name: odd\nVersion: not a version\n"}, tmp_path)
    assert found == {"tool": "1.0.0"}
    (wheel,) = tmp_path.iterdir()
    assert wheel.name == "tool-1.0.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel) as archive:
        message = email.message_from_bytes(archive.read("tool-1.0.0.dist-info/METADATA"))
    assert message.get_all("Requires-Dist") == ["cupy; extra == 'gpu'"]
    assert message.get_all("Provides-Extra") == ["gpu"]


def test_where_a_recipe_asks_for_something(project: Project) -> None:
    recipe = project.recipe(conda=["one", "my_tool >=2"])
    assert where(recipe, "conda", "my-tool") == f"{recipe.path}:8"
    assert where(recipe, "conda", "other") == f"{recipe.path}:8"
    assert where(recipe, "dependencies", "other") == f"{recipe.path}:5"
    recipe.path.unlink()
    assert where(recipe, "conda", "one") == str(recipe.path)
