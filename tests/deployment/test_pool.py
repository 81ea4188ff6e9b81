"""Unpacked environments in the folders of models, which share their files with one folder."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from envbuilder.deployment.layout import deploy
from envbuilder.deployment.options import DeployOptions
from envbuilder.deployment.record import record_beside
from envbuilder.errors import DeployError
from tests.deployment.conftest import inodes, write_archive


def test_two_models_have_the_files_once(archive: Path, model: Path, repository: Path) -> None:
    one = deploy(archive, model, repository, DeployOptions(unpacked=True))
    two = deploy(archive, model, repository, DeployOptions(unpacked=True, name="other"))
    pool = repository.parent / "environments" / one.environment.name
    assert one.environment != two.environment
    assert inodes(one.environment) == inodes(two.environment) == inodes(pool)
    assert len(inodes(pool)) >= 3
    assert one.old_archives == two.old_archives == ()


def test_a_folder_of_ones_own(archive: Path, model: Path, repository: Path, tmp_path: Path) -> None:
    done = deploy(archive, model, repository, DeployOptions(unpacked=True, pool=tmp_path / "there" / "pool"))
    assert inodes(done.environment) == inodes(tmp_path / "there" / "pool" / done.environment.name)
    assert not (repository.parent / "environments").exists()
    with pytest.raises(DeployError, match="is inside the repository"):
        deploy(archive, model, repository, DeployOptions(unpacked=True, pool=repository / "pool"))


def test_a_deployment_lives_on_without_the_folder(archive: Path, model: Path, repository: Path) -> None:
    done = deploy(archive, model, repository, DeployOptions(unpacked=True))
    shutil.rmtree(repository.parent / "environments")
    assert (done.environment / "bin" / "activate").read_bytes() == b"# nothing\n"
    again = deploy(archive, model, repository, DeployOptions(unpacked=True))
    assert not again.changed
    assert deploy(archive, model, repository, DeployOptions(unpacked=True, name="other")).changed


def test_replacing_one_leaves_the_other_alone(tmp_path: Path, model: Path, repository: Path) -> None:
    """What one model's folder loses, the other's keeps; what no model has any more is listed, then pruned."""
    first, second = write_archive(tmp_path / "built"), write_archive(tmp_path / "built", torch="2.8.0")
    old = deploy(first, model, repository, DeployOptions(unpacked=True))
    other = deploy(first, model, repository, DeployOptions(unpacked=True, name="other"))
    pool = repository.parent / "environments"
    deploy(second, model, repository, DeployOptions(unpacked=True, prune=True))
    assert not old.environment.exists()
    assert (other.environment / "bin" / "activate").read_bytes() == b"# nothing\n"
    assert (pool / old.environment.name).exists()
    done = deploy(second, model, repository, DeployOptions(unpacked=True, name="other", prune=True))
    assert done.old_archives == ()
    assert sorted(path.name for path in pool.iterdir()) == [
        done.environment.name,
        record_beside(done.environment).name,
    ]
