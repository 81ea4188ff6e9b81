"""What a runtime makes of layers: order, duplicates, whiteouts; and what hostile layers try."""

from __future__ import annotations

import errno
import gzip
import hashlib
import itertools
import os
import re
from pathlib import Path

import pytest

from envbuilder.archive import stream
from envbuilder.archive.manifest import MANIFEST_PATH
from envbuilder.errors import IntegrityError, VerifyError
from envbuilder.images.unpack import Unpacked, compare_tree, some_of, tree_manifest, unpack
from envbuilder.images.write import write_image
from envbuilder.store.session import Session
from tests.deployment.conftest import make_manifest
from tests.helpers import tars
from tests.helpers.environments import environment, pack
from tests.helpers.images import extracted, read, tree_of, umoci, write_layers
from tests.helpers.small import Small
from tests.hostile import test_escape_codes, test_limits, test_links, test_manifest

END = bytes(1024)


def link(name: str, target: str) -> bytes:
    return tars.header(name, kind=b"2", link=target)


def folder(name: str) -> bytes:
    return tars.header(f"{name}/", kind=b"5", mode=0o755)


def unpacked(tmp_path: Path, *layers: bytes) -> Unpacked:
    write_layers(tmp_path / "image", [layer + END for layer in layers])
    layout, image = read(tmp_path / "image")
    return unpack(layout, image, tmp_path / "scratch")


def test_the_tree_of_an_image_is_the_archive_s(small: Small, session: Session, tmp_path: Path) -> None:
    archive = small.build(store=session.store).archive
    write_image([archive], tmp_path / "image", session)
    layout, image = read(tmp_path / "image")
    found = unpack(layout, image, tmp_path / "scratch")
    assert found.problems == ()
    assert tree_of(found.tree) == extracted(archive, tmp_path / "extracted")
    assert compare_tree(found.tree, tree_manifest(found.tree)) == []
    # And the comparison sees what is not so.
    (found.tree / "lib/python3.11/site-packages/beta.py").write_text("changed")
    (found.tree / "more").write_text("x")
    (found.tree / "lib/python3.11/site-packages/alpha/m1.py").unlink()
    (found.tree / "lib/python3.11/site-packages/alpha/m2.py").chmod(0o600)
    wrong = compare_tree(found.tree, tree_manifest(found.tree))
    assert [line.rpartition("/")[2] for line in wrong] == [
        "more is not in the manifest",
        "m1.py is missing",
        "m2.py has mode 600, not 644",
        "beta.py has other bytes",
    ]


def test_layers_lie_over_each_other(tmp_path: Path) -> None:
    lower = folder("a") + tars.file("a/one", b"1") + tars.file("a/two", b"2") + tars.file("b", b"3")
    upper = tars.file("a/one", b"11") + folder("b") + tars.file("b/in", b"4")
    found = unpacked(tmp_path, lower, upper)
    assert (found.tree / "a/one").read_bytes() == b"11"
    assert (found.tree / "a/two").read_bytes() == b"2"
    assert (found.tree / "b/in").read_bytes() == b"4"
    assert any("replaces a/one of layer 1" in problem for problem in found.problems)
    assert any("puts a folder in the place of a file below: b" in problem for problem in found.problems)
    assert umoci(tmp_path / "image", "image", tmp_path / "bundle") == tree_of(found.tree)


def test_names_in_pax_records_are_utf_8(tmp_path: Path) -> None:
    found = unpacked(tmp_path, tars.pax((b"path", "é".encode())) + tars.file("e", b"1"))
    assert found.problems == ()
    assert (found.tree / "é").read_bytes() == b"1"


def test_whiteouts(tmp_path: Path) -> None:
    lower = (
        tars.file("a/one", b"1")
        + tars.file("a/two", b"2")
        + tars.file("b/three", b"3")
        + tars.file("c/d/e", b"4")
    )
    upper = (
        tars.file("a/.wh.one")
        + tars.file("b/.wh..wh..opq")
        + tars.file("b/four", b"4")
        + tars.file("c/.wh.d")
    )
    found = unpacked(tmp_path, lower, upper)
    files = {name for name, (kind, _, _) in tree_of(found.tree).items() if kind == "file"}
    assert files == {"a/two", "b/four"}
    assert sum("has a whiteout" in problem for problem in found.problems) == 3
    expected = {
        name
        for name, (kind, _, _) in umoci(tmp_path / "image", "image", tmp_path / "bundle").items()
        if kind == "file"
    }
    assert files == expected


