from __future__ import annotations

import dataclasses
import json
import os
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest

from envbuilder import api
from envbuilder.errors import DeployError, IntegrityError, RecipeError
from envbuilder.images.layout import Layout, TarLayout, open_layout
from envbuilder.images.write import default_layout, write_image
from envbuilder.registry.documents import REF_NAME
from envbuilder.store.local import Store
from envbuilder.store.session import Session
from tests.helpers.environments import environment, pack
from tests.helpers.images import buildah, extracted, inspected, skopeo, tree_of, umoci
from tests.helpers.small import Small


def test_layers_are_segments_and_the_tree_is_the_archive_s(
    small: Small, session: Session, tmp_path: Path
) -> None:
    archive = small.build(store=session.store).archive
    report = write_image([archive], tmp_path / "image", session)
    expected = extracted(archive, tmp_path / "extracted")
    assert umoci(tmp_path / "image", "small", tmp_path / "bundle") == expected
    manifest = inspected(tmp_path / "image", "small")
    comments = json.loads(skopeo("inspect", "--config", "--raw", f"oci:{tmp_path}/image:small"))
    names = [one["comment"] for one in comments["history"]]
    assert names[0] == "base"
    assert names[-1] == "environment"
    assert report.layers == len(names) == len(manifest["layers"]) == len(comments["rootfs"]["diff_ids"])
    assert manifest["annotations"]["dev.envbuilder.recipe"] == "small"
    assert manifest["annotations"]["org.opencontainers.image.created"] == "1980-01-01T00:00:00Z"
    assert comments["config"]["Labels"]["dev.envbuilder.triton"] == small.lock.release


def test_buildah_pulls_and_mounts_the_same_tree(small: Small, session: Session, tmp_path: Path) -> None:
    archive = small.build(store=session.store).archive
    write_image([archive], tmp_path / "image", session)
    expected = extracted(archive, tmp_path / "extracted")
    assert buildah(tmp_path / "image", "small", tmp_path / "storage") == expected


def test_the_same_image_on_every_machine(small: Small, session: Session, tmp_path: Path) -> None:
    archive = small.build(store=session.store).archive
    first = write_image([archive], tmp_path / "first", session)
    elsewhere = Session(settings=small.settings, store=Store.open(tmp_path / "other store"))
    os.umask(old := os.umask(0o077))
    try:
        os.umask(0o077)
        second = write_image([archive], tmp_path / "second", elsewhere)
    finally:
        os.umask(old)
    assert first.digest == second.digest
    lazy = write_image([archive], tmp_path / "lazy", session, estargz=True)
    assert lazy.digest != first.digest
    assert write_image([archive], tmp_path / "lazy 2", elsewhere, estargz=True).digest == lazy.digest
    assert second.hashed == second.size
    assert tree_of(tmp_path / "first").keys() == tree_of(tmp_path / "second").keys()


def test_nothing_is_hashed_twice(small: Small, session: Session, tmp_path: Path) -> None:
    archive = small.build(store=session.store).archive
    first = write_image([archive], tmp_path / "image", session)
    assert first.hashed == first.size == first.written
    again = write_image([archive], tmp_path / "image", session)
    assert (again.hashed, again.written, again.digest) == (0, 0, first.digest)
    other = write_image([archive], tmp_path / "other", session)
    assert (other.hashed, other.written, other.digest) == (0, first.size, first.digest)


def test_a_plain_archive_has_plain_layers(small: Small, session: Session, tmp_path: Path) -> None:
    archive = small.with_pack(uncompressed=True).build(store=session.store).archive
    report = write_image([archive], tmp_path / "image", session)
    assert umoci(tmp_path / "image", "small", tmp_path / "bundle") == extracted(
        archive, tmp_path / "extracted"
    )
    kinds = {layer["mediaType"] for layer in inspected(tmp_path / "image", "small")["layers"]}
    assert kinds == {"application/vnd.oci.image.layer.v1.tar"}
    assert report.hashed == report.size


def test_a_tar_of_a_layout(small: Small, session: Session, tmp_path: Path) -> None:
    archive = small.build(store=session.store).archive
    report = write_image([archive], tmp_path / "image.oci.tar", session)
    assert (
        skopeo("inspect", "--format", "{{.Digest}}", f"oci-archive:{tmp_path}/image.oci.tar").strip()
        == report.digest
    )
    before = (tmp_path / "image.oci.tar").read_bytes()
    write_image([archive], tmp_path / "image.oci.tar", session)
    assert (tmp_path / "image.oci.tar").read_bytes() == before
    with open_layout(tmp_path / "image.oci.tar") as layout:
        assert isinstance(layout, TarLayout)
        assert layout.index().manifests[0].digest == report.digest
    assert sorted(path.name for path in tmp_path.glob(".envbuilder*")) == []
    # What others make of it: Docker's own format, which has each layer as a plain tar.
    skopeo(
        "copy", f"oci-archive:{tmp_path}/image.oci.tar", f"docker-archive:{tmp_path}/docker.tar:small:latest"
    )
    with tarfile.open(tmp_path / "docker.tar") as tar:
        (listed,) = json.load(tar.extractfile("manifest.json"))  # type: ignore[arg-type]  # it is a file
    assert len(listed["Layers"]) == report.layers


