"""Resolving paths in a tree of links: exactly as the kernel of this machine does in a real folder."""

from __future__ import annotations

import ctypes
import errno
import os
import shutil
import stat
import struct
import tempfile
from pathlib import Path

import hypothesis
import hypothesis.strategies as st
import pytest

from envbuilder.archive.links import MAX_LINKS, End, Resolved, Tree

ERRNOS: dict[int, End] = {
    errno.ENOENT: "missing",
    errno.ELOOP: "loop",
    errno.ENOTDIR: "through-file",
    errno.ENAMETOOLONG: "too-long",
    errno.EXDEV: "outside",
}
Content = dict[str, str | None]
"""What a tree holds, by path: a link's target, None for a file; a path that ends in a slash is a folder."""


def make(content: Content) -> Tree:
    tree = Tree()
    for path, target in content.items():
        if path.endswith("/"):
            tree.add_folder(path[:-1])
        elif target is None:
            tree.add_file(path)
        else:
            tree.add_link(path, target)
    return tree


def write(content: Content, folder: Path) -> None:
    for path, target in content.items():
        place = folder / path
        if path.endswith("/"):
            place.mkdir(parents=True, exist_ok=True)
            continue
        place.parent.mkdir(parents=True, exist_ok=True)
        if target is None:
            place.write_bytes(b"")
        else:
            place.symlink_to(target)


def open_beneath(path: str, folder: int, flags: int) -> int:
    """Open *path* as openat2(2) does with RESOLVE_BENEATH: EXDEV where it leaves *folder*, even for a while."""
    how = struct.pack("<QQQ", flags, 0, 0x08)
    system = ctypes.CDLL(None, use_errno=True)
    opened: int = system.syscall(437, folder, ctypes.c_char_p(os.fsencode(path)), how, len(how))
    if opened < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), path)
    return opened


def kernel(path: str, folder: Path, *, follow: bool = True) -> tuple[End, str]:
    """What the kernel finds at *path* from *folder*, and its real path in *folder*."""
    opened = None
    start = os.open(folder, os.O_PATH | os.O_DIRECTORY)
    try:
        opened = open_beneath(path or ".", start, os.O_PATH if follow else os.O_PATH | os.O_NOFOLLOW)
        real = os.readlink(f"/proc/self/fd/{opened}")
        mode = os.fstat(opened).st_mode
    except OSError as error:
        return ERRNOS[error.errno or 0], ""
    finally:
        os.close(start)
        if opened is not None:
            os.close(opened)
    end: End = "folder" if stat.S_ISDIR(mode) else "link" if stat.S_ISLNK(mode) else "file"
    inside = os.path.relpath(real, folder)
    return end, "" if inside == "." else inside


NAMES = st.sampled_from(["a", "b", "c", "d"])
PATHS = st.lists(NAMES, min_size=1, max_size=3).map("/".join)
STEPS = st.lists(st.sampled_from(["a", "b", "c", "d", "..", "..", ".", ""]), min_size=1, max_size=6)
TARGETS = STEPS.map("/".join).filter(lambda target: bool(target) and not target.startswith("/"))
ENTRIES = st.lists(st.tuples(PATHS, st.one_of(TARGETS, st.just("/"), st.none())), max_size=9)


def fitting(entries: list[tuple[str, str | None]]) -> Content:
    """Leave out what does not fit to what comes before: a path below a file or a link, and a second of one path."""
    content: Content = {}
    for path, target in entries:
        above = {path.rsplit("/", count)[0] for count in range(1, path.count("/") + 1)}
        taken = {one.rstrip("/") for one in content}
        inner = any(one.startswith(f"{path}/") for one in taken)
        if path in taken or inner or above & {one for one in content if not one.endswith("/")}:
            continue
        content[f"{path}/" if target == "/" else path] = None if target == "/" else target
    return content


@hypothesis.settings(max_examples=150, deadline=None)
@hypothesis.given(entries=ENTRIES, path=st.one_of(PATHS, STEPS.map("/".join)), follow=st.booleans())
@hypothesis.example(entries=[("q", "."), ("r", "/"), ("l", "q/r/../../outside")], path="l", follow=True)
@hypothesis.example(entries=[("a", "b"), ("b", "a")], path="a/../..", follow=True)
@hypothesis.example(entries=[("a", None)], path="a/..", follow=True)
@hypothesis.example(entries=[("a", None), ("b", "a/")], path="b", follow=True)
@hypothesis.example(entries=[("a", "b")], path="a/", follow=False)
def test_a_path_ends_where_the_kernel_says(
    entries: list[tuple[str, str | None]], path: str, follow: bool
) -> None:
    hypothesis.assume(not path.startswith("/"))
    content = fitting(entries)
    folder = Path(tempfile.mkdtemp(prefix="envbuilder-links-")).resolve()
    try:
        write(content, folder)
        expected = kernel(path, folder, follow=follow)
    finally:
        shutil.rmtree(folder)
    found = make(content).resolve(path, follow=follow)
    assert (found.end, found.path if found.end in ("folder", "file", "link") else "") == expected
    assert found.escapes or expected[0] != "outside"
    assert found.links <= MAX_LINKS


