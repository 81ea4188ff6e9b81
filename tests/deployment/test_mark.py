from __future__ import annotations

from pathlib import Path

import pytest

from envbuilder.deployment.mark import DEPLOYED, MARK, Mark, parse_mark, read_mark


@pytest.mark.parametrize("mark", [DEPLOYED, Mark(files={}), Mark(files={"1/a b": "0" * 64})])
def test_written_and_read(tmp_path: Path, mark: Mark) -> None:
    (tmp_path / MARK).write_bytes(mark.text())
    assert read_mark(tmp_path) == mark


@pytest.mark.parametrize(
    "data", [b"", b"{}", b"[]", b'{"format": 2, "placed-by": "envbuilder deploy"}', b"\xff"]
)
def test_anything_else_is_no_mark(data: bytes) -> None:
    assert parse_mark(data) is None


def test_a_link_is_no_mark(tmp_path: Path) -> None:
    (tmp_path / "mark").write_bytes(DEPLOYED.text())
    (tmp_path / MARK).symlink_to("mark")
    assert read_mark(tmp_path) is None


def test_while_it_changes_a_file_may_be_either() -> None:
    mark = Mark(files={"a": "2", "b": "3"}).with_former({"a": "1", "b": "3", "c": "4"})
    assert mark.files == {"a": "1 2", "b": "3", "c": "4"}
