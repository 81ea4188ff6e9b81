"""From a channel to an archive: what recipes with ``provider: conda`` become."""

from __future__ import annotations

import dataclasses
import shutil
import subprocess
from pathlib import Path

import pytest

from envbuilder.store.local import Store
from tests.helpers.conda_parts import fake_cut
from tests.helpers.conda_project import Project, extract


@pytest.fixture
def project(conda_project: Project) -> Project:
    return conda_project


# -- what is built ---------------------------------------------------------------------------------


def test_an_environment_of_conda_packages_and_wheels(project: Project) -> None:
    report = project.build(project.recipe(conda=["greeting"]))
    manifest = report.manifest
    assert [package.name for package in manifest.conda] == [
        "libgcc",
        "libstdcxx",
        "python-libs",
        "python",
        "greeting",
    ]
    assert manifest.provides == {"greeting": "1.0"}
    assert [package.name for package in manifest.packages] == ["numpy", "torch"]
    assert manifest.interpreter.origin.startswith("conda:python-3.11.")
    environment = extract(report.archive, project.folder / "env")
    clean = {"PATH": "/usr/bin:/bin"}
    script = f"source {environment}/bin/activate && greeting && where-python && echo $BASE_DATA"
    said = subprocess.run(
        ["bash", "-c", script], env=clean, capture_output=True, text=True, check=True
    ).stdout
    assert said.split() == ["hello", str(environment), f"{environment}/share/base"]
    program = (
        "import sys, sysconfig, ssl, sqlite3, greeting; print(sys.prefix, sysconfig.get_config_var('prefix'))"
    )
    said = subprocess.run(
        [environment / "bin/python3", "-I", "-c", program],
        env=clean,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert said.split() == [str(environment), str(environment)]
    assert (environment / "lib/python3.11/site-packages/__pycache__/greeting.cpython-311.pyc").is_file()


def test_the_same_bytes_from_another_store_folder_and_channel(project: Project, tmp_path: Path) -> None:
    first = project.build(project.recipe(conda=["greeting"]))
    moved = tmp_path / "elsewhere" / "channel"
    shutil.copytree(project.channel, moved)
    other = dataclasses.replace(project, channel=moved, store=Store.open(tmp_path / "other"))
    again = other.build(other.recipe(conda=["greeting"]), output="others")
    assert again.sha256 == first.sha256
    assert again.segments_made == again.segments_total


def test_the_base_is_kept_by_its_packages(project: Project) -> None:
    recipe = project.recipe()
    project.build(recipe)
    shutil.rmtree(project.folder / "envs")
    report = project.build(project.recipe(dependencies=["numpy<1.27"]))
    assert report.segments_made == 0
    project.publish(fake_cut("extra"))
    report = project.build(project.recipe(conda=["extra"]))
    assert report.segments_made == 2
