"""Folders of sources: what counts, and what does not."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from envbuilder.util.source_tree import copy_sources, source_files, tree_digest


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    folder = tmp_path / "tree"
    for path in (
        "a.py",
        "pkg/b.py",
        ".git/HEAD",
        "pkg/__pycache__/b.pyc",
        "x.egg-info/PKG-INFO",
        "build/lib/a.py",
    ):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(path)
    (folder / "link").symlink_to("pkg")
    return folder


def test_what_tools_leave_does_not_count(tree: Path) -> None:
    assert sorted(map(str, source_files(tree))) == ["a.py", "link", "pkg/b.py"]
    digest = tree_digest(tree)
    (tree / ".git" / "HEAD").write_text("another commit")
    assert tree_digest(tree) == digest


@pytest.mark.parametrize("change", ["content", "name", "mode", "link", "gone"])
def test_what_counts(tree: Path, change: str) -> None:
    before = tree_digest(tree)
    path = tree / "a.py"
    if change == "content":
        path.write_text("other")
    elif change == "name":
        path.rename(tree / "c.py")
    elif change == "mode":
        os.chmod(path, 0o755)
    elif change == "link":
        (tree / "link").unlink()
        (tree / "link").symlink_to("a.py")
    else:
        path.unlink()
    assert tree_digest(tree) != before


def test_a_copy_has_the_same_digest(tree: Path, tmp_path: Path) -> None:
    copy_sources(tree, tmp_path / "copy")
    assert tree_digest(tmp_path / "copy") == tree_digest(tree)
    assert not (tmp_path / "copy" / ".git").exists()
