"""Bases of conda packages: installed, and refused where packages do not fit."""

from __future__ import annotations

import dataclasses
import json
import shutil
import tarfile
from pathlib import Path
from typing import Any

import pytest

from envbuilder.assemble.bytecode import BytecodeCompiler
from envbuilder.base import conda
from envbuilder.base.choose import open_base
from envbuilder.building.build import build
from envbuilder.building.record import BuildReport
from envbuilder.errors import AssembleError, FetchError, IntegrityError
from envbuilder.progress import SILENT
from envbuilder.store.local import Store
from envbuilder.store.session import Session
from tests.helpers.channels import Cut, Link
from tests.helpers.conda_parts import fake_cut
from tests.helpers.conda_project import Project, extract


@pytest.fixture
def project(conda_project: Project) -> Project:
    return conda_project


def test_members_never_pass_through_a_linked_folder(project: Project) -> None:
    project.publish(
        Cut(
            name="links",
            files={"root/usr/lib64/one": b"1", "root/usr/lib": Link("lib64"), "root/lib": Link("usr/lib")},
        ),
        Cut(name="through", depends=["links"], files={"root/usr/lib/two": b"2", "root/lib/three": b"3"}),
    )
    report = project.build(project.recipe(conda=["through"]))
    with tarfile.open(report.archive) as archive:
        found = {member.name: member.issym() for member in archive if member.name.startswith("root/")}
    assert found == {
        "root/lib": True,
        "root/usr/lib": True,
        "root/usr/lib64/one": False,
        "root/usr/lib64/two": False,
        "root/usr/lib64/three": False,
    }


def test_two_packages_with_different_files_behind_a_link(project: Project) -> None:
    project.publish(
        Cut(name="links", files={"root/lib64/one": b"1", "root/lib": Link("lib64")}),
        Cut(name="through", depends=["links"], files={"root/lib/one": b"another"}),
    )
    with pytest.raises(AssembleError) as caught:
        project.build(project.recipe(conda=["through"]))
    assert caught.value.message == "two conda packages have different files for root/lib64/one"
    assert (caught.value.hint, caught.value.exit_code) == ("remove one of them", 6)


def scripted(text: str) -> Cut:
    return Cut(
        name="scripted",
        files={"share/x": b"x", "bin/.scripted-post-link.sh": f"#!/bin/sh\n{text}\n".encode()},
    )


def test_post_link_scripts_run_only_where_the_recipe_names_their_package(project: Project) -> None:
    project.publish(scripted('echo "$PKG_NAME $PKG_VERSION $PREFIX" > "$PREFIX/share/made"'))
    report = project.build(project.recipe(conda=["scripted"]))
    assert "share/made" not in {file.path for file in report.manifest.files}
    assert (
        "scripted-1.0-0.conda has a post-link script that was not run; "
        "`link-scripts: [scripted]` in the recipe runs it"
    ) in project.notes.notes
    report = project.build(project.recipe(conda=["scripted"], link_scripts=["scripted"]))
    environment = extract(report.archive, project.folder / "env")
    assert (environment / "share/made").read_text() == "scripted 1.0 /nowhere/envbuilder\n"


def test_a_post_link_script_that_fails(project: Project) -> None:
    project.publish(scripted("echo no such thing >&2; exit 3"))
    with pytest.raises(AssembleError) as caught:
        project.build(project.recipe(conda=["scripted"], link_scripts=["scripted"]))
    assert caught.value.message.startswith("the post-link script of scripted-1.0-0.conda failed: ")
    assert "no such thing" in caught.value.message


def test_a_link_out_that_a_script_made(project: Project) -> None:
    project.publish(scripted('ln -s /etc "$PREFIX/share/out"'))
    with pytest.raises(AssembleError) as caught:
        project.build(project.recipe(conda=["scripted"], link_scripts=["scripted"]))
    assert caught.value.message == "the link share/out points to /etc, outside the environment"
    assert caught.value.hint == "a package's script created it: remove the package from link-scripts"


def test_rules_leave_files_of_conda_packages_out(project: Project) -> None:
    project.publish(Cut(name="documented", files={"share/doc/x.txt": b"text", "share/x": b"x"}))
    report = project.build(
        project.recipe(conda=["documented"], pack={"level": 1, "exclude": ["share/doc/**"]})
    )
    assert "share/doc/x.txt" not in {file.path for file in report.manifest.files}
    assert [(one.pattern, one.files, one.size) for one in report.manifest.excluded] == [
        ("share/doc/**", 1, 4)
    ]


