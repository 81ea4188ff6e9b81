from __future__ import annotations

import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from envbuilder.errors import RecipeError
from envbuilder.util.drawing import Box, text_width, write_picture


def test_a_box_with_its_text_and_its_tip(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.svg"
    boxes = [
        Box(1, 2, 30, 20, fill="#abcdef", text="a<b\x07", tip="more & more"),
        Box(0, 0, 9, 9, text="only"),
    ]
    write_picture(boxes, path, width=100, height=50)
    root = ET.fromstring(path.read_text())
    assert root.get("viewBox") == "0 0 100 50"
    first, second = root
    assert [child.tag.rpartition("}")[2] for child in first] == ["title", "rect", "text"]
    assert [child.text for child in first] == ["more & more", None, "a<b\\u0007"]
    assert [child.tag.rpartition("}")[2] for child in second] == ["text"]


def test_no_text_is_wider_than_is_said() -> None:
    assert text_width("", 12) < text_width("a", 12) < text_width("ab", 12) < text_width("ab", 24)


def test_another_format_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"a\.gif: unknown image format"):
        write_picture([], tmp_path / "a.gif", width=1, height=1)
