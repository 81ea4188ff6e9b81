"""Images of environments beside archives and in registries."""

from __future__ import annotations

from pathlib import Path

import pytest

from envbuilder import api
from envbuilder.building.record import BuildReport
from envbuilder.config.settings import Settings
from envbuilder.errors import IntegrityError, StoreError
from envbuilder.fleet.patching.images import Found, images_in_layouts, images_in_registry
from envbuilder.images.write import write_image
from envbuilder.registry.reference import parse_reference
from envbuilder.store.session import Session
from tests.helpers import tars
from tests.helpers.images import write_layers
from tests.helpers.registries import docker_registry
from tests.helpers.small import Small, copy_small


@pytest.fixture
def small(tmp_path: Path, built_small: Small) -> Small:
    return copy_small(built_small, tmp_path)


@pytest.fixture
def session(small: Small) -> Session:
    return Session(settings=small.settings, store=small.store())


@pytest.fixture
def report(small: Small) -> BuildReport:
    return small.build()


def found(name: str, report: BuildReport) -> Found:
    return Found(name=name, sha256=report.sha256, lock_digest=report.manifest.lock_digest, recipe="small")


def test_layouts_as_folders_and_as_tars(
    small: Small, session: Session, report: BuildReport, tmp_path: Path
) -> None:
    folder = tmp_path / "layouts"
    assert list(images_in_layouts(folder)) == []
    folder.mkdir()
    write_image([report.archive], folder / "b.oci", session)
    write_image([report.archive], folder / "b.oci", session, name="again")
    write_image([report.archive], folder / "a.oci.tar", session)
    write_layers(folder / "c.oci", [tars.file("x") + tars.END])  # of somebody else
    (folder / "notes.txt").touch()
    (folder / "empty").mkdir()
    assert list(images_in_layouts(folder)) == [
        found(f"{folder}/a.oci.tar:small", report),
        found(f"{folder}/b.oci:again", report),
        found(f"{folder}/b.oci:small", report),
    ]


def test_a_layout_that_is_damaged_cannot_be_searched(
    small: Small, session: Session, report: BuildReport, tmp_path: Path
) -> None:
    write_image([report.archive], tmp_path / "layouts" / "a.oci", session)
    blobs = tmp_path / "layouts" / "a.oci" / "blobs" / "sha256"
    for path in blobs.iterdir():
        if path.stat().st_size < 5000 and b"annotations" in path.read_bytes():
            path.write_bytes(b"{}")
    with pytest.raises(IntegrityError):
        list(images_in_layouts(tmp_path / "layouts"))


def test_images_of_a_repository_and_one_by_its_tag(
    small: Small, session: Session, report: BuildReport, tmp_path: Path
) -> None:
    with docker_registry(tmp_path / "registry") as host:
        place = f"oci://{host}/envs/small"
        for tag in ("v1", "v2", "builds.0123456789abcdef.x"):  # the last is an object of a store
            api.push(report.archive, to=f"{place}:{tag}", session=session)
        names = {one.name: one for one in images_in_registry(parse_reference(place), Settings())}
        assert names == {name: found(name, report) for name in (f"{place}:v1", f"{place}:v2")}
        (one,) = images_in_registry(parse_reference(f"{place}:v2"), Settings())
        assert one == found(f"{place}:v2", report)
        assert list(images_in_registry(parse_reference(f"{place}:gone"), Settings())) == []


def test_a_registry_that_does_not_answer() -> None:
    with pytest.raises(StoreError):
        list(images_in_registry(parse_reference("oci://127.0.0.1:9/envs"), Settings()))
