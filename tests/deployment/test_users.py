"""Deployments by somebody who is not root, has no entry in passwd, and no HOME."""

from __future__ import annotations

import os
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from envbuilder import api
from envbuilder.deployment.layout import deploy
from envbuilder.deployment.options import DeployOptions
from envbuilder.deployment.outcome import Deployment
from envbuilder.errors import DeployError
from tests.deployment.conftest import CONFIG, tree, write_archive
from tests.helpers.users import as_somebody

LAYOUTS = ("model", "shared", "backend")


@pytest.fixture(autouse=True)
def _open_again(tmp_path: Path) -> Iterator[None]:
    """What a test closed, pytest must be able to remove."""
    yield
    for root, folders, _ in os.walk(tmp_path):
        for name in folders:
            path = os.path.join(root, name)
            if not os.path.islink(path):
                os.chmod(path, 0o755)


def read_only_folders(tar: tarfile.TarFile) -> None:
    for name in ("share/ro", "share/ro/inner"):
        member = tarfile.TarInfo(name)
        member.type, member.mode = tarfile.DIRTYPE, 0o555
        tar.addfile(member)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("unpacked", [False, True])
def test_a_repository_of_ones_own(
    tmp_path: Path, model: Path, repository: Path, layout: Any, unpacked: bool
) -> None:
    first, second = (
        write_archive(tmp_path / "built", torch=torch, members=read_only_folders)
        for torch in ("2.7.1", "2.8.0")
    )
    options = DeployOptions(layout=layout, unpacked=unpacked, prune=True)

    def act() -> tuple[Deployment, ...]:
        return tuple(deploy(archive, model, repository, options) for archive in (first, second, second))

    old, new, again = as_somebody(act, env={})
    assert old.environment in new.deleted
    assert not old.environment.exists()
    assert new.environment.exists()
    assert not again.changed
    assert not [path for path in tmp_path.rglob(".*") if "deploying" in path.name]


def test_the_verb_asks_for_no_home(archive: Path, model: Path, repository: Path) -> None:
    for env in ({}, {"HOME": "/nonexistent"}, {"HOME": ""}, {"HOME": "relative"}):
        for target in (str(repository), f"file://{repository}"):
            done = as_somebody(lambda target=target: api.deploy(archive, model, target), env=env)  # type: ignore[misc]
            assert done.model == "net"


Close = Callable[[Path, Path, Path], Path]


def paths(folder: Path) -> set[str]:
    return set(tree(folder))


def _close_archive(archive: Path, model: Path, repository: Path) -> Path:
    archive.chmod(0)
    return archive


def _close_config(archive: Path, model: Path, repository: Path) -> Path:
    (model / "config.pbtxt").chmod(0)
    return model / "config.pbtxt"


def _close_folder(archive: Path, model: Path, repository: Path) -> Path:
    (model / "labels").mkdir(mode=0)
    return model / "labels"


def _close_model(archive: Path, model: Path, repository: Path) -> Path:
    model.chmod(0)
    return model


def _close_weights(archive: Path, model: Path, repository: Path) -> Path:
    (model / "1" / "model.pt").touch(mode=0)
    return model / "1" / "model.pt"


def _close_repository(archive: Path, model: Path, repository: Path) -> Path:
    repository.mkdir()
    repository.chmod(0o555)
    repository.parent.chmod(0o555)
    return repository.parent


def _close_beside(archive: Path, model: Path, repository: Path) -> Path:
    repository.mkdir(mode=0o555)
    (repository.parent / "environments").mkdir(mode=0o555)
    (repository.parent / "backends").mkdir(mode=0o555)
    repository.parent.chmod(0o555)
    return repository.parent


@pytest.mark.parametrize(
    "close",
    [
        _close_archive,
        _close_config,
        _close_folder,
        _close_model,
        _close_weights,
        _close_repository,
        _close_beside,
    ],
)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_what_may_not_be_read_or_written(
    archive: Path, model: Path, repository: Path, layout: Any, close: Close
) -> None:
    closed = close(archive, model, repository)
    before = paths(repository.parent)
    with pytest.raises(DeployError) as caught:
        as_somebody(lambda: deploy(archive, model, repository, DeployOptions(layout=layout)))
    assert "Permission denied" in caught.value.message
    named = (
        "version 1: model.pt" if close is _close_weights else str(closed)
    )  # by lint, as all else of weights
    assert named in caught.value.message
    assert paths(repository.parent) == before


@pytest.mark.parametrize("closed", ["config.pbtxt", "configs", "configs/gpu.pbtxt", "."])
def test_a_configuration_of_somebody_elses_stops_a_prune(
    tmp_path: Path, model: Path, repository: Path, closed: str
) -> None:
    first, second = (write_archive(tmp_path / "built", torch=torch) for torch in ("2.7.1", "2.8.0"))
    shared = DeployOptions(layout="shared")
    old = deploy(first, model, repository, shared).environment
    theirs = repository / "theirs"
    (theirs / "configs").mkdir(parents=True)
    for path in (theirs / "config.pbtxt", theirs / "configs" / "gpu.pbtxt"):
        path.write_text(CONFIG)
    (theirs / closed).chmod(0)
    before = tree(tmp_path / "environments")
    with pytest.raises(DeployError) as caught:
        as_somebody(
            lambda: deploy(second, model, repository, DeployOptions(layout="shared", prune=True)), env={}
        )
    assert caught.value.message == f"{theirs / closed} cannot be read: Permission denied"
    assert tree(tmp_path / "environments") == before
    done = as_somebody(lambda: deploy(second, model, repository, shared), env={})
    assert [finding.id for finding in done.findings] == ["unknown-use"]
    assert done.old_archives == ()
    assert old.exists()


def test_another_repository_of_somebody_elses_stops_a_prune_alone(
    tmp_path: Path, model: Path, repository: Path
) -> None:
    first, second = (write_archive(tmp_path / "built", torch=torch) for torch in ("2.7.1", "2.8.0"))
    private = tmp_path / "private"
    shared = DeployOptions(layout="shared", shared=tmp_path / "environments")
    deploy(first, model, private / "repository", shared)
    deploy(first, model, repository, shared)
    private.chmod(0)
    with pytest.raises(DeployError) as caught:
        as_somebody(
            lambda: deploy(second, model, repository, DeployOptions(layout="shared", prune=True)), env={}
        )
    assert caught.value.message == (
        f"the repository {private / 'repository'} cannot be read: Permission denied"
    )
    done = as_somebody(lambda: deploy(second, model, repository, shared), env={})
    assert [finding.id for finding in done.findings] == ["unknown-use"]
