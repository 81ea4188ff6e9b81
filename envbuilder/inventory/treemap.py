"""Draw the sizes in an archive as a treemap by package and kind, as SVG or PNG."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from envbuilder.inventory.sizes import BYTECODE, DATA, GPU_CODE, HEADERS, HOST_CODE, PYTHON, Cell, Sizes
from envbuilder.util.drawing import GLYPH, Box, text_width, write_picture
from envbuilder.util.text import human

COLOURS: Final = {  # after Okabe and Ito: the colour-blind can tell them apart; light, for black text on them
    GPU_CODE: "#f0a35e",
    HOST_CODE: "#7fb8de",
    PYTHON: "#5fc29d",
    BYTECODE: "#b8e3d2",
    HEADERS: "#d9a3c4",
    DATA: "#d5d5d5",
}
_FRAME: Final = "#4a4a4a"
_WIDTH: Final = 1200.0
_HEIGHT: Final = 800.0
_MARGIN: Final = 12.0
_TITLE: Final = 44.0
_LEGEND: Final = 36.0
_HEADING: Final = 18.0
"""Height of a package's name above its kinds."""
_SMALLEST: Final = 0.003
"""Share of the archive below which packages are drawn together."""
_FONTS: Final = (12.0, 10.5, 9.0)
"""Font sizes, tried in order until a text fits."""


def plot(sizes: Sizes, path: Path) -> None:
    """Draw *sizes* to *path*, in the format of its suffix (``.svg`` or ``.png``).

    Raises:
        RecipeError: another suffix, *path* cannot be written, or a PNG without Pillow.
    """
    write_picture(list(draw(sizes)), path, width=_WIDTH, height=_HEIGHT)


# -- what is drawn ---------------------------------------------------------------------------------


def draw(sizes: Sizes) -> Iterator[Box]:
    """Yield the boxes of the picture, from the ground up; areas are bytes of the archive."""
    yield Box(0, 0, _WIDTH, _HEIGHT, fill="white")
    inner = _WIDTH - 2 * _MARGIN
    title = f"{sizes.archive.name}: {human(sizes.packed)}, {human(sizes.unpacked)} unpacked"
    yield Box(_MARGIN, _MARGIN, inner, _TITLE - _MARGIN, text=title, font=20)
    field = Box(_MARGIN, _TITLE, inner, _HEIGHT - _TITLE - _LEGEND - _MARGIN)
    packages = [cell for cell in _gathered(sizes) if cell[1]]
    for (name, cells), box in zip(
        packages, squarify([_packed(cells) for _, cells in packages], field), strict=True
    ):
        yield from _draw_package(name, cells, box, sizes)
    yield from _draw_legend(sizes)


def _draw_package(name: str, cells: Sequence[Cell], box: Box, sizes: Sizes) -> Iterator[Box]:
    packed = _packed(cells)
    tip = f"{name}: {human(packed)}, {human(sum(cell.unpacked for cell in cells))} unpacked"
    yield replace(_shrunk(box, 1), fill=_FRAME, tip=tip)
    inside = _shrunk(box, 2)
    names = [f"{name}  {human(packed)}", name, _cut(name, inside.width)]
    heading = _label(replace(inside, height=_HEADING), names, ink="white")
    if heading.text and inside.height > 2 * _HEADING:
        yield heading
        inside = replace(inside, y=inside.y + _HEADING, height=inside.height - _HEADING)
    ordered = sorted(cells, key=lambda cell: -cell.packed)
    for cell, part in zip(ordered, squarify([cell.packed for cell in ordered], inside), strict=True):
        of = f"{cell.packed / sizes.packed:.1%} of the archive, {human(cell.unpacked)} unpacked"
        yield _label(
            _shrunk(part, 0.5),
            [f"{cell.kind}  {human(cell.packed)}", human(cell.packed)],
            fill=COLOURS[cell.kind],
            tip=f"{name}, {cell.kind}: {human(cell.packed)}, {of}",
        )


