"""OCI image layouts: blobs by their digest, the index of what stands in them, and the tar of one."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from envbuilder.errors import IntegrityError
from envbuilder.images.layout import Layout, TarLayout, open_layout, read_small, write_tar
from envbuilder.registry.documents import CONFIG, INDEX, LAYER_GZIP, REF_NAME, Descriptor, Index, describe
from tests.helpers import tars
from tests.helpers.images import write_layers

LAYER = tars.file("etc/motd", b"hello") + bytes(1024)


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    """A layout with one image, called ``image``."""
    write_layers(tmp_path / "image", [LAYER])
    return Layout(tmp_path / "image")


def names(layout: Layout) -> list[str]:
    return [one.annotations[REF_NAME] for one in layout.index().manifests]


# -- blobs -----------------------------------------------------------------------------------------


def test_a_blob_is_written_once_and_read_back(tmp_path: Path) -> None:
    layout = Layout(tmp_path / "new")
    layout.begin()
    described = describe(b"content", LAYER_GZIP)
    assert not layout.holds(described)
    assert layout.put(b"content", described) is described
    assert layout.holds(described)
    assert layout.made == {described.sha256}
    assert b"".join(layout.read(described)) == read_small(layout, described) == b"content"
    with layout.ranges(described) as read:
        assert (read(2, 3), read(5, 100)) == (b"nte", b"nt")
    before = layout.blob(described.sha256).stat().st_mtime_ns
    again = Layout(tmp_path / "new")
    again.put(b"content", described)
    assert again.made == set()
    assert layout.blob(described.sha256).stat().st_mtime_ns == before


def test_a_draft_is_moved_in(layout: Layout, tmp_path: Path) -> None:
    described = describe(b"draft", LAYER_GZIP)
    (tmp_path / "draft").write_bytes(b"draft")
    layout.take(tmp_path / "draft", described.sha256)
    assert not (tmp_path / "draft").exists()
    assert b"".join(layout.read(described)) == b"draft"
    assert described.sha256 in layout.made


@pytest.mark.parametrize("content", [b"changed", b"conten", b"content and more", b""])
def test_a_damaged_blob_is_refused_and_how_to_mend_it_is_told(layout: Layout, content: bytes) -> None:
    described = layout.put(b"content", describe(b"content", LAYER_GZIP))
    layout.blob(described.sha256).write_bytes(content)
    with pytest.raises(IntegrityError, match="does not match its name") as caught:
        list(layout.read(described))
    assert caught.value.hint == (
        f"remove {layout.blob(described.sha256)}, "
        f"then `envbuilder image ARCHIVE -o {layout.folder}` writes it again"
    )


def test_a_blob_that_is_not_there(layout: Layout) -> None:
    described = describe(b"none", LAYER_GZIP)
    with pytest.raises(IntegrityError, match=r"cannot be read: No such file or directory\n"):
        list(layout.read(described))


def test_a_document_may_only_be_so_large(layout: Layout) -> None:
    large = Descriptor(media_type=CONFIG, digest="sha256:" + "1" * 64, size=2**30)
    with pytest.raises(IntegrityError, match="has 1073741824 bytes: too many for a document"):
        read_small(layout, large)


# -- the index -------------------------------------------------------------------------------------


def test_an_image_takes_the_place_of_one_of_its_name(layout: Layout) -> None:
    (first,) = layout.index().manifests
    layout.name(first, "another")
    assert names(layout) == ["another", "image"]
    other = write_layers(layout.folder, [LAYER], config={"architecture": "arm64"})  # called image
    assert [(one.annotations[REF_NAME], one.digest) for one in layout.index().manifests] == [
        ("another", first.digest),
        ("image", other.digest),
    ]


def test_what_others_wrote_into_an_index_stays(layout: Layout) -> None:
    path = layout.folder / "index.json"
    document = json.loads(path.read_text())
    document["x-ours"] = {"a": 1}
    nameless = {**document["manifests"][0], "annotations": None, "x-more": [2]}
    document["manifests"].append(nameless)
    path.write_text(json.dumps(document))
    (image, _) = layout.index().manifests
    layout.name(image, "z")
    after = json.loads(path.read_text())
    assert after["x-ours"] == {"a": 1}
    assert nameless in after["manifests"]
    assert [(one["annotations"] or {}).get(REF_NAME) for one in after["manifests"]] == [None, "image", "z"]


def test_everything_that_the_index_leads_to_is_used(layout: Layout) -> None:
    blobs = {path.name for path in (layout.folder / "blobs" / "sha256").iterdir()}
    (image,) = layout.index().manifests
    layout.put(b"left over", describe(b"left over", LAYER_GZIP))
    assert layout.used() == blobs
    text = Index(manifests=(image,)).text()
    inner = layout.put(text, describe(text, INDEX))
    layout.name(inner, "image")
    assert layout.used() == {*blobs, inner.sha256}
    layout.blob(image.sha256).write_bytes(b"{}")
    with pytest.raises(IntegrityError):
        layout.used()


def _write(name: str, text: str) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_text(text)


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda folder: (folder / "oci-layout").unlink(), "is not an OCI image layout: .*oci-layout"),
        (lambda folder: (folder / "index.json").unlink(), "is not an OCI image layout: .*index.json"),
        (_write("oci-layout", '{"imageLayoutVersion": "2.0.0"}'), "imageLayoutVersion: "),
        (_write("oci-layout", "x"), "is not JSON"),
        (_write("index.json", "x"), "is not JSON"),
    ],
)
def test_what_is_no_layout(layout: Layout, damage: Callable[[Path], object], said: str) -> None:
    damage(layout.folder)
    with pytest.raises(IntegrityError, match=said):
        layout.index()


def test_a_manifest_is_no_index(layout: Layout) -> None:
    (image,) = layout.index().manifests
    (layout.folder / "index.json").write_bytes(read_small(layout, image))
    with pytest.raises(IntegrityError, match=r"index\.json is not an index\n"):
        layout.index()


# -- the tar of one --------------------------------------------------------------------------------


@pytest.fixture
def tarred(layout: Layout, tmp_path: Path) -> Path:
    write_tar(layout, tmp_path / "image.oci.tar")
    return tmp_path / "image.oci.tar"


def test_a_tar_holds_what_the_folder_holds(layout: Layout, tarred: Path, tmp_path: Path) -> None:
    with open_layout(tarred) as opened, open_layout(layout.folder) as folder:
        assert isinstance(opened, TarLayout)
        assert not isinstance(folder, TarLayout)
        assert opened.index() == folder.index() == layout.index()
        assert opened.used() == folder.used()
        (image,) = opened.index().manifests
        assert read_small(opened, image) == read_small(folder, image)
        with opened.ranges(image) as one, folder.ranges(image) as other:
            assert one(5, 50) == other(5, 50)
    write_tar(layout, tmp_path / "again.oci.tar")
    assert (tmp_path / "again.oci.tar").read_bytes() == tarred.read_bytes()
    with pytest.raises(FileExistsError):
        write_tar(layout, tarred)


def test_a_tar_that_is_cut_off(layout: Layout, tarred: Path) -> None:
    whole = tarred.read_bytes()
    for kept in (700, len(whole) - 6000):
        tarred.write_bytes(whole[:kept])
        with pytest.raises(IntegrityError):
            read_all(tarred, layout)


def read_all(path: Path, like: Layout) -> None:
    """Read every blob that the layout *like* has from the tar at *path*."""
    with open_layout(path) as opened:
        for sha256 in sorted(like.used()):
            size = like.blob(sha256).stat().st_size
            list(opened.read(Descriptor(media_type=CONFIG, digest=f"sha256:{sha256}", size=size)))


def test_a_tar_that_lacks_a_blob(layout: Layout, tmp_path: Path) -> None:
    (image,) = layout.index().manifests
    layout.blob(image.sha256).unlink()
    write_tar(layout, tmp_path / "less.tar")
    with (
        open_layout(tmp_path / "less.tar") as opened,
        pytest.raises(IntegrityError, match=f"has no blobs/sha256/{image.sha256}"),
    ):
        list(opened.read(image))


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"no tar" * 300, "is not a tar: "),
        (tars.file("etc/motd", b"hello") + tars.END, "is not a tar of an OCI image layout"),
        (tars.file("index.json", b"{}") + tars.END, "is not a tar of an OCI image layout"),
    ],
)
def test_what_is_no_tar_of_a_layout(tmp_path: Path, data: bytes, said: str) -> None:
    (tmp_path / "x.tar").write_bytes(data)
    with pytest.raises(IntegrityError, match=said), open_layout(tmp_path / "x.tar") as opened:
        opened.index()


def test_a_place_where_nothing_is(tmp_path: Path) -> None:
    with pytest.raises(IntegrityError, match="cannot be read: No such file"), open_layout(tmp_path / "none"):
        pass