@pytest.mark.parametrize(
    ("layers", "kind"),
    [
        ([tars.file("../out", b"x")], "parent"),
        ([tars.file("/abs", b"x")], "absolute"),
        ([link("l", "/etc") + tars.file("l/passwd", b"x")], "outside"),
        ([tars.header("hard", kind=b"1", link="/etc/passwd")], "hard-link"),
        ([tars.header("null", kind=b"3")], "device"),
        ([tars.header("pipe", kind=b"6")], "device"),
        ([tars.file("a", b"x") + tars.file("a", b"y")], "twice"),
    ],
)
def test_hostile_members_are_not_written(layers: list[bytes], kind: str, tmp_path: Path) -> None:
    found = unpacked(tmp_path, *layers)
    assert any(f"({kind})" in problem for problem in found.problems), found.problems
    assert not (tmp_path / "out").exists()
    assert not (tmp_path / "scratch" / "out").exists()


@pytest.mark.parametrize("name", test_links.CASES)
def test_each_hostile_link_as_a_layer(name: str, tmp_path: Path) -> None:
    case = test_links.CASES[name]
    layer = gzip.decompress(pack({**environment(), **case.tree}, tmp_path).read_bytes())
    before = sorted(tmp_path.iterdir())
    write_layers(tmp_path / "image", [layer])
    layout, image = read(tmp_path / "image")
    found = unpack(layout, image, tmp_path / "scratch")
    assert sorted(tmp_path.iterdir()) == sorted([*before, tmp_path / "image", tmp_path / "scratch"])
    assert [path.name for path in (tmp_path / "scratch").iterdir()] == ["tree"]
    told = [problem.partition("): ")[2] for problem in found.problems]
    if case.members is not None:
        assert case.deploy is not None
        kind, _, what = case.deploy.partition(": ")
        if "->" in what and "through" not in what:  # of a link, which is told where links are looked at
            kind, what = "hard-link", case.members.partition(": ")[2]
        assert f"{what} ({kind})" in told
    for path in case.written:
        assert (found.tree / path).is_file()


@pytest.mark.parametrize("name", test_limits.CASES)
def test_each_archive_that_would_take_too_much_as_a_layer(name: str, tmp_path: Path) -> None:
    parts, _ = test_limits.CASES[name]
    blob = b"".join(itertools.islice(parts(), 3))  # a bomb needs no more to be seen
    diff_id = f"sha256:{hashlib.sha256(gzip.decompress(blob)).hexdigest()}"
    write_layers(tmp_path / "image", [blob], packed=True, diff_ids=[diff_id])
    layout, image = read(tmp_path / "image")
    with pytest.raises(IntegrityError, match=r"^layer 1 "):
        unpack(layout, image, tmp_path / "scratch")
    assert (
        sum(path.lstat().st_blocks for path in (tmp_path / "scratch").rglob("*")) * 512
        < 2 * len(blob) + 10**6
    )


@pytest.mark.parametrize("name", test_escape_codes.MEMBERS)
def test_each_hostile_name_in_a_layer(name: str, tmp_path: Path) -> None:
    try:
        found = unpacked(tmp_path, b"".join(test_escape_codes.MEMBERS[name]))
        wrong = compare_tree(found.tree, make_manifest())
        said = some_of([*found.problems, *wrong], 100)
    except IntegrityError as error:
        said = str(error)
    assert [char for char in said.replace("\n  hint: ", "") if not char.isprintable()] == []


@pytest.mark.parametrize("number", range(len(test_manifest.ROWS)))
def test_each_hostile_field_of_a_manifest_in_a_layer(number: int, tmp_path: Path) -> None:
    row = test_manifest.ROWS[number]
    found = unpacked(tmp_path, tars.file(MANIFEST_PATH, test_manifest.changed(row)))
    said = re.escape(f"{MANIFEST_PATH}: {test_manifest.path_said(row)}: {row.said}")
    with pytest.raises(IntegrityError, match=said):
        tree_manifest(found.tree)


def test_a_folder_where_the_manifest_should_be(tmp_path: Path) -> None:
    found = unpacked(tmp_path, folder(MANIFEST_PATH) + tars.file(f"{MANIFEST_PATH}/x"))
    with pytest.raises(IntegrityError, match="the image is not an environment"):
        tree_manifest(found.tree)


