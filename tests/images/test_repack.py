from __future__ import annotations

import tarfile
from pathlib import Path

from envbuilder.images.repack import pack_tree
from envbuilder.util.files import file_sha256


def test_the_same_tree_gives_the_same_archive(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    (tree / "bin").mkdir(parents=True)
    (tree / "bin" / "run").write_bytes(b"1" * 700)
    (tree / "bin" / "run").chmod(0o755)
    (tree / "empty").mkdir()
    (tree / "lib").symlink_to("bin")
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    archive = pack_tree(tree, tmp_path / "one", "small")
    assert archive.name == f"small-{file_sha256(archive)[:12]}.tar"
    assert pack_tree(tree, tmp_path / "two", "small").name == archive.name
    with tarfile.open(archive) as tar:
        assert [(one.name, one.size, one.mode, one.linkname) for one in tar] == [
            ("bin/run", 700, 0o755, ""),
            ("empty", 0, 0o755, ""),
            ("lib", 0, 0o777, "bin"),
        ]
