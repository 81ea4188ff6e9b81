from __future__ import annotations

from pathlib import Path

import pytest

from envbuilder.images.local import chunks_of_layer, find_archive, note_layer
from envbuilder.store.local import Store

DIGEST = "ab" * 32


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A store that knows the layer ``layer`` to be two ranges of an archive."""
    store = Store.open(tmp_path / "store")
    note_layer(store, "layer", DIGEST, [(2, 3), (7, 2)])
    return store


def test_an_archive_is_found_by_its_name(tmp_path: Path) -> None:
    assert find_archive(tmp_path, DIGEST) is None
    path = tmp_path / f"small-{DIGEST[:12]}.tar.gz"
    path.touch()
    assert find_archive(tmp_path, DIGEST) == path


def test_a_layer_is_read_from_an_archive_that_is_here(store: Store, tmp_path: Path) -> None:
    (tmp_path / f"small-{DIGEST[:12]}.tar").write_bytes(b"0123456789")
    assert list(chunks_of_layer(store, tmp_path, "layer", [3, 2])) == [(0, 0, b"234"), (1, 0, b"78")]


@pytest.mark.parametrize(
    ("content", "layer", "sizes"),
    [
        (None, "layer", [3, 2]),
        (b"0123", "layer", [3, 2]),
        (b"0123456789", "layer", [3, 3]),
        (b"0", "other", [1]),
    ],
    ids=["no archive", "cut off", "other parts", "another layer"],
)
def test_what_is_not_here_is_looked_up_elsewhere(
    content: bytes | None, layer: str, sizes: list[int], store: Store, tmp_path: Path
) -> None:
    if content is not None:
        (tmp_path / f"small-{DIGEST[:12]}.tar").write_bytes(content)
    with pytest.raises(LookupError):
        list(chunks_of_layer(store, tmp_path, layer, sizes))
