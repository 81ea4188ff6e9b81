"""The check of origins, on small archives that are really built; tests/hostile/test_origin.py attacks it."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from envbuilder.archive.manifest import MANIFEST_PATH
from envbuilder.lockfile.model import Lock
from envbuilder.progress import SILENT
from envbuilder.store.local import Store
from envbuilder.verification.live.launch import Sandbox
from envbuilder.verification.origin.check import ID, check_origin
from envbuilder.verification.origin.locked import Surroundings
from envbuilder.verification.report import Check
from envbuilder.verification.static.extracted import open_archive
from tests.helpers.environments import SITE, environment, pack
from tests.helpers.origins import add_file, read_members, repack
from tests.helpers.small import Small, copy_small

WHEEL = "alpha-1.0-py3-none-any.whl"


@pytest.fixture
def plain(tmp_path: Path, built_small: Small) -> Small:
    """Without bytecode: there is nothing to compile again, which takes most of the time."""
    return copy_small(built_small, tmp_path / "small").with_pack(bytecode=False)


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """A store that remembers what the interpreter contributes, which takes most of the time."""
    return Store.open(tmp_path_factory.mktemp("known"))


def unknown_interpreter(data: dict[str, Any]) -> None:
    data["python"] = "3.11.99"
    data["interpreter"] |= {"version": "3.11.99", "digest": "0" * 64, "locked_digest": "0" * 64}


def checked(
    archive: Path,
    small: Small,
    known: Store,
    folder: Path,
    *,
    lock: Lock | None = None,
    here: bool = True,
    **around: Any,
) -> Check:
    sandbox = Sandbox.make(folder / f"root-{archive.name}", isolate=False)
    opened = open_archive(archive, sandbox.environment, lambda _: [], SILENT)
    folders = (small.wheelhouse,) if here else ()
    options = {"recipe": small.recipe, **around}
    surroundings = Surroundings(store=known, folders=folders, reporter=SILENT, **options)
    found = check_origin(opened, lock, sandbox, surroundings)
    assert found.id == ID
    return found


def test_every_file_of_a_build_has_an_origin(plain: Small, known: Store, tmp_path: Path) -> None:
    report = plain.build()
    found = checked(report.archive, plain, known, tmp_path, lock=plain.lock)
    assert found.status == "passed", found
    assert " from 2 wheels, " in found.found
    assert " 0 compiled again, " in found.found
    assert found.found.startswith(f"{len(report.manifest.files) + 1} files: ")


def test_a_file_that_nobody_accounts_for(plain: Small, known: Store, tmp_path: Path) -> None:
    members = read_members(plain.build().archive)
    add_file(members, f"{SITE}/evil.pth", b"import os\n")
    add_file(members, f"{SITE}/beta.py", b"changed")
    found = checked(repack(members, tmp_path), plain, known, tmp_path)
    assert found.status == "failed"
    assert found.found == (
        f"files of unknown origin: {SITE}/evil.pth; "
        f"files that differ from their origin: {SITE}/beta.py (beta-1.0-py3-none-any.whl)"
    )


def test_a_manifest_with_a_field_that_is_not_so(plain: Small, known: Store, tmp_path: Path) -> None:
    members = read_members(plain.build().archive)
    archive = repack(members, tmp_path, manifest=lambda said: said.update(torch="9.9"))
    found = checked(archive, plain, known, tmp_path, lock=plain.lock)
    assert (found.status, found.found) == (
        "failed",
        f"{MANIFEST_PATH} differs from what a build writes: torch",
    )


def test_a_recipe_that_packs_otherwise(plain: Small, known: Store, tmp_path: Path) -> None:
    archive = plain.build().archive
    recipe = plain.with_pack(level=9).recipe
    found = checked(archive, plain, known, tmp_path, recipe=recipe)
    assert (found.status, found.found) == (
        "failed",
        f"{MANIFEST_PATH}: it was not packed as {recipe.path} says",
    )


def test_what_is_not_here_is_a_doubt(plain: Small, known: Store, tmp_path: Path) -> None:
    archive = plain.build().archive
    found = checked(archive, plain, known, tmp_path, here=False)
    assert found.status == "warning"
    assert found.found.startswith("the origin of ")
    assert f"{WHEEL} (it is neither in the store nor in a wheelhouse)" in found.found
    assert found.fix is not None
    assert "envbuilder lock --fetch" in found.fix


def test_nothing_of_it_is_here(plain: Small, known: Store, tmp_path: Path) -> None:
    archive = plain.build().archive
    other = dataclasses.replace(plain.lock.interpreter, version="3.11.99", digest="0" * 64)
    archive = repack(read_members(archive), tmp_path, manifest=unknown_interpreter)
    lock = dataclasses.replace(plain.lock, interpreter=other)
    found = checked(archive, plain, known, tmp_path, lock=lock, here=False)
    assert found.status == "omitted"
    assert found.found.startswith(f"not known: {WHEEL} (")


def test_bytecode_is_left_where_other_files_are_wrong(
    built_small: Small, known: Store, tmp_path: Path
) -> None:
    small = copy_small(built_small, tmp_path / "small")
    members = read_members(small.build().archive)
    add_file(members, f"{SITE}/evil.pth", b"import os\n")
    found = checked(repack(members, tmp_path), small, known, tmp_path)
    assert (found.status, found.found) == (
        "failed",
        f"files of unknown origin: {SITE}/evil.pth; the bytecode was not compiled again, because other files are "
        "wrong",
    )


def test_an_unknown_python_runs_in_a_sandbox_only(built_small: Small, known: Store, tmp_path: Path) -> None:
    small = copy_small(built_small, tmp_path / "small")
    other = dataclasses.replace(small.lock.interpreter, version="3.11.99", digest="0" * 64)
    lock = dataclasses.replace(small.lock, interpreter=other)
    archive = repack(read_members(small.build().archive), tmp_path, manifest=unknown_interpreter)
    found = checked(archive, small, known, tmp_path, lock=lock)
    assert found.status == "warning", found
    assert "bytecode files is not known: its Python is not known, and no sandbox is available" in found.found


def test_an_archive_without_a_manifest(plain: Small, known: Store, tmp_path: Path) -> None:
    found = checked(pack(environment(), tmp_path), plain, known, tmp_path)
    assert (found.status, found.found) == ("omitted", "the archive has no manifest to compare with")
