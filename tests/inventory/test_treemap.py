from __future__ import annotations

import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
from PIL import Image

from envbuilder.errors import RecipeError
from envbuilder.inventory import treemap
from envbuilder.inventory.sizes import Cell
from envbuilder.util.drawing import Box
from envbuilder.util.extras import installing
from tests.inventory.conftest import small_sizes


@pytest.mark.parametrize("weights", [[5.0], [6, 6, 4, 3, 2, 2, 1], [100, 1, 1e-6], [1.0] * 50, []])
@pytest.mark.parametrize(("width", "height"), [(600.0, 400.0), (50.0, 900.0)])
def test_boxes_fill_the_field_by_weight_and_do_not_overlap(
    weights: list[float], width: float, height: float
) -> None:
    boxes = treemap.squarify(weights, Box(10, 20, width, height))

    assert len(boxes) == len(weights)
    for box, weight in zip(boxes, weights, strict=True):
        assert box.width * box.height == pytest.approx(width * height * weight / sum(weights))
        assert box.x >= 10 - 1e-6
        assert box.y >= 20 - 1e-6
        assert box.x + box.width <= 10 + width + 1e-6
        assert box.y + box.height <= 20 + height + 1e-6
    for number, one in enumerate(boxes):
        for other in boxes[:number]:
            overlap_x = min(one.x + one.width, other.x + other.width) - max(one.x, other.x)
            overlap_y = min(one.y + one.height, other.y + other.height) - max(one.y, other.y)
            assert min(overlap_x, overlap_y) < 1e-6


def test_the_example_of_the_paper_is_laid_out_as_there() -> None:
    boxes = treemap.squarify([6, 6, 4, 3, 2, 2, 1], Box(0, 0, 6, 4))
    assert [(round(box.width, 2), round(box.height, 2)) for box in boxes[:4]] == [
        (3, 2),
        (3, 2),
        (1.71, 2.33),
        (1.29, 2.33),
    ]


def test_no_label_is_wider_than_its_box() -> None:
    many = tuple(
        Cell(package=f"package-number-{n}", kind="Python", packed=2**n, unpacked=2**n, files=1)
        for n in range(16)
    )
    boxes = list(treemap.draw(small_sizes(cells=many, packed=2**16 - 1)))
    assert any(box.text.endswith("…") for box in boxes)
    for box in boxes:
        if box.text:
            assert len(box.text) * 0.56 * box.font <= box.width


def test_an_svg_names_every_package_and_kind(tmp_path: Path) -> None:
    path = tmp_path / "new" / "sizes.svg"
    treemap.plot(small_sizes(), path)

    root = ElementTree.parse(path).getroot()
    texts = [element.text for element in root.iter("{http://www.w3.org/2000/svg}text")]
    tips = [element.text for element in root.iter("{http://www.w3.org/2000/svg}title")]
    assert texts[0] == "a-1.tar.gz: 1.0 kB, 2.0 kB unpacked"
    assert {"torch  700 B", "GPU code  600 B", "numpy  299 B", "host code  299 B"} <= set(texts)
    assert texts[-3:] == ["GPU code  600 B (60%)", "host code  299 B (30%)", "Python  101 B (10%)"]
    assert "torch, GPU code: 600 B, 60.0% of the archive, 900 B unpacked" in tips
    assert "1 more: 1 B, 2 B unpacked" in tips
    assert [other.name for other in path.parent.iterdir()] == ["sizes.svg"]


def test_an_svg_escapes_names(tmp_path: Path) -> None:
    treemap.plot(small_sizes(archive=Path("a<b&c.tar")), tmp_path / "sizes.svg")
    assert ElementTree.parse(tmp_path / "sizes.svg") is not None
    assert "a&lt;b&amp;c.tar" in (tmp_path / "sizes.svg").read_text()


def test_a_png_shows_the_kinds_in_their_colours(tmp_path: Path) -> None:
    treemap.plot(small_sizes(), tmp_path / "sizes.PNG")
    with Image.open(tmp_path / "sizes.PNG") as image:
        assert image.size == (2400, 1600)
        colours = {colour: count for count, colour in image.getcolors(2**20) or []}
    gpu, host = colours[(0xF0, 0xA3, 0x5E)], colours[(0x7F, 0xB8, 0xDE)]
    assert gpu / host == pytest.approx(600 / 299, rel=0.05)


def test_without_pillow_a_png_is_refused_with_the_way_out(tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "PIL", None)
        with pytest.raises(RecipeError) as raised:
            treemap.plot(small_sizes(), tmp_path / "sizes.png")
    assert str(raised.value) == (
        "drawing a PNG requires Pillow, which is not installed\n"
        f"  hint: write an .svg, or {installing('plot')}"
    )
    assert list(tmp_path.iterdir()) == []


def test_another_suffix_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RecipeError) as raised:
        treemap.plot(small_sizes(), tmp_path / "sizes.pdf")
    assert str(raised.value) == (
        f"{tmp_path}/sizes.pdf: unknown image format\n  hint: expected a name that ends in .svg or .png"
    )


def test_a_picture_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RecipeError) as raised:
        treemap.plot(small_sizes(), tmp_path / "file" / "sizes.svg")
    assert raised.value.message == f"{tmp_path}/file/sizes.svg cannot be written: File exists"
