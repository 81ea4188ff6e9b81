"""Images as they are read: indexes of several platforms, kinds of layers, names that a layout gives."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from envbuilder.errors import IntegrityError
from envbuilder.images.layout import Layout
from envbuilder.images.named import only_image
from envbuilder.images.read import read_image
from envbuilder.images.restore import restore_archive
from envbuilder.images.write import write_image
from envbuilder.registry.documents import INDEX, Descriptor, Index, Platform, describe
from envbuilder.store.session import Session
from tests.helpers import tars
from tests.helpers.images import skopeo, write_layers
from tests.helpers.small import Small
from tests.helpers.wheels import wheel_members, zip_bytes

LAYER = tars.file("etc/motd", b"hello") + bytes(1024)


def for_arm(small: Small, session: Session, output: Path) -> Path:
    """The archive of the same environment with a wheel for another architecture, which nothing here runs."""
    data = zip_bytes(wheel_members("gamma", "1.0", {"gamma.py": b"X = 1\n"}))
    name = "gamma-1.0-py3-none-manylinux_2_28_aarch64.whl"
    (small.wheelhouse / name).write_bytes(data)
    artifact = dataclasses.replace(
        small.lock.artifacts[0],
        name="gamma",
        version="1.0",
        filename=name,
        size=len(data),
        sha256=sha256(data),
    )
    artifacts = tuple(sorted((*small.lock.artifacts, artifact), key=lambda one: one.name))
    lock = dataclasses.replace(small.lock, artifacts=artifacts)
    return dataclasses.replace(small, lock=lock).build(store=session.store, output=output).archive


def sha256(data: bytes) -> str:
    return describe(data, INDEX).sha256


def test_an_image_for_each_platform(small: Small, session: Session, tmp_path: Path) -> None:
    archive = small.build(store=session.store).archive
    arm = for_arm(small, session, tmp_path / "arm")
    report = write_image([arm, archive], tmp_path / "image", session)
    assert report.platforms == ("linux/arm64", "linux/amd64")
    assert write_image([archive, arm], tmp_path / "again", session).digest == report.digest
    listed = json.loads(skopeo("inspect", "--raw", f"oci:{tmp_path}/image:small"))["manifests"]
    assert [one["platform"]["architecture"] for one in listed] == ["amd64", "arm64"]
    layout = Layout(tmp_path / "image")
    top = only_image(layout.index(), None, layout.place)
    for architecture, expected in (("amd64", archive), ("arm64", arm)):
        text = skopeo("--override-arch", architecture, "inspect", "--config", f"oci:{tmp_path}/image:small")
        assert json.loads(text)["architecture"] == architecture
        image = read_image(layout, top, platform=f"linux/{architecture}")
        restored = restore_archive(layout, image, tmp_path / architecture, session)
        assert restored.archive.read_bytes() == expected.read_bytes()
    with pytest.raises(IntegrityError, match="has no image for linux/s390x: it has linux/amd64, linux/arm64"):
        read_image(layout, top, platform="linux/s390x")
    alone = Layout(tmp_path / "alone")
    write_image([arm], alone.folder, session)
    with pytest.raises(IntegrityError, match="is for linux/arm64, not for linux/amd64"):
        read_image(alone, only_image(alone.index(), None, alone.place))


def put_index(layout: Layout, *listed: Descriptor) -> Descriptor:
    text = Index(manifests=listed).text()
    return layout.put(text, describe(text, INDEX))


def test_what_else_stands_in_an_index(tmp_path: Path) -> None:
    """Other tools list manifests without a platform, and attestations of one that is unknown."""
    layout = Layout(tmp_path / "image")
    image = write_layers(layout.folder, [LAYER])
    other = write_layers(layout.folder, [LAYER], config={"architecture": "arm64"})
    unknown = dataclasses.replace(other, platform=Platform(os="unknown", architecture="unknown"))
    named = dataclasses.replace(image, platform=Platform(os="linux", architecture="amd64"))
    for listed in ((unknown, image), (other, unknown, named)):
        assert read_image(layout, put_index(layout, *listed)).descriptor.digest == image.digest
    with pytest.raises(IntegrityError, match="has no image for linux/amd64: it has unknown/unknown"):
        read_image(layout, put_index(layout, unknown))
    with pytest.raises(IntegrityError, match="is for linux/arm64, not for"):
        read_image(layout, put_index(layout, other))
    with pytest.raises(IntegrityError, match="is an index of indexes"):
        read_image(layout, put_index(layout, put_index(layout, image)))


@pytest.mark.parametrize(
    "kind",
    [
        "application/vnd.oci.image.layer.v1.tar+zstd",
        "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
        "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
    ],
)
def test_layers_that_are_not_read(kind: str, tmp_path: Path) -> None:
    top = write_layers(tmp_path / "image", [LAYER], media_type=kind)
    with pytest.raises(IntegrityError, match=r"a layer's media type is .*, which is not read"):
        read_image(Layout(tmp_path / "image"), top)


def test_names_are_shown_as_text(tmp_path: Path) -> None:
    layout = Layout(tmp_path / "image")
    image = write_layers(layout.folder, [LAYER])
    other = write_layers(layout.folder, [LAYER], config={"architecture": "arm64"})
    layout.name(image, "a\x1b[31m")
    layout.name(other, "b\x9b31m")
    with pytest.raises(IntegrityError, match="name one") as raised:
        only_image(layout.index(), None, layout.place)
    assert not {"\x1b", "\x9b"} & set(str(raised.value))
