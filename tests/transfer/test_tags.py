"""Tags as aliases, in every form in which an image is named."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from envbuilder import api
from envbuilder.config.settings import Settings
from envbuilder.errors import RecipeError, StoreError
from envbuilder.registry.documents import EMPTY, MANIFEST, Manifest, describe
from envbuilder.store.local import Store
from envbuilder.store.session import Session
from tests.helpers.registries import Faulty, faulty_registry

TEXT = Manifest(config=describe(b"{}", EMPTY), layers=()).text()
DIGEST = describe(TEXT, MANIFEST).digest


@pytest.fixture
def faulty(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Faulty]:
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("DOCKER_CONFIG", "REGISTRY_AUTH_FILE", "XDG_RUNTIME_DIR"):
        monkeypatch.delenv(name, raising=False)
    with faulty_registry() as registry:
        registry.manifests = {"v1": (MANIFEST, TEXT), DIGEST: (MANIFEST, TEXT)}
        yield registry


@pytest.mark.parametrize(
    "wanted",
    ["v1", DIGEST, DIGEST[7:], "oci://{}/a:v1", f"oci://{{}}/a@{DIGEST}", f"oci://{{}}/a:x@{DIGEST}"],
)
def test_a_tag_is_moved_to_what_is_printed(wanted: str, faulty: Faulty, tmp_path: Path) -> None:
    session = Session(settings=Settings(), store=Store.open(tmp_path / "store"))
    stable = f"oci://{faulty.host}/a:stable"
    moved = api.alias(stable, wanted.format(faulty.host), session=session)
    assert moved == api.alias(stable, session=session)
    assert f"sha256:{moved.sha256}" == DIGEST
    assert faulty.manifests["stable"] == (MANIFEST, TEXT)


def test_an_image_of_another_repository_is_not_in_this_one(faulty: Faulty, tmp_path: Path) -> None:
    session = Session(settings=Settings(), store=Store.open(tmp_path / "store"))
    with pytest.raises(RecipeError, match=r"/b:v1 is not in the repository of"):
        api.alias(f"oci://{faulty.host}/a:stable", f"oci://{faulty.host}/b:v1", session=session)
    with pytest.raises(StoreError, match="has no image v3"):
        api.alias(f"oci://{faulty.host}/a:stable", "v3", session=session)