CHAIN: Content = {"end": None, "l0": "end", **{f"l{n}": f"l{n - 1}" for n in range(1, 60)}}
ODD: list[tuple[str, Content, str, Resolved]] = [
    ("nothing", {}, "a", Resolved(end="missing", path="a")),
    ("itself", {}, "", Resolved(end="folder", path="")),
    ("out-of-a-folder", {"a/": None}, "a/..", Resolved(end="folder", path="")),
    ("out-of-the-root", {}, "..", Resolved(end="outside", path="", escapes=True)),
    ("absolute", {"a": "/b"}, "a", Resolved(end="outside", path="", escapes=True, links=1)),
    ("a-name-and-back", {}, "../root", Resolved(end="outside", path="", escapes=True)),
    (
        "through-a-link-to-itself",
        {"q": ".", "r/": None, "l": "q/r/../../outside"},
        "l",
        Resolved(end="outside", path="", escapes=True, links=2),
    ),
    (
        "stays-though-its-text-leads-out",
        {"deep/er/": None, "d": "deep/er", "l": "d/../../x", "x": None},
        "l",
        Resolved(end="file", path="x", links=2),
    ),
    ("forty-links", CHAIN, "l39", Resolved(end="file", path="end", links=40)),
    ("forty-one-links", CHAIN, "l40", Resolved(end="loop", path="l0", links=40)),
    ("loop", {"a": "b", "b": "a"}, "a", Resolved(end="loop", path="a", links=40)),
    ("itself-as-target", {"a": "a"}, "a/x", Resolved(end="loop", path="a", links=40)),
    ("below-a-loop", {"a": "a"}, "a/../../x", Resolved(end="loop", path="a", escapes=True, links=40)),
    ("file-as-folder", {"a": None}, "a/b", Resolved(end="through-file", path="a")),
    ("file-and-a-slash", {"a": None}, "a/", Resolved(end="through-file", path="a")),
    ("file-and-a-dot", {"a": None}, "a/.", Resolved(end="through-file", path="a")),
    (
        "link-to-a-file-and-a-slash",
        {"a": None, "b": "a/"},
        "b",
        Resolved(end="through-file", path="a", links=1),
    ),
    ("out-behind-a-file", {"a": None}, "a/../../b", Resolved(end="through-file", path="a", escapes=True)),
    ("out-behind-nothing", {}, "a/b/../../../c", Resolved(end="missing", path="a", escapes=True)),
    ("in-behind-nothing", {}, "a/b/../../c", Resolved(end="missing", path="a")),
    ("long-name", {}, "n" * 256, Resolved(end="too-long", path="n" * 256)),
    ("longest-name", {}, "n" * 255, Resolved(end="missing", path="n" * 255)),
    ("longest-path", {}, "./" * 2047 + ".", Resolved(end="folder", path="")),
    ("long-path", {}, "./" * 2048, Resolved(end="too-long", path="")),
    ("not-ascii", {}, "\udcff" * 256, Resolved(end="too-long", path="\udcff" * 256)),
]


@pytest.mark.parametrize(
    ("content", "path", "expected"), [case[1:] for case in ODD], ids=[case[0] for case in ODD]
)
def test_odd_paths(tmp_path: Path, content: Content, path: str, expected: Resolved) -> None:
    write(content, tmp_path)
    assert kernel(path, tmp_path)[0] == expected.end
    assert make(content).resolve(path) == expected


def test_a_link_that_is_not_followed() -> None:
    tree = make({"a": "b", "b/": None})
    assert tree.resolve("a", follow=False) == Resolved(end="link", path="a")
    assert tree.resolve("a/", follow=False) == Resolved(end="folder", path="b", links=1)


def test_from_a_folder() -> None:
    tree = make({"a/b/": None, "a/l": "../c", "c": None})
    assert tree.resolve("../l", start="a/b") == Resolved(end="file", path="c", links=1)
    assert tree.resolve_link("a/l") == Resolved(end="file", path="c", links=1)
    assert tree.target("a/l") == "../c"


def test_links_without_number_are_given_up() -> None:
    tree = Tree(most_steps=1_000_000)
    tree.add_folder("d")
    for number in range(40):
        tree.add_link(f"l{number}", "d/../" * 800 + f"l{number + 1}")
    ends = {tree.resolve("l0").end for _ in range(40)}
    assert ends == {"missing", "too-long"}
    assert tree.resolve("d").end == "too-long"