def test_layers_of_nothing(tmp_path: Path) -> None:
    """Docker writes a layer without a member for each step that changes no file."""
    found = unpacked(tmp_path, b"", tars.file("a", b"1"), b"")
    assert found.problems == ()
    assert list(tree_of(found.tree)) == ["a"]


def test_a_link_of_one_layer_does_not_lead_the_next_one_out(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    lower = link("lib", str(outside))
    upper = folder("lib") + tars.file("lib/x", b"x") + tars.file("lib/.wh.y") + tars.file("lib/.wh..wh..opq")
    (outside / "y").write_text("mine")
    found = unpacked(tmp_path, lower, upper)
    assert sorted(path.name for path in outside.iterdir()) == ["y"]
    assert (outside / "y").read_text() == "mine"
    assert (found.tree / "lib").is_dir()
    assert not (found.tree / "lib").is_symlink()
    assert any("puts a folder in the place of a file below: lib" in problem for problem in found.problems)


def test_a_whiteout_through_a_link_removes_nothing(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "y").write_text("mine")
    lower = link("l", str(outside)) + tars.file("kept", b"1") + folder("a") + tars.file("a/kept", b"2")
    found = unpacked(tmp_path, lower, tars.file("l/.wh.y"), tars.file("a/.wh.gone"))
    assert (outside / "y").read_text() == "mine"
    assert (found.tree / "kept").read_bytes() == b"1"
    assert (found.tree / "a/kept").read_bytes() == b"2"
    gone = unpacked(tmp_path / "gone", lower, tars.file(".wh.l"))
    assert (outside / "y").read_text() == "mine"
    assert not os.path.lexists(gone.tree / "l")
    assert (gone.tree / "kept").read_bytes() == b"1"


@pytest.mark.parametrize("where", ["", "a/", "a/b/"])
@pytest.mark.parametrize("name", [".wh.", ".wh..", ".wh..."])
def test_a_whiteout_of_no_file_removes_nothing(name: str, where: str, tmp_path: Path) -> None:
    lower = tars.file("kept", b"1") + tars.file("a/kept", b"2") + tars.file("a/b/kept", b"3")
    found = unpacked(tmp_path, lower, tars.file(f"{where}{name}") + tars.file("a/b/more", b"4"))
    files = {path for path, (kind, _, _) in tree_of(found.tree).items() if kind == "file"}
    assert files == {"kept", "a/kept", "a/b/kept", "a/b/more"}
    (problem,) = found.problems
    assert problem.endswith(f"has a whiteout of no file, {where}{name}")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["image", "scratch"]


def test_a_layer_that_cannot_be_laid_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "a\x1b[2J")

    monkeypatch.setattr(Path, "rename", full)
    with pytest.raises(VerifyError, match=r"^layer 1 .* cannot be laid over .*No space left") as raised:
        unpacked(tmp_path, tars.file("a", b"1"))
    assert "\x1b" not in str(raised.value)


@pytest.mark.parametrize(
    ("diff_ids", "said"),
    [
        (["sha256:" + "0" * 64], "unpacks to a tar of sha256"),
        ([], "has 1 layers, and its configuration 0"),
        (["md5:12"], "which is no sha256"),
    ],
)
def test_diff_ids_that_are_wrong(diff_ids: list[str], said: str, tmp_path: Path) -> None:
    write_layers(tmp_path / "image", [tars.file("a", b"x") + END], diff_ids=diff_ids)

    def read_and_unpack() -> None:
        layout, image = read(tmp_path / "image")
        unpack(layout, image, tmp_path / "scratch")

    with pytest.raises(IntegrityError, match=said):
        read_and_unpack()


def test_a_bomb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "RATIO_FROM", 2**20)  # a small one does, then
    write_layers(tmp_path / "image", [tars.file("zeros", bytes(40_000_000)) + END])
    layout, image = read(tmp_path / "image")
    with pytest.raises(IntegrityError, match=r"unpacks to more than"):
        unpack(layout, image, tmp_path / "scratch")


def test_a_layer_that_is_no_tar(tmp_path: Path) -> None:
    write_layers(tmp_path / "image", [b"nothing like a tar" * 100])
    layout, image = read(tmp_path / "image")
    with pytest.raises(IntegrityError, match=r"^layer 1 "):
        unpack(layout, image, tmp_path / "scratch")


def test_a_tree_without_a_manifest_is_no_environment(tmp_path: Path) -> None:
    found = unpacked(tmp_path, tars.file("etc/motd", b"hello"))
    with pytest.raises(IntegrityError, match=r"^the image is not an environment"):
        tree_manifest(found.tree)
