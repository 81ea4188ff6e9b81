from __future__ import annotations

from pathlib import Path

import pytest

from envbuilder.transfer.lookup import find_local, names_an_archive

DIGEST = "0123456789ab"


@pytest.mark.parametrize(
    ("name", "archive"),
    [
        ("small:stable", True),
        (DIGEST, True),
        (f"small-{DIGEST}.tar.gz", True),
        ("small", False),
        ("recipes/small.yaml", False),
    ],
)
def test_what_is_called_like_an_archive(name: str, archive: bool) -> None:
    assert names_an_archive(name) is archive


def test_an_archive_on_this_machine(tmp_path: Path) -> None:
    path = tmp_path / f"small-{DIGEST}.tar.gz"
    path.touch()
    assert [find_local(name, tmp_path) for name in (DIGEST, path.name, f"small-{DIGEST}", str(path))] == [
        path
    ] * 4
    assert find_local("small", tmp_path) is None
    assert find_local("f" * 12, tmp_path) is None
    assert find_local("other.tar.gz", tmp_path) == Path("other.tar.gz"), "as it was called"
