"""What a release demands of an environment that another tool packed: a venv's Python, and where it was activated."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from uv import find_uv_bin

from envbuilder.catalog.triton import find_release
from envbuilder.progress import SILENT
from envbuilder.verification.report import Check, failed, passed
from envbuilder.verification.static.extracted import open_archive
from envbuilder.verification.static.foreign_release import base_python, fitted
from tests.helpers.environments import environment, failures, pack, verdicts
from tests.verification.static.conftest import with_python


def test_activate_that_names_a_folder_is_for_releases_that_do_not_source_it(tmp_path: Path) -> None:
    tree = environment() | {"bin/activate": b"VIRTUAL_ENV='/home/me/venv'\n"}
    archive = pack(tree, tmp_path)
    text, fix = failures(verdicts(archive, tmp_path))["layout.activate"]
    assert text.startswith("bin/activate sets the folder /home/me/venv: pytriton-0.7.0 sources it")
    assert fix is not None
    assert "uv venv --relocatable" in fix
    (tmp_path / "b").mkdir()
    direct = verdicts(archive, tmp_path / "b", release="26.06")
    assert "layout.activate" not in failures(direct)


def test_the_cure_of_such_a_venv(tmp_path: Path) -> None:
    command = [find_uv_bin(), "venv", "--quiet", "--no-config", "--relocatable", str(tmp_path / "venv")]
    subprocess.run(command, check=True)
    subprocess.run(["tar", "-C", tmp_path / "venv", "-czf", tmp_path / "venv.tar.gz", "."], check=True)
    assert "layout.activate" not in failures(verdicts(tmp_path / "venv.tar.gz", tmp_path))


@pytest.mark.parametrize(
    ("release", "python", "has"),
    [("24.10", "/usr/bin/python3.10", True), ("24.10", "/opt/conda/bin/python3.10", False)],
)
def test_the_python_of_a_venv_is_where_the_image_has_its_own(
    tmp_path: Path, release: str, python: str, has: bool
) -> None:
    tree = {path: data for path, data in with_python("3.10").items() if "libpython" not in path}
    tree |= {"bin/python3": python, "pyvenv.cfg": b"home = /usr/bin\nversion = 3.10.12\n"}
    wrong = failures(verdicts(pack(tree, tmp_path), tmp_path, release=release))
    assert ("layout.libpython" in wrong) != has
    assert "paths.links" not in wrong
    if not has:
        assert wrong["layout.libpython"][0] == (
            f"bin/python3 is a link to {python}, a Python 3.10 outside the environment; the image of 24.10 has no "
            "such Python"
        )


def test_no_hint_names_what_this_tool_alone_has(tmp_path: Path) -> None:
    tree = {path: data for path, data in environment().items() if path != "bin/activate"}
    archive = pack(tree, tmp_path)
    checks: list[Check] = []
    for release in ("pytriton-0.7.0", "24.10", "26.06"):
        folder = tmp_path / release
        folder.mkdir()
        checks += verdicts(archive, folder, release=release)
    for one in checks:
        assert "recipe" not in (one.fix or "").replace(
            "create a recipe from it with `envbuilder import`", ""
        ), one


@pytest.mark.parametrize(
    ("links", "base"),
    [
        ({"bin/python3": "/usr/bin/python3.11"}, "/usr/bin/python3.11"),
        (
            {"bin/python3": "python", "bin/python": "../opt/python", "opt/python": "/usr/bin/python3"},
            "/usr/bin/python3",
        ),
        ({"bin/python3": "python", "bin/python": "python3"}, None),
        ({"bin/python3": "gone"}, None),
        ({"bin/python3": "python3.11", "bin/python3.11": b"\x7fELF"}, None),
        ({}, None),
    ],
)
def test_the_python_outside_that_a_venv_leads_to(
    tmp_path: Path, links: dict[str, bytes | str], base: str | None
) -> None:
    tree = {path: data for path, data in environment().items() if path != "bin/python3"} | links
    archive = open_archive(pack(tree, tmp_path), tmp_path / "environment", lambda _: [], SILENT)
    assert base_python(archive) == base


def test_checks_that_another_tool_can_cure_have_its_hints(tmp_path: Path) -> None:
    release = find_release("24.10")
    archive = open_archive(pack(environment(), tmp_path), tmp_path / "environment", lambda _: [], SILENT)
    ours = [
        failed("system.demands", "24.10 requires numpy<2", "lock it", release),
        failed("archive.through-links", "x", "ours", release),
        failed("other.check", "x", "as it is", release),
        passed("system.glibc", "fine", release),
    ]
    made = list(fitted(ours, archive, release))
    assert [one.id for one in made] == [one.id for one in ours]
    assert made[0].fix != "lock it"
    assert made[1].fix == "write each file with its real path, as `conda-pack` does"
    assert (made[2], made[3]) == (ours[2], ours[3])
