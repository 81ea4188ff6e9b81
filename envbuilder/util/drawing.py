"""Draw labelled boxes as SVG or PNG."""

from __future__ import annotations

import html
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from envbuilder.errors import RecipeError
from envbuilder.util.extras import installing
from envbuilder.util.files import atomic_write
from envbuilder.util.printable import printable_line, valid_xml
from envbuilder.util.tempdirs import output_folder

GLYPH: Final = 0.56
"""Mean width of a letter relative to the font size: wide enough for any viewer's sans-serif."""
_SCALE: Final = 2
"""Pixels of a PNG for each unit of the drawing."""


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle with its text, from its upper left corner."""

    x: float
    y: float
    width: float
    height: float
    fill: str = ""
    """Colour; empty where only the text is drawn."""
    text: str = ""
    font: float = 12.0
    tip: str = ""
    """The tooltip."""
    ink: str = "black"


def write_picture(boxes: Sequence[Box], path: Path, *, width: float, height: float) -> None:
    """Draw *boxes* to *path*, as SVG or PNG by its suffix.

    Raises:
        RecipeError: another suffix, *path* cannot be written, or a PNG without Pillow.
    """
    formats = {".svg": _svg, ".png": _png}
    make = formats.get(path.suffix.lower())
    if make is None:
        raise RecipeError(f"{path}: unknown image format", hint="expected a name that ends in .svg or .png")
    picture = make(boxes, width, height)
    try:
        with output_folder(path.parent):
            atomic_write(path, picture)
    except OSError as error:
        raise RecipeError(f"{path} cannot be written: {error.strerror}") from error


def text_width(text: str, font: float) -> float:
    """Return how wide *text* is at most, in units of the drawing."""
    return len(text) * GLYPH * font + 8


def _svg(boxes: Sequence[Box], width: float, height: float) -> bytes:
    out = io.StringIO()
    out.write(
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" '
        f'font-family="Helvetica, Arial, sans-serif">\n'
    )
    for box in boxes:
        out.write("<g>")
        if box.tip:
            out.write(f"<title>{html.escape(valid_xml(box.tip))}</title>")
        if box.fill:
            out.write(
                f'<rect x="{box.x:.1f}" y="{box.y:.1f}" width="{box.width:.1f}" height="{box.height:.1f}" '
                f'fill="{box.fill}"/>'
            )
        if box.text:
            x, y = box.x + 4, box.y + 3 + 0.8 * box.font
            place = f'x="{x:.1f}" y="{y:.1f}" font-size="{box.font:g}" fill="{box.ink}"'
            out.write(f"<text {place}>{html.escape(valid_xml(box.text))}</text>")
        out.write("</g>\n")
    out.write("</svg>\n")
    return out.getvalue().encode()


def _png(boxes: Sequence[Box], width: float, height: float) -> bytes:
    try:
        from PIL import Image, ImageDraw, ImageFont
    except ImportError:
        raise RecipeError(
            "drawing a PNG requires Pillow, which is not installed",
            hint=f"write an .svg, or {installing('plot')}",
        ) from None
    image = Image.new("RGB", (round(width * _SCALE), round(height * _SCALE)))
    pen = ImageDraw.Draw(image)
    for box in boxes:
        left, top = round(box.x * _SCALE), round(box.y * _SCALE)
        right, bottom = round((box.x + box.width) * _SCALE) - 1, round((box.y + box.height) * _SCALE) - 1
        if box.fill and right >= left and bottom >= top:
            pen.rectangle((left, top, right, bottom), fill=box.fill)
        if box.text:
            font = ImageFont.load_default(box.font * _SCALE)
            pen.text((left + 4 * _SCALE, top + 3 * _SCALE), printable_line(box.text), fill=box.ink, font=font)
    out = io.BytesIO()
    image.save(out, "PNG", optimize=True)
    return out.getvalue()
