"""Environments in their folder: whose they are, how they come, and how they go."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from envbuilder.archive.manifest import Manifest, manifest_beside, read_manifest
from envbuilder.deployment.placement import delete_environment, is_ours, kept_entries, place_environment
from envbuilder.deployment.record import Record, read_record, record_beside
from envbuilder.deployment.tree import Environment, Keep, Text
from envbuilder.errors import DeployError, IntegrityError
from envbuilder.progress import SILENT
from envbuilder.util.files import file_sha256
from tests.deployment.conftest import tree, write_archive


@pytest.fixture(params=[False, True], ids=["archive", "unpacked"])
def entry(archive: Path, request: pytest.FixtureRequest) -> Environment:
    return Environment(archive=archive, sha256=file_sha256(archive), unpacked=request.param)


@pytest.fixture
def place(entry: Environment, tmp_path: Path) -> Path:
    """Where it is to lie."""
    (tmp_path / "environments").mkdir()
    name = entry.archive.name
    return tmp_path / "environments" / (name.removesuffix(".tar.gz") if entry.unpacked else name)


def manifest_of(entry: Environment) -> Manifest:
    return read_manifest(manifest_beside(entry.archive))


def record_of(entry: Environment, place: Path) -> Record:
    return Record(environment=place.name, sha256=entry.sha256, recipe="tiny", release="25.06")


def placed(place: Path, entry: Environment) -> bool:
    return place_environment(place, entry, record_of(entry, place), SILENT)


def test_what_is_placed_comes_with_its_record_and_goes_with_it(place: Path, entry: Environment) -> None:
    assert is_ours(place, entry, manifest_of(entry)), "nothing is there"
    assert placed(place, entry)
    assert read_record(place) == record_of(entry, place)
    inside = place / "bin" / "activate" if entry.unpacked else place
    assert inside.is_file()
    before = tree(place.parent)
    assert not placed(place, entry)
    assert tree(place.parent) == before
    assert is_ours(place, entry, manifest_of(entry))
    delete_environment(place, SILENT)
    assert list(place.parent.iterdir()) == []


def test_without_a_record_it_is_placed_alone(place: Path, entry: Environment) -> None:
    assert place_environment(place, entry, None, SILENT)
    assert os.listdir(place.parent) == [place.name]


def test_somebody_elses_with_the_same_content_is_used_and_is_not_ours(
    place: Path, entry: Environment
) -> None:
    placed(place, entry)
    record_beside(place).unlink()
    assert not is_ours(place, entry, manifest_of(entry))


def test_an_archive_that_lies_there_itself_is_not_ours(archive: Path) -> None:
    entry = Environment(archive=archive, sha256="0" * 64, unpacked=False)
    assert not is_ours(archive, entry, manifest_of(entry)), "the very file, whatever its digest"


def test_somebody_elses_with_other_content_is_refused(place: Path, entry: Environment) -> None:
    said = f"{place} already exists with different content, and was not written by a deployment"
    if entry.unpacked:
        place.mkdir()
    else:
        place.write_bytes(bytes(entry.archive.stat().st_size))
    for _ in ("content", "link"):
        with pytest.raises(DeployError) as caught:
            is_ours(place, entry, manifest_of(entry))
        assert (caught.value.message, caught.value.hint) == (said, "move it away, then deploy again")
        shutil.rmtree(place) if entry.unpacked and not place.is_symlink() else place.unlink()
        place.symlink_to(entry.archive)


def test_another_kind_than_the_one_to_be_placed_is_refused(place: Path, entry: Environment) -> None:
    if entry.unpacked:
        place.write_bytes(b"")
    else:
        place.mkdir()
    with pytest.raises(DeployError, match="different content"):
        is_ours(place, entry, manifest_of(entry))


def test_an_archive_that_changed_meanwhile_is_not_placed(place: Path, entry: Environment) -> None:
    with entry.archive.open("ab") as file:
        file.write(b"x")
    with pytest.raises(IntegrityError):
        placed(place, entry)
    assert list(place.parent.iterdir()) == []


# -- what stays in a folder that is replaced -------------------------------------------------------


def test_deployed_environments_and_somebody_elses_stay_but_for_the_deleted(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    ours, gone, planned, theirs = (
        write_archive(folder, recipe=name) for name in ("ours", "gone", "planned", "theirs")
    )
    for manifest in folder.glob("*.json"):
        manifest.unlink()
    for path in (ours, gone, planned):
        sha256 = file_sha256(path)
        record = Record(environment=path.name, sha256=sha256, recipe="tiny", release="25.06")
        record_beside(path).write_bytes(record.text())
    record_beside(theirs).write_text("not a record, and theirs too")
    (folder / "labels.txt").touch()
    plan = {f"{planned.name}/x": Text(data=b"")}
    kept = kept_entries(folder, plan, [gone])
    assert kept == {
        name: Keep()
        for name in (
            ours.name,
            record_beside(ours).name,
            record_beside(planned).name,
            theirs.name,
            record_beside(theirs).name,
        )
    }
    assert list(kept) == sorted(kept)


def test_what_the_configuration_names_stays(tmp_path: Path) -> None:
    (tmp_path / "named").touch()
    assert kept_entries(tmp_path, {}, [], "named") == {"named": Keep()}
    assert kept_entries(tmp_path, {}, [tmp_path / "named"], "named") == {}
    assert kept_entries(tmp_path, {}, [], "gone") == {}
