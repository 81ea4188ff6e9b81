"""Tables on standard output, laid out by rich, which a command that prints none does not wait for."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from envbuilder.cli.streams import beneath, make_way
from envbuilder.util.printable import printable

if TYPE_CHECKING:
    from rich.console import Console

_WIDE = 10_000
"""Width in columns without a terminal."""

_GAP = 2
_SHORT = 12
_WORD = 24
"""Columns between two of a table, of a cell that is not folded, and of a word that is not broken."""


def show_table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a table to standard output; numbers are right-aligned.

    On a terminal, text folds within its column, between words; where columns are too narrow for words, each row is a
    list of its cells by heading, without the empty ones. Without a terminal each row is one line, however long.
    """
    from rich.console import Console

    cells = [[printable(cell) for cell in row] for row in rows]
    stream = beneath(sys.stdout)
    console = Console(file=stream, highlight=False)
    widths = _widths(headings, cells, console.width) if console.is_terminal else [None] * len(headings)
    if not console.is_terminal:
        console.width = _WIDE
    with console.capture() as capture:
        if widths is None:
            _print_lists(console, headings, cells)
        else:
            _print_table(console, headings, cells, widths)
    make_way()
    for line in capture.get().splitlines():
        print(line.rstrip(), file=stream)


def _print_table(
    console: Console, headings: Sequence[str], cells: Sequence[Sequence[str]], widths: Sequence[int | None]
) -> None:
    from rich.table import Table
    from rich.text import Text

    made = Table(box=None, pad_edge=False, show_edge=False)
    for number, (heading, width) in enumerate(zip(headings, widths, strict=True)):
        numeric = all(row[number][:1].isdigit() or not row[number] for row in cells)
        made.add_column(
            heading, justify="right" if numeric and cells else "left", overflow="fold", width=width
        )
    for row in cells:
        made.add_row(*map(Text, row))
    console.print(made)


def _print_lists(console: Console, headings: Sequence[str], cells: Sequence[Sequence[str]]) -> None:
    from rich.cells import cell_len
    from rich.table import Table
    from rich.text import Text

    for number, row in enumerate(cells):
        if number:
            console.print()
        made = Table.grid(padding=(0, _GAP, 0, 0))
        made.add_column(no_wrap=True, width=max(map(cell_len, headings)), style="bold")
        made.add_column(overflow="fold")
        for heading, cell in zip(headings, row, strict=True):
            if cell not in ("", "-"):
                made.add_row(heading, Text(cell))
        console.print(made)


def _widths(headings: Sequence[str], cells: Sequence[Sequence[str]], room: int) -> list[int | None] | None:
    """Return a width for each column, in *room* columns of a terminal; None where words would break."""
    from rich.cells import cell_len

    columns = [[heading, *(row[number] for row in cells)] for number, heading in enumerate(headings)]
    whole = [max(map(cell_len, column)) for column in columns]
    room -= _GAP * (len(columns) - 1)
    if sum(whole) <= room:
        return [*whole]
    widths = [
        min(max(cell_len(part) for cell in column for part in _parts(cell)), _WORD) for column in columns
    ]
    spare = room - sum(widths)
    if spare < 0:
        return None
    wanted = [full - width for full, width in zip(whole, widths, strict=True)]
    for number in sorted(
        range(len(columns)), key=wanted.__getitem__
    ):  # a column that wants little gets all of it
        given = min(wanted[number], spare // sum(want > 0 for want in wanted)) if wanted[number] else 0
        widths[number] += given
        spare -= given
        wanted[number] = 0
    return [*widths]


def _parts(cell: str) -> list[str]:
    """Return the parts of a cell that must not be broken: the words, or the whole cell if it is short."""
    from rich.cells import cell_len

    return [cell] if cell_len(cell) <= _SHORT else cell.split()
