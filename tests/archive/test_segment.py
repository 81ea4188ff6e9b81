from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path

import pytest

from envbuilder.archive.elf import ElfFacts
from envbuilder.archive.segment import (
    DamagedSegmentError,
    Excluded,
    FileFacts,
    Piece,
    Segment,
    iter_pieces,
    keep,
    load_segment,
)
from envbuilder.store.local import Store

KEY = "ab" * 32


def made(folder: Path) -> Segment:
    """Return a segment with something in every field."""
    folder.mkdir(parents=True)
    (folder / "literals").write_bytes(b"literal bytes")
    elf = ElfFacts(
        needs=("libc.so.6",), runpath=("$ORIGIN",), soname="x.so", glibc="2.17", provides_glibcxx=True
    )
    return Segment(
        key=KEY,
        label="a.whl",
        artifact="cd" * 32,
        pieces=(Piece(7, 11, 100, 200, 12), Piece(6, 13)),
        size=213,
        files=(FileFacts("a", 0o644, 3, "00" * 32, elf=elf), FileFacts("l", 0o777, 0, "11" * 32, link="a")),
        omitted=(FileFacts("caf\udce9", 0o755, 1, "22" * 32),),
        excluded=(Excluded("**/*.a", 2, 300),),
        folder=folder,
    )


def test_what_is_kept_is_read_back(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "store")
    segment = made(tmp_path / "scratch")
    kept = keep(segment, store)
    assert kept.folder == store.root / "segments" / "ab" / KEY
    assert kept == segment == load_segment(kept.folder, KEY)
    assert not (tmp_path / "scratch").exists()
    assert list(iter_pieces(kept)) == [(0, kept.pieces[0]), (7, kept.pieces[1])]
    assert kept.unpacked == 3


def test_any_flipped_bit_of_its_list_is_found(tmp_path: Path) -> None:
    folder = tmp_path / "s"
    made(folder).save()
    facts = folder / "segment.json"
    whole = facts.read_bytes()
    for position in range(0, len(whole), 7):
        damaged = bytearray(whole)
        damaged[position] ^= 1 << position % 8
        facts.write_bytes(damaged)
        with pytest.raises(DamagedSegmentError, match=r"^s: the list of pieces has changed$"):
            load_segment(folder, KEY)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: (folder / "segment.json").unlink(), "s: No such file or directory"),
        (lambda folder: (folder / "literals").unlink(), "s: No such file or directory"),
        (
            lambda folder: (folder / "literals").write_bytes(b"less"),
            "s: 4 literal bytes do not match its pieces",
        ),
        (lambda folder: (folder / "segment.json").write_bytes(b""), "s: the list of pieces has changed"),
    ],
)
def test_a_part_that_is_missing_or_cut_off(
    tmp_path: Path, damage: Callable[[Path], None], message: str
) -> None:
    folder = tmp_path / "s"
    made(folder).save()
    damage(folder)
    with pytest.raises(DamagedSegmentError) as caught:
        load_segment(folder, KEY)
    assert str(caught.value) == message


def test_another_segment_under_its_name(tmp_path: Path) -> None:
    folder = tmp_path / "s"
    made(folder).save()
    with pytest.raises(DamagedSegmentError) as caught:
        load_segment(folder, "ef" * 32)
    assert str(caught.value) == "s: 13 literal bytes do not match its pieces"


def test_one_that_another_build_kept_meanwhile_is_taken(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "store")
    first = keep(made(tmp_path / "1"), store)
    second = keep(made(tmp_path / "2"), store)
    assert second.folder == first.folder
    assert (tmp_path / "2").exists()  # left to whoever gave the scratch folder


def test_a_damaged_one_in_its_place_is_replaced(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "store")
    first = keep(made(tmp_path / "1"), store)
    (first.folder / "segment.json").write_bytes(b"")
    assert load_segment(keep(made(tmp_path / "2"), store).folder, KEY) == first


def test_a_store_that_refuses_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    store = Store.open(tmp_path / "store")
    segment = made(tmp_path / "1")
    monkeypatch.setattr(Path, "rename", refuse)
    with pytest.raises(OSError, match="No space left on device"):
        keep(segment, store)