def test_records_name_no_place_of_this_machine(project: Project) -> None:
    report = project.build(project.recipe(conda=["greeting"]))
    environment = extract(report.archive, project.folder / "env")
    records = sorted((environment / "conda-meta").glob("*.json"))
    assert len(records) == 5
    for path in records:
        text = path.read_text()
        assert str(project.folder) not in text
        assert str(project.channel) not in text
        assert json.loads(text)["channel"] == "channel"


# -- bytes that are not the locked ones ------------------------------------------------------------


def begin_again(project: Project) -> None:
    """Forget what was built; keep the artifacts."""
    for name in ("segments", "builds"):
        shutil.rmtree(project.store.root / name)
    shutil.rmtree(project.folder / "envs")


def locked_tool(report: BuildReport) -> str:
    """Return the sha256 of the package tool."""
    (package,) = (package for package in report.manifest.conda if package.name == "tool")
    return package.sha256


def test_a_package_whose_bytes_are_not_those_that_the_channel_says(project: Project) -> None:
    project.publish(fake_cut("tool"))
    place = project.folder / "own/linux-64/tool-1.0-0.conda"
    data = bytearray(place.read_bytes())
    data[len(data) // 2] ^= 1
    place.write_bytes(data)
    with pytest.raises(IntegrityError) as caught:
        project.build(project.recipe(conda=["tool"]))
    assert caught.value.message.startswith("tool-1.0-0.conda: no source has the locked content\n")
    assert f" in {place}" in caught.value.message
    assert caught.value.exit_code == 5


def test_a_package_that_the_channel_no_longer_has(project: Project) -> None:
    recipe = project.recipe(conda=["tool"])
    project.publish(fake_cut("tool"))
    lock = project.lock(recipe).lock

    def again() -> BuildReport:
        return build(
            recipe,
            lock,
            Session(settings=project.settings, store=project.store),
            output=project.folder / "envs",
        )

    report = again()
    place = project.folder / "own/linux-64/tool-1.0-0.conda"
    place.unlink()
    begin_again(project)
    assert again().sha256 == report.sha256  # from the store
    begin_again(project)
    sha256 = locked_tool(report)
    project.store.artifact_path(sha256).unlink()
    with pytest.raises(FetchError) as caught:
        again()
    assert caught.value.message == (
        f"tool-1.0-0.conda (sha256 {sha256}) could not be downloaded:\n  {place}: not found"
    )
    assert caught.value.exit_code == 4


def test_a_package_that_was_damaged_in_the_store_is_fetched_again(project: Project) -> None:
    project.publish(fake_cut("tool"))
    report = project.build(project.recipe(conda=["tool"]))
    begin_again(project)
    place = project.store.artifact_path(locked_tool(report))
    data = place.read_bytes()
    place.chmod(0o644)
    place.write_bytes(bytes(len(data)))
    later = dataclasses.replace(project, store=Store.open(project.store.root))  # this one has read it before
    assert later.build(later.recipe(conda=["tool"])).sha256 == report.sha256
    assert "tool-1.0-0.conda in the store was damaged; fetching it again" in project.notes.notes
    assert place.read_bytes() == data


@pytest.mark.parametrize("times", [1, 99])
def test_packages_that_get_in_each_others_way_are_linked_again(
    project: Project, monkeypatch: pytest.MonkeyPatch, times: int
) -> None:
    link, calls = conda.link_packages, []  # py-rattler fails so once in a hundred times

    async def disturbed(module: Any, paths: Any, prefix: Path, cache: Path) -> None:
        calls.append(prefix.exists())
        await link(module, paths, prefix, cache)
        if len(calls) <= times:
            raise OSError("failed to remove file `root/lib`: Is a directory (os error 21)")

    monkeypatch.setattr(conda, "link_packages", disturbed)
    if times == 1:
        assert project.build(project.recipe()).archive.is_file()
        assert calls == [False, False]
        return
    with pytest.raises(AssembleError, match="the conda packages cannot be installed"):
        project.build(project.recipe())
    assert calls == [False] * 5


def test_the_base_is_what_packages_brought_whatever_was_compiled_meanwhile(project: Project) -> None:
    """Wheels are compiled by the base's Python while the base is still listed: it leaves nothing there."""
    recipe = project.recipe(conda=["greeting"])
    lock = project.lock(recipe).lock
    with open_base(
        recipe, lock, Session(settings=project.settings, store=project.store, reporter=SILENT), change=False
    ) as base:
        prefix = base.executable().parent.parent
        before = sorted(path for path in prefix.rglob("*"))
        with BytecodeCompiler(base.executable) as compiler:
            assert compiler.compile("a.py", b"x = 1")
        assert sorted(path for path in prefix.rglob("*")) == before