def test_two_images_in_one_layout_share_their_layers(small: Small, session: Session, tmp_path: Path) -> None:
    archive = small.build(store=session.store).archive
    lock = dataclasses.replace(small.lock, artifacts=small.lock.artifacts[:1])
    other = (
        dataclasses.replace(small, lock=lock).build(store=session.store, output=tmp_path / "others").archive
    )
    write_image([archive], tmp_path / "image", session, name="one")
    second = write_image([other], tmp_path / "image", session, name="two")
    assert second.written < second.size / 2
    listed = Layout(tmp_path / "image").index().manifests
    assert sorted(one.annotations[REF_NAME] for one in listed) == ["one", "two"]
    assert umoci(tmp_path / "image", "two", tmp_path / "bundle") == extracted(other, tmp_path / "extracted")


def test_the_command_line(small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = small.build().archive
    monkeypatch.setenv("ENVBUILDER_CACHE", str(tmp_path / "store"))
    report = api.image(archive)
    assert (
        report.path == default_layout(archive) == archive.with_name(archive.name.replace(".tar.gz", ".oci"))
    )
    assert report.archives[0].startswith(archive.name.split("-")[1].split(".")[0])


# -- what is wrong ---------------------------------------------------------------------------------


def test_bytes_that_changed(small: Small, session: Session, tmp_path: Path) -> None:
    archive = small.build(store=session.store).archive
    write_image([archive], tmp_path / "image", session)
    data = bytearray(archive.read_bytes())
    data[len(data) // 3] ^= 1
    archive.write_bytes(data)
    with pytest.raises(IntegrityError, match=r"^the archive's bytes of .* have changed since it was built"):
        write_image([archive], tmp_path / "other", session)
    assert not (tmp_path / "other").exists()
    before = tree_of(tmp_path / "image")
    shutil.rmtree(tmp_path / "image" / "blobs")  # so that it is read again
    (tmp_path / "image" / "blobs" / "sha256").mkdir(parents=True)
    with pytest.raises(IntegrityError, match="have changed since it was built"):
        write_image([archive], tmp_path / "image", session)
    # Its blobs may be what the manifest leads to that is gone: they are kept, and nothing else is there.
    assert before.items() > tree_of(tmp_path / "image").items()
    elsewhere = Session(settings=small.settings, store=Store.open(tmp_path / "other store"))
    with pytest.raises(IntegrityError, match="its sha256 begins with"):
        write_image([archive], tmp_path / "other", elsewhere)


def test_an_archive_that_is_cut_off(small: Small, session: Session, tmp_path: Path) -> None:
    archive = small.build(store=session.store).archive
    archive.write_bytes(archive.read_bytes()[:-1000])
    with pytest.raises(IntegrityError, match="does not end where its parts do"):
        write_image([archive], tmp_path / "image", session)


def test_what_is_no_archive(small: Small, session: Session, tmp_path: Path) -> None:
    with pytest.raises(DeployError, match="does not exist"):
        write_image([tmp_path / "gone.tar.gz"], tmp_path / "image", session)
    assert not (tmp_path / "image").exists()


def test_an_archive_of_another_make(session: Session, tmp_path: Path) -> None:
    archive = pack(environment(), tmp_path, listed=environment())
    with pytest.raises(IntegrityError, match="is not packed as this envbuilder packs"):
        write_image([archive], tmp_path / "image", session)


def test_two_archives_of_one_platform(small: Small, session: Session, tmp_path: Path) -> None:
    archive = small.build(store=session.store).archive
    with pytest.raises(RecipeError, match=r"^two of the archives are for linux/amd64"):
        write_image([archive, archive], tmp_path / "image", session)


def test_a_place_that_is_taken(small: Small, session: Session, tmp_path: Path) -> None:
    archive = small.build(store=session.store).archive
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter").write_text("dear")
    with pytest.raises(RecipeError, match="exists and is not an image layout"):
        write_image([archive], tmp_path / "mine", session)
    (tmp_path / "file").write_text("dear")
    with pytest.raises(RecipeError, match="exists and is not an image layout"):
        write_image([archive], tmp_path / "file", session)
    assert (tmp_path / "file").read_text() == "dear"


def test_a_day_of_one_s_own(
    small: Small, session: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = small.build(store=session.store).archive
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    write_image([archive], tmp_path / "image", session)
    created = inspected(tmp_path / "image", "small")["annotations"]["org.opencontainers.image.created"]
    assert created == "2023-11-14T22:13:20Z"
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "today")
    with pytest.raises(RecipeError, match="'today' is not a number of seconds"):
        write_image([archive], tmp_path / "image", session)


# -- a real one ------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.network
def test_umoci_unpacks_a_real_one_rootless(numpy_archive: Path, store: Store, tmp_path: Path) -> None:
    write_image([numpy_archive], tmp_path / "numpy.oci", Session(store=store))
    unpacked = umoci(tmp_path / "numpy.oci", "numpy", tmp_path / "rootless", rootless=True)
    assert unpacked == extracted(numpy_archive, tmp_path / "extracted")
    layers = inspected(tmp_path / "numpy.oci", "numpy")["layers"]
    assert any("numpy-" in layer["annotations"]["dev.envbuilder.segments"] for layer in layers)
    program = tmp_path / "rootless" / "rootfs" / "bin" / "python3"
    done = subprocess.run(
        [program, "-I", "-B", "-c", "import numpy; print(numpy.ones(2).sum())"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stdout, done.returncode) == ("2.0\n", 0), done.stderr
