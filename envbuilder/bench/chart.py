"""A chart of starts: a stacked bar for each, in seconds."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from envbuilder.bench.start import Start, Starts
from envbuilder.bench.timeline import PHASES
from envbuilder.util.drawing import Box, text_width, write_picture

_COLOURS: Final = dict(  # after Okabe and Ito, light
    zip(
        PHASES,
        ("#d5d5d5", "#f0a35e", "#d9a3c4", "#7fb8de", "#5fc29d", "#e0785a", "#f3e37c", "#f0f0f0"),
        strict=True,
    )
)
_WIDTH: Final = 1200.0
_MARGIN: Final = 12.0
_TITLE: Final = 44.0
_BAR: Final = 22.0
_GAP: Final = 6.0
_LABELS: Final = 250.0
_FIGURES: Final = 70.0
_FONT: Final = 12.0


def plot_starts(starts: Starts, path: Path) -> None:
    """Draw *starts* to *path*, in the format of its suffix (``.svg`` or ``.png``).

    Raises:
        RecipeError: another suffix, *path* cannot be written, or a PNG without Pillow.
    """
    boxes = list(draw_starts(starts))
    write_picture(boxes, path, width=_WIDTH, height=boxes[0].height)


def draw_starts(starts: Starts) -> Iterator[Box]:
    """Yield the boxes of the picture, from the ground up."""
    count = sum(len(model.starts) for model in starts.models)
    height = _TITLE + count * _BAR + len(starts.models) * (_BAR + _GAP) + 3 * _MARGIN + _BAR
    longest = max(start.seconds for model in starts.models for start in model.starts)
    scale = (_WIDTH - 2 * _MARGIN - _LABELS - _FIGURES) / longest
    yield Box(0, 0, _WIDTH, height, fill="white")
    title = f"{starts.archive}: seconds from starting {starts.server} to the first correct response"
    yield Box(_MARGIN, _MARGIN, _WIDTH, _TITLE - _MARGIN, text=title, font=16)
    top = _TITLE
    for model in starts.models:
        yield Box(_MARGIN, top, _WIDTH, _BAR, text=model.model, font=14)
        top += _BAR
        for start in model.starts:
            yield from _bar(start, top, scale)
            top += _BAR
        top += _GAP
    yield from _legend(top + _MARGIN)


def _bar(start: Start, top: float, scale: float) -> Iterator[Box]:
    ahead = ", precompiled" if start.precompiled else ""
    label = f"{start.deployment}{ahead}, {'again' if start.restart else 'first'}"
    yield Box(_MARGIN, top, _LABELS, _BAR, text=label, font=_FONT)
    left = _MARGIN + _LABELS
    for phase in PHASES:
        seconds = start.phases[phase]
        width = seconds * scale
        text = f"{seconds:.1f}"
        shown = text if text_width(text, 10) <= width else ""
        tip = f"{phase}: {seconds:.2f} s"
        yield Box(left, top + 2, width, _BAR - 4, fill=_COLOURS[phase], text=shown, font=10, tip=tip)
        left += width
    yield Box(left + 4, top, _FIGURES, _BAR, text=f"{start.seconds:.1f} s", font=_FONT)


def _legend(top: float) -> Iterator[Box]:
    left = _MARGIN
    for phase in PHASES:
        yield Box(left, top, 20, 20, fill=_COLOURS[phase])
        yield Box(left + 22, top, text_width(phase, _FONT), 20, text=phase, font=_FONT)
        left += 22 + text_width(phase, _FONT) + _MARGIN
