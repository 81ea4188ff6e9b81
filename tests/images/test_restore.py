"""The archive of an image again: read from the image, or from archives that are here already."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from envbuilder.archive.manifest import manifest_beside
from envbuilder.errors import IntegrityError, StoreError
from envbuilder.images.layout import Layout
from envbuilder.images.restore import restore_archive
from envbuilder.images.write import write_image
from envbuilder.registry.documents import Descriptor
from envbuilder.store.local import Store
from envbuilder.store.session import Session
from tests.helpers.images import read
from tests.helpers.small import Small


class Counting:
    """The blobs of a layout, and which of them were read."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self.place = layout.place
        self.bytes = 0

    def read(self, wanted: Descriptor) -> Iterator[bytes]:
        self.bytes += wanted.size
        return self._layout.read(wanted)


@pytest.fixture
def archive(small: Small) -> Path:
    return small.build().archive


@pytest.fixture
def image(archive: Path, session: Session, tmp_path: Path) -> Path:
    write_image([archive], tmp_path / "image", session)
    return tmp_path / "image"


@pytest.fixture
def new(tmp_path: Path) -> Session:
    """A session of a machine that knows nothing of the image."""
    return Session(store=Store.open(tmp_path / "new store"))


def test_byte_for_byte_with_its_manifest(archive: Path, image: Path, new: Session, tmp_path: Path) -> None:
    layout, read_ = read(image)
    blobs = Counting(layout)
    done = restore_archive(blobs, read_, tmp_path / "out", new)
    assert done.archive == tmp_path / "out" / archive.name
    assert done.archive.read_bytes() == archive.read_bytes()
    assert manifest_beside(done.archive).read_bytes() == manifest_beside(archive).read_bytes()
    assert (done.sha256, done.size) == (read_.archive, archive.stat().st_size)
    layers = sum(layer.size for layer in read_.manifest.layers)
    assert (done.fetched, blobs.bytes) == (layers, layers)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(
        (archive.name, manifest_beside(archive).name)
    )


def test_one_that_is_there_is_not_read_again(image: Path, new: Session, tmp_path: Path) -> None:
    layout, read_ = read(image)
    done = restore_archive(layout, read_, tmp_path / "out", new)
    before = done.archive.stat().st_mtime_ns
    manifest_beside(done.archive).unlink()
    blobs = Counting(layout)
    again = restore_archive(blobs, read_, tmp_path / "out", new)
    assert (again.fetched, blobs.bytes, again.here) == (0, 0, again.size)
    assert (again.archive, again.manifest) == (done.archive, done.manifest)
    assert done.archive.stat().st_mtime_ns == before


def test_one_that_is_damaged_is_written_anew(
    archive: Path, image: Path, new: Session, tmp_path: Path
) -> None:
    layout, read_ = read(image)
    done = restore_archive(layout, read_, tmp_path / "out", new)
    done.archive.write_bytes(bytes(done.size))
    # The store says that its layers are in the very archive that is damaged: they are fetched after all.
    again = restore_archive(layout, read_, tmp_path / "out", new)
    assert again.archive.read_bytes() == archive.read_bytes()
    assert again.fetched == done.fetched


def test_layers_that_another_archive_has_are_taken_from_it(
    small: Small, image: Path, session: Session, new: Session, tmp_path: Path
) -> None:
    lock = dataclasses.replace(small.lock, artifacts=small.lock.artifacts[:1])
    other = dataclasses.replace(small, lock=lock).build(output=tmp_path / "others").archive
    write_image([other], tmp_path / "other image", session)
    layout, first = read(image)
    restore_archive(layout, first, tmp_path / "out", new)
    layout, second = read(tmp_path / "other image")
    blobs = Counting(layout)
    done = restore_archive(blobs, second, tmp_path / "out", new)
    assert done.archive.read_bytes() == other.read_bytes()
    assert 0 < done.fetched == blobs.bytes < done.size / 2
    assert done.here == done.size - len(second.tail) - done.fetched + len(second.tail)


# -- what is wrong ---------------------------------------------------------------------------------


def test_a_damaged_layer_leaves_nothing(image: Path, new: Session, tmp_path: Path) -> None:
    layout, read_ = read(image)
    path = layout.blob(read_.manifest.layers[0].sha256)
    path.write_bytes(bytes(path.stat().st_size))
    with pytest.raises(IntegrityError, match="does not match its name"):
        restore_archive(layout, read_, tmp_path / "out", new)
    assert not (tmp_path / "out").exists() or list((tmp_path / "out").iterdir()) == []


def test_layers_that_do_not_make_the_archive(image: Path, new: Session, tmp_path: Path) -> None:
    layout, read_ = read(image)
    annotations = {
        name: "0" * 64 if value == read_.archive else value
        for name, value in read_.manifest.annotations.items()
    }
    other = dataclasses.replace(read_, manifest=dataclasses.replace(read_.manifest, annotations=annotations))
    with pytest.raises(IntegrityError, match="do not make the archive 000000000000 that it names"):
        restore_archive(layout, other, tmp_path / "out", new)
    assert not (tmp_path / "out").exists() or list((tmp_path / "out").iterdir()) == []


def test_a_folder_that_cannot_be_written(image: Path, new: Session, tmp_path: Path) -> None:
    layout, read_ = read(image)
    (tmp_path / "out").write_text("a file")
    with pytest.raises(StoreError) as caught:
        restore_archive(layout, read_, tmp_path / "out", new, elsewhere="take another one")
    assert caught.value.message.startswith(f"the archive cannot be written to {tmp_path / 'out'}: ")
    assert caught.value.hint == "take another one"


def test_a_disk_without_room(image: Path, new: Session, tmp_path: Path, tmpfs: Callable[..., Path]) -> None:
    layout, read_ = read(image)
    output = tmpfs("tiny", "size=64k")
    with pytest.raises(StoreError, match=r"^no space left in .*/tiny: .* are needed, .* are free\n"):
        restore_archive(layout, read_, output, new)
    assert list(output.iterdir()) == []
