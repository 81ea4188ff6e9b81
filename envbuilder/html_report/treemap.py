"""The treemap of a page: areas are bytes of the archive; each package links to a separate picture."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from envbuilder.inventory.sizes import DATA, Cell, Sizes
from envbuilder.inventory.treemap import COLOURS, squarify
from envbuilder.util.drawing import Box, text_width
from envbuilder.util.text import human

WIDTH: Final = 1000.0
HEIGHT: Final = 460.0
_FONT: Final = 13.0
_SMALLEST: Final = 0.003
"""Share of the archive below which packages share one box."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Tile:
    """One rectangle."""

    box: Box
    name: str
    tip: str
    fill: str
    target: str = ""
    """The id of its link target; empty: none."""

    @property
    def label(self) -> str:
        """The name, if it fits."""
        fits = text_width(self.name, _FONT) <= self.box.width and self.box.height >= 1.6 * _FONT
        return self.name if fits else ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Picture:
    """A treemap, and its data as rows of a table."""

    id: str
    title: str
    tiles: tuple[Tile, ...]
    rows: tuple[tuple[str, str, str, str], ...]
    """Name, packed, share of the archive, unpacked."""


def pictures(sizes: Sizes) -> Iterator[Picture]:
    """Yield the picture of all packages, then one for each that has a separate box."""
    packages = sizes.by_package()
    large = [one for one in packages if one.packed >= _SMALLEST * max(sizes.packed, 1)]
    small = [one for one in packages if one not in large]
    shown = [(one.package, one, f"size-{number}-{_slug(one.package)}") for number, one in enumerate(large)]
    parts = [(name, cell, _largest_kind(sizes, name), target) for name, cell, target in shown]
    if small:
        title = f"{len(small)} more"
        parts.append((title, _sum(title, small), DATA, ""))
    yield Picture(
        id="size-all",
        title="All packages",
        tiles=tuple(_tiles(parts, sizes)),
        rows=tuple(_row(one.package, one, sizes) for one in packages),
    )
    for name, _, target in shown:
        cells = sorted((one for one in sizes.cells if one.package == name), key=lambda one: -one.packed)
        yield Picture(
            id=target,
            title=name,
            tiles=tuple(_tiles([(one.kind, one, one.kind, "") for one in cells], sizes)),
            rows=tuple(_row(one.kind, one, sizes) for one in cells),
        )


def _tiles(parts: Sequence[tuple[str, Cell, str, str]], sizes: Sizes) -> Iterator[Tile]:
    drawn = [part for part in parts if part[1].packed]
    boxes = squarify([cell.packed for _, cell, _, _ in drawn], Box(0, 0, WIDTH, HEIGHT))
    for (name, cell, kind, target), box in zip(drawn, boxes, strict=True):
        share = cell.packed / max(sizes.packed, 1)
        tip = f"{name}: {human(cell.packed)}, {share:.1%} of the archive, {human(cell.unpacked)} unpacked"
        yield Tile(box=box, name=name, tip=tip, fill=COLOURS[kind], target=target)


def _largest_kind(sizes: Sizes, package: str) -> str:
    return max((one for one in sizes.cells if one.package == package), key=lambda one: one.packed).kind


def _sum(name: str, cells: Sequence[Cell]) -> Cell:
    return Cell(
        package=name,
        kind=DATA,
        packed=sum(one.packed for one in cells),
        unpacked=sum(one.unpacked for one in cells),
        files=sum(one.files for one in cells),
    )


def _row(name: str, cell: Cell, sizes: Sizes) -> tuple[str, str, str, str]:
    return name, human(cell.packed), f"{cell.packed / max(sizes.packed, 1):.1%}", human(cell.unpacked)


def _slug(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
