from __future__ import annotations

import os
from pathlib import Path

import pytest

from envbuilder.archive.manifest import manifest_beside
from envbuilder.archive.names import Archive
from envbuilder.errors import DeployError, IntegrityError
from envbuilder.util.files import file_sha256
from tests.deployment.conftest import write_archive


def test_an_archive_is_its_path_with_what_is_known_of_it(tmp_path: Path) -> None:
    path = write_archive(tmp_path / "envs", recipe="mine")
    archive = Archive.open(path)
    assert (archive.path, archive.sha256) == (path, file_sha256(path))
    assert archive.manifest.recipe == "mine"
    assert Path(archive) == path
    assert os.fspath(archive) == str(path)
    assert Archive.open(str(path)) == Archive.open(archive) == archive


def test_an_archive_without_a_manifest_beside_it_has_one_inside(tmp_path: Path) -> None:
    path = write_archive(tmp_path / "envs", recipe="mine")
    beside = manifest_beside(path)
    if beside.exists():
        beside.unlink()
    assert Archive.open(path).manifest.recipe == "mine"


def test_an_archive_is_what_its_name_says(tmp_path: Path) -> None:
    path = write_archive(tmp_path / "envs")
    wrong = path.rename(path.with_name("recipe-0123456789ab.tar.gz"))
    with pytest.raises(
        IntegrityError, match=r"its name says 0123456789ab, but its sha256 begins with [0-9a-f]{12}"
    ):
        Archive.open(wrong)
    with pytest.raises(DeployError, match="does not exist"):
        Archive.open(path)
