from __future__ import annotations

from pathlib import Path

from envbuilder.store.local import Store
from envbuilder.verification.origin.artifacts import candidates, local_folders, lock_of
from tests.helpers.inventories import Package, manifest_of
from tests.helpers.wheels import write_wheel


def test_a_manifest_says_what_a_lock_would() -> None:
    manifest = manifest_of(Package(name="alpha"), python="3.11.7")
    lock = lock_of(manifest)
    assert (lock.python, lock.torch, lock.recipe) == ("3.11", "2.13.0+cpu", "small")
    assert [(one.name, one.sha256) for one in lock.artifacts] == [
        (one.name, one.sha256) for one in manifest.packages
    ]
    assert lock.conda is None


def test_folders_of_this_machine(tmp_path: Path) -> None:
    (tmp_path / "a b").mkdir()
    places = [str(tmp_path), (tmp_path / "a b").as_uri(), "https://example.com/x", str(tmp_path / "gone")]
    assert local_folders(places) == [tmp_path, tmp_path / "a b"]


def test_where_an_artifact_may_be(tmp_path: Path) -> None:
    artifact = write_wheel(tmp_path / "wheels", "alpha")
    store = Store.open(tmp_path / "store")
    assert list(candidates(artifact, store, [tmp_path / "wheels", tmp_path])) == [
        tmp_path / "wheels" / artifact.filename
    ]