def _draw_legend(sizes: Sizes) -> Iterator[Box]:
    left, top = _MARGIN, _HEIGHT - _LEGEND
    for cell in sizes.by_kind():
        yield Box(left, top, 20, 20, fill=COLOURS[cell.kind])
        share = cell.packed / sizes.packed
        text = f"{cell.kind}  {human(cell.packed)} ({'under 1%' if share < 0.01 else f'{share:.0%}'})"
        yield Box(left + 22, top, text_width(text, 12), 20, text=text)
        left += 22 + text_width(text, 12)


def _gathered(sizes: Sizes) -> list[tuple[str, list[Cell]]]:
    """Return the packages with their cells, largest first; the smallest ones are merged, last."""
    shown: list[tuple[str, list[Cell]]] = []
    small: list[Cell] = []
    count = 0
    for package in sizes.by_package():
        cells = [cell for cell in sizes.cells if cell.package == package.package and cell.packed]
        if package.packed >= _SMALLEST * sizes.packed:
            shown.append((package.package, cells))
        else:
            small += cells
            count += 1
    return [*shown, (f"{count} more", _by_kind(small))]


def _by_kind(cells: Iterable[Cell]) -> list[Cell]:
    kinds: dict[str, Cell] = {}
    for cell in cells:
        sum_ = kinds.get(cell.kind)
        kinds[cell.kind] = (
            cell
            if sum_ is None
            else replace(sum_, packed=sum_.packed + cell.packed, unpacked=sum_.unpacked + cell.unpacked)
        )
    return list(kinds.values())


def _packed(cells: Iterable[Cell]) -> int:
    return sum(cell.packed for cell in cells)


def _label(box: Box, texts: Sequence[str], *, fill: str = "", tip: str = "", ink: str = "black") -> Box:
    """Return *box* with the first of *texts* that fits in it, the longer ones smaller, or none."""
    box = replace(box, fill=fill, tip=tip, ink=ink)
    for text in texts:
        for font in _FONTS:
            if text_width(text, font) <= box.width and 1.5 * font <= box.height:
                return replace(box, text=text, font=font)
    return box


def _cut(name: str, width: float) -> str:
    """Return as much of *name* as fits into *width* in the smallest font."""
    letters = int((width - 8) / (GLYPH * _FONTS[-1])) - 1
    return f"{name[:letters]}…" if letters >= 4 else name


def _shrunk(box: Box, by: float) -> Box:
    return replace(
        box,
        x=box.x + by,
        y=box.y + by,
        width=max(box.width - 2 * by, 0.0),
        height=max(box.height - 2 * by, 0.0),
    )


def squarify(weights: Sequence[float], field: Box) -> list[Box]:
    """Divide *field* into a box for each weight, largest weight first, as close to squares as possible.

    The method is that of Bruls, Huizing and van Wijk, *Squarified Treemaps* (2000): rows are laid along the shorter
    side, and a row gets another box as long as its worst aspect ratio does not increase.
    """
    total = sum(weights)
    boxes: list[Box] = []
    rest = field
    begin = 0
    while begin < len(weights):
        scale = rest.width * rest.height / total if total else 0.0
        side = min(rest.width, rest.height)
        end = begin + 1
        while end < len(weights) and _worst(weights[begin : end + 1], scale, side) <= _worst(
            weights[begin:end], scale, side
        ):
            end += 1
        row = weights[begin:end]
        thickness = sum(row) * scale / side if side else 0.0
        along = 0.0
        for weight in row:
            length = weight * scale / thickness if thickness else 0.0
            if rest.width >= rest.height:
                boxes.append(Box(rest.x, rest.y + along, thickness, length))
            else:
                boxes.append(Box(rest.x + along, rest.y, length, thickness))
            along += length
        if rest.width >= rest.height:
            rest = replace(rest, x=rest.x + thickness, width=max(rest.width - thickness, 0.0))
        else:
            rest = replace(rest, y=rest.y + thickness, height=max(rest.height - thickness, 0.0))
        total -= sum(row)
        begin = end
    return boxes


def _worst(row: Sequence[float], scale: float, side: float) -> float:
    """Return the worst aspect ratio in a row."""
    thickness = sum(row) * scale / side if side else 0.0
    lengths = [weight * scale / thickness if thickness else 0.0 for weight in row]
    return max(max(length / thickness, thickness / length) if length else float("inf") for length in lengths)
