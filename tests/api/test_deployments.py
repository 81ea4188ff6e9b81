from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from envbuilder import api
from envbuilder.deployment.options import DeployOptions
from envbuilder.errors import DeployError, StoreError
from envbuilder.images.annotations import ARCHIVE
from envbuilder.registry import connection
from envbuilder.registry.reference import parse_reference
from envbuilder.store.local import Store
from envbuilder.store.session import Session
from envbuilder.transfer.images import push_image
from envbuilder.util.files import file_sha256
from tests.deployment.conftest import CONFIG, MODEL, write_archive
from tests.helpers import tars
from tests.helpers.images import write_layers
from tests.helpers.notes import Notes
from tests.helpers.registries import Faulty, faulty_registry, on


def test_deploy_gives_the_deployment(tmp_path: Path) -> None:
    archive = write_archive(tmp_path / "envs")
    model = tmp_path / "tiny"
    (model / "1").mkdir(parents=True)
    (model / "1" / "model.py").write_text(MODEL)
    (model / "config.pbtxt").write_text(CONFIG)
    made = api.deploy(archive, model, tmp_path / "repository")
    assert (made.model, made.folder) == ("tiny", tmp_path / "repository" / "tiny")


# -- the image of a deployment -----------------------------------------------------------------------


@dataclass(frozen=True)
class Scene:
    registry: Faulty
    archive: Path
    model: Path
    repository: Path
    notes: Notes

    def push(self, sha256: str, tag: str) -> str:
        """Push an image that says that it is of this archive; return its digest."""
        layer = tars.file("a", sha256.encode()) + bytes(1024)
        folder = self.repository.parent / f"image-{tag}"
        top = write_layers(folder, [layer], annotations={ARCHIVE: sha256})
        push_image(folder, parse_reference(f"oci://{self.registry.host}/a:{tag}"), self.session)
        return top.digest

    @property
    def session(self) -> Session:
        return Session(store=Store.open(self.repository.parent / "store"), reporter=self.notes)

    def deploy(self, image: str) -> str:
        """Deploy with this image; return what the Pod mounts."""
        options = DeployOptions(layout="image", mounted_at="/envs/tiny", image=image)
        api.deploy(self.archive, self.model, self.repository, options, session=self.session)
        text = (self.repository.parent / "kubernetes" / "tiny.pod.yaml").read_text()
        found = re.search(r"reference: (\S+)", text)
        assert found is not None
        return found[1]


@pytest.fixture
def scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Scene]:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(connection, "sleep", lambda _: None)
    for name in ("DOCKER_CONFIG", "REGISTRY_AUTH_FILE", "XDG_RUNTIME_DIR"):
        monkeypatch.delenv(name, raising=False)
    model = tmp_path / "tiny"
    (model / "1").mkdir(parents=True)
    (model / "1" / "model.py").write_text(MODEL)
    (model / "config.pbtxt").write_text(CONFIG)
    with faulty_registry() as registry:
        yield Scene(
            registry=registry,
            archive=write_archive(tmp_path / "envs"),
            model=model,
            repository=tmp_path / "repository",
            notes=Notes(),
        )


def test_an_image_is_pinned_if_it_is_the_archive_s(scene: Scene) -> None:
    digest = scene.push(file_sha256(scene.archive), "v1")
    place = f"{scene.registry.host}/a"
    for image in (f"oci://{place}:v1", f"oci://{place}@{digest}", f"oci://{place}:v1@{digest}"):
        assert scene.deploy(image) == f"{place}@{digest}"
    assert scene.notes.notes == []


def test_an_image_of_another_archive_is_refused_by_tag_and_by_digest(scene: Scene) -> None:
    digest = scene.push("1" * 64, "v1")
    place = f"oci://{scene.registry.host}/a"
    for image in (f"{place}:v1", f"{place}@{digest}"):
        with pytest.raises(DeployError, match="is the image of the archive 111111111111, not of") as raised:
            scene.deploy(image)
        assert f"envbuilder push {scene.archive} {place}:" in str(raised.value)
    assert not scene.repository.exists()


def test_an_image_that_is_not_there_is_refused(scene: Scene) -> None:
    for image in (f"oci://{scene.registry.host}/a:v1", f"oci://{scene.registry.host}/a@sha256:{'0' * 64}"):
        with pytest.raises(StoreError, match="is not in the registry"):
            scene.deploy(image)


@pytest.mark.parametrize("code", [401, 403, 500])
def test_a_digest_needs_no_registry_that_answers(code: int, scene: Scene) -> None:
    scene.registry.faults.append(on("GET .*manifests.*", lambda handler: handler.error(code)))
    pinned = f"{scene.registry.host}/a@sha256:{'0' * 64}"
    assert scene.deploy(f"oci://{pinned}") == pinned
    (note,) = scene.notes.notes
    assert note.startswith(f"not checked that the image is one of {scene.archive.name}: ")
    with pytest.raises(StoreError):
        scene.deploy(f"oci://{scene.registry.host}/a:v1")
