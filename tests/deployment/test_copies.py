"""What `apply` copies as it is; tests/fleet/repository/test_apply.py shows the same of its rows."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from envbuilder.deployment.copies import Copied, copy_model, copy_to_objects
from envbuilder.deployment.layout import deploy
from envbuilder.deployment.mark import MARK
from envbuilder.errors import DeployError
from envbuilder.store.objects import RemoteObjects
from tests.deployment.conftest import tree


def test_an_ensemble_s_version_is_an_empty_folder(tmp_path: Path, repository: Path) -> None:
    ensemble = tmp_path / "ens"
    (ensemble / "1").mkdir(parents=True)
    (ensemble / "config.pbtxt").write_text('platform: "ensemble"\n')
    assert copy_model(ensemble, repository).changed
    assert list((repository / "ens" / "1").iterdir()) == []
    assert copy_model(ensemble, repository) == Copied()
    (repository / "ens" / "1").rmdir()
    assert copy_model(ensemble, repository) == Copied(changed=True)
    assert (repository / "ens" / "1").is_dir()


def test_copied_once(model: Path, repository: Path) -> None:
    assert copy_model(model, repository, dry_run=True) == Copied(changed=True)
    assert not repository.exists()
    assert copy_model(model, repository) == Copied(changed=True)
    before = tree(repository)
    assert copy_model(model, repository) == Copied()
    assert tree(repository) == before
    assert copy_model(repository / "net", repository) == Copied()
    assert copy_model(repository / "net", repository.parent / "third") == Copied(changed=True)


@pytest.mark.parametrize("where", ["{}/repository", "memory://copies"])
def test_a_model_that_was_deployed_before(archive: Path, model: Path, tmp_path: Path, where: str) -> None:
    """Its recipe is gone: its files are replaced, its environment stays."""
    there = RemoteObjects(where.format(tmp_path))
    made = deploy(archive, model, tmp_path / "made")
    for path in (path for path in made.folder.rglob("*") if path.is_file()):
        there.replace(f"net/{path.relative_to(made.folder)}", path)
    (model / "1" / "model.py").write_text("# changed\n")
    done = copy_to_objects(model, where) if "://" in where else copy_model(model, tmp_path / "repository")
    assert done.changed
    assert archive.name not in done.removed
    assert {archive.name, MARK} <= there.walk("net").keys()


def test_a_file_at_the_models_place(model: Path, repository: Path) -> None:
    repository.mkdir()
    (repository / "net").write_text("theirs")
    with pytest.raises(DeployError, match="is not a folder"):
        copy_model(model, repository, replace=True)
    assert (repository / "net").read_text() == "theirs"


def test_the_folder_is_locked(model: Path, repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    held = []
    real = os.open

    def note(path: Path, flags: int, *rest: int, **more: int) -> int:
        held.append(path)
        return real(path, flags, *rest, **more)

    monkeypatch.setattr("os.open", note)
    copy_model(model, repository)
    assert repository in held


def test_many_files_are_counted() -> None:
    said = Copied(changed=True, removed=tuple("abcdefg"), overwritten=("h",)).text()
    assert (
        said
        == "copied as it is; removed there: 'a', 'b', 'c', 'd', 'e' and 2 other files; replaced there: 'h'"
    )


@pytest.mark.parametrize("written", [False, True])
def test_a_copy_to_objects_that_was_interrupted_goes_on(
    model: Path, monkeypatch: pytest.MonkeyPatch, written: bool
) -> None:
    """What it put there is known to be its own, although the model changed again meanwhile."""
    copy_to_objects(model, "memory://interrupted")
    real = RemoteObjects.replace

    def interrupted(there: RemoteObjects, path: str, source: Path) -> None:
        if written or not path.endswith("model.py"):
            real(there, path, source)
        if path.endswith("model.py"):
            raise KeyboardInterrupt

    (model / "1" / "model.py").write_text("# second\n")
    with monkeypatch.context() as patched:
        patched.setattr(RemoteObjects, "replace", interrupted)
        with pytest.raises(KeyboardInterrupt):
            copy_to_objects(model, "memory://interrupted")
    (model / "1" / "model.py").write_text("# third, and longer\n")
    assert copy_to_objects(model, "memory://interrupted").changed
    assert not copy_to_objects(model, "memory://interrupted").changed
