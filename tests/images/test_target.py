"""Writing into a layout that is there: nothing of it is lost, whatever happens and whoever else writes there."""

from __future__ import annotations

import contextlib
import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from envbuilder.errors import AssembleError, IntegrityError, RecipeError
from envbuilder.images import write
from envbuilder.images.layout import Layout, open_layout
from envbuilder.images.target import extending
from envbuilder.images.write import write_image
from envbuilder.progress import SILENT
from envbuilder.registry.documents import MANIFEST, REF_NAME, Descriptor, Index
from envbuilder.store.session import Session
from envbuilder.util.interruption import Interrupted
from tests.helpers import tars
from tests.helpers.images import missing_blobs, tree_of, write_layers, write_named
from tests.helpers.small import Small
from tests.hostile import test_odd_files

END = bytes(1024)


@pytest.fixture
def archive(small: Small, session: Session) -> Path:
    return small.build(store=session.store).archive


def names(layout: Path) -> list[str]:
    return sorted(one.annotations.get(REF_NAME, "") for one in Layout(layout).index().manifests)


@contextlib.contextmanager
def interrupted() -> Iterator[None]:
    yield
    raise Interrupted(2)


def test_an_interrupt_after_the_image_is_named(
    archive: Path, session: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "image"
    write_named(out, [tars.file("a", b"1") + END], "other")
    monkeypatch.setattr(write, "shielded", interrupted)  # raises what came while it was held back
    with pytest.raises(Interrupted):
        write_image([archive], out, session)
    assert names(out) == ["other", "small"]
    assert missing_blobs(out) == []


def test_an_interrupt_before_that_leaves_the_layout_as_it_was(
    archive: Path, session: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "image"
    write_named(out, [tars.file("a", b"1") + END], "other")
    before = tree_of(out)

    def name(*_: object) -> None:
        raise Interrupted(2)

    monkeypatch.setattr(Layout, "name", name)
    with pytest.raises(Interrupted):
        write_image([archive], out, session)
    assert tree_of(out) == before


def test_blobs_that_others_put_there_are_not_removed(tmp_path: Path) -> None:
    out = tmp_path / "image"
    write_layers(out, [tars.file("a", b"1") + END])
    other = Layout(out).blob("ab" * 32)

    def write_and_fail() -> None:
        with extending(out, SILENT) as layout:
            layout.put(b"own", Descriptor(media_type="a/b", digest=f"sha256:{'cd' * 32}", size=3))
            other.write_bytes(b"of another tool, which takes no lock")
            raise OSError

    with pytest.raises(OSError):  # noqa: PT011  # it is this test's own
        write_and_fail()
    assert other.is_file()
    assert not Layout(out).blob("cd" * 32).exists()


def test_two_at_once(
    archive: Path, session: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both read the index, and both write it: one after the other."""
    index = Layout.index

    def slow(layout: Layout) -> Index:
        found = index(layout)
        time.sleep(0.1)
        return found

    monkeypatch.setattr(Layout, "index", slow)
    out = tmp_path / "image"
    write_named(out, [tars.file("a", b"1") + END], "other")
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(lambda name: write_image([archive], out, session, name=name), ("a", "b", "c")))
    assert names(out) == ["a", "b", "c", "other"]
    assert missing_blobs(out) == []


def test_one_that_fails_leaves_what_the_other_writes(archive: Path, session: Session, tmp_path: Path) -> None:
    out = tmp_path / "image"
    write_named(out, [tars.file("a", b"1") + END], "other")
    done = threading.Event()

    def write_it() -> None:
        write_image([archive], out, session)
        done.set()

    with ThreadPoolExecutor(1) as pool:

        def fail() -> None:
            with extending(out, SILENT):
                pool.submit(write_it)
                assert not done.wait(0.5), "it waits"
                raise RuntimeError

        with pytest.raises(RuntimeError):
            fail()
    assert done.is_set()
    assert names(out) == ["other", "small"]
    assert missing_blobs(out) == []


def test_two_who_make_the_same_layout(
    archive: Path, session: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "image"
    made: list[Path] = []

    @contextlib.contextmanager
    def shielded() -> Iterator[None]:
        if not made:  # between this one's look and its rename, another one makes the layout
            made.append(out)
            write_named(out, [tars.file("a", b"1") + END], "other")
        yield

    monkeypatch.setattr(write, "shielded", shielded)
    write_image([archive], out, session)
    assert names(out) == ["other", "small"]
    assert missing_blobs(out) == []


# -- what is not replaced ----------------------------------------------------------------------------


def letter(path: Path) -> None:
    path.write_text("dear")


def a_tar(path: Path) -> None:
    path.write_bytes(tars.file("backup", b"mine") + END)


def folder_of_mine(path: Path) -> None:
    path.mkdir()
    letter(path / "letter")


@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("backup.tar", a_tar),
        ("backup.tar", None),
        ("backup.tar.gz", None),
        ("mine.oci.tar", letter),
        ("mine.oci.tar", a_tar),
        ("mine.oci", folder_of_mine),
        ("mine.oci", letter),
    ],
)
def test_only_a_layout_is_replaced(
    name: str, make: Callable[[Path], object] | None, session: Session, tmp_path: Path
) -> None:
    out = tmp_path / "out" / name
    out.parent.mkdir()
    if make is not None:
        make(out)
    before = tree_of(out.parent)
    with pytest.raises(RecipeError, match=r"exists and is not an image layout|is called like an archive"):
        write_image([tmp_path / "not looked at.tar.gz"], out, session)
    assert tree_of(out.parent) == before


def test_what_another_tool_wrote_into_the_index_is_kept(
    archive: Path, session: Session, tmp_path: Path
) -> None:
    out = tmp_path / "image"
    top = write_layers(out, [tars.file("a", b"1") + END])
    foreign = {
        "mediaType": MANIFEST,
        "digest": top.digest,
        "size": top.size,
        "annotations": {REF_NAME: "foreign"},
        "platform": {"os": "windows", "architecture": "arm", "variant": "v7", "os.version": "10.0"},
        "urls": ["https://example.com/a"],
    }
    document = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "annotations": {"com.example": "kept"},
        "subject": {"mediaType": MANIFEST, "digest": top.digest, "size": top.size},
        "manifests": [foreign],
    }
    (out / "index.json").write_text(json.dumps(document))
    write_image([archive], out, session)
    after = json.loads((out / "index.json").read_text())
    ours = [one for one in after["manifests"] if one["annotations"][REF_NAME] == "small"]
    assert len(ours) == 1
    assert {**after, "manifests": []} == {**document, "manifests": []}
    assert [one for one in after["manifests"] if one not in ours] == [foreign]


def test_a_damaged_blob_is_mended_by_what_the_error_says(
    archive: Path, session: Session, tmp_path: Path
) -> None:
    from envbuilder.transfer.image_checks import open_target

    out = tmp_path / "image.oci"
    report = write_image([archive], out, session)
    before = tree_of(out)
    largest = max((out / "blobs" / "sha256").iterdir(), key=lambda path: path.stat().st_size)
    data = largest.read_bytes()
    largest.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    with (
        pytest.raises(Exception, match="does not match its name") as raised,
        open_target(str(out), session),
    ):
        pass
    assert f"remove {largest}, then `envbuilder image ARCHIVE -o {out}` writes it again" in str(raised.value)
    largest.unlink()
    assert write_image([archive], out, session).digest == report.digest
    assert tree_of(out) == before


def test_a_disk_that_is_full_is_told_from_other_errors(
    archive: Path, session: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def denied(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "pread", denied)
    with pytest.raises(AssembleError, match="Permission denied") as raised:
        write_image([archive], tmp_path / "image", session, elsewhere="go away")
    assert raised.value.hint == "go away"
    monkeypatch.setattr(os, "pread", full)
    with pytest.raises(AssembleError, match="No space left") as raised:
        write_image([archive], tmp_path / "image", session)
    assert raised.value.hint == "--output names another place, with room for a second copy of the archive"


# -- odd files ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", test_odd_files.KINDS)
@pytest.mark.parametrize("what", ["oci-layout", "index.json", "blob"])
def test_something_else_where_a_file_of_a_layout_should_be(kind: str, what: str, tmp_path: Path) -> None:
    """Nobody waits for it."""
    out = tmp_path / "image"
    top = write_layers(out, [tars.file("a", b"1") + END])
    place = Layout(out).blob(top.sha256) if what == "blob" else out / what
    place.unlink()
    test_odd_files.put(kind, place)
    with pytest.raises(IntegrityError):
        Layout(out).used()


@pytest.mark.parametrize("kind", test_odd_files.KINDS)
def test_something_else_that_is_called_like_a_tar_of_a_layout(kind: str, tmp_path: Path) -> None:
    place = test_odd_files.put(kind, tmp_path / "x.oci.tar")
    with pytest.raises(IntegrityError), open_layout(place) as layout:
        layout.index()
