from __future__ import annotations

import pytest

from envbuilder.html_report.content import Content
from envbuilder.html_report.treemap import HEIGHT, WIDTH, pictures


def test_areas_are_bytes(content: Content) -> None:
    assert content.sizes is not None
    first, *parts = pictures(content.sizes)
    areas = [tile.box.width * tile.box.height for tile in first.tiles]
    shares = [area / (WIDTH * HEIGHT) for area in areas]
    assert shares == pytest.approx([0.7, 0.299, 0.001])
    assert [len(part.tiles) for part in parts] == [2, 1]


def test_a_large_package_leads_to_a_picture_of_its_own(content: Content) -> None:
    assert content.sizes is not None
    first, *parts = pictures(content.sizes)
    assert [tile.target for tile in first.tiles] == [*(part.id for part in parts), ""]
    assert len({part.id for part in parts}) == len(parts)
    assert first.tiles[-1].name == "1 more"
    assert first.rows[0] == ("torch", "700.0 kB", "70.0%", "1.4 MB")


def test_a_name_that_does_not_fit_is_left_out(content: Content) -> None:
    assert content.sizes is not None
    first, *_ = pictures(content.sizes)
    assert (first.tiles[0].label, first.tiles[-1].label) == ("torch", "")
    assert "1 more: 1.0 kB, 0.1% of the archive" in first.tiles[-1].tip
