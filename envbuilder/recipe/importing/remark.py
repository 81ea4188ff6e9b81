"""Remarks: how each line of an imported file was converted."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from envbuilder.util.urls import public

Fate = Literal["carried over", "changed", "left out"]


@dataclass(frozen=True, kw_only=True, slots=True)
class SourceLine:
    """A line or entry of an imported file, with its place."""

    text: str
    place: str
    """``environment.yml:7``; where a format has no lines of its own, ``uv.lock: package[3]``."""

    def carried(self) -> Remark:
        """Return the remark that the line is in the recipe as it was written."""
        return Remark(place=self.place, text=public(self.text), fate="carried over")

    def changed(self, how: str) -> Remark:
        """Return the remark that the line was changed; *how* describes the change and its reason."""
        return Remark(place=self.place, text=public(self.text), fate="changed", why=how)

    def left_out(self, why: str) -> Remark:
        """Return the remark that the line is not in the recipe, and *why*."""
        return Remark(place=self.place, text=public(self.text), fate="left out", why=why)


@dataclass(frozen=True, kw_only=True, slots=True)
class Remark:
    """How one line of an imported file was converted."""

    place: str
    text: str
    """Without credentials."""
    fate: Fate
    why: str = ""
    """What it was changed to, or why it was left out; empty if it was carried over."""

    def __str__(self) -> str:
        parts = [part for part in (self.place, self.text, self.why) if part]
        return ": ".join(parts)


def one_fate(remarks: Iterable[Remark], notes: Iterable[Remark] = ()) -> list[Remark]:
    """Return one remark for each line.

    A line may have several alternatives, some of which apply to a server: it is left out if none does.
    *notes* describe how a line was interpreted, and apply if it is used. Remarks on the whole file are unchanged.
    """
    whole = [remark for remark in remarks if not remark.text]
    said: dict[tuple[str, str], list[Remark]] = {}
    noted: dict[tuple[str, str], list[str]] = {}
    for remark in remarks:
        if remark.text:
            said.setdefault((remark.place, remark.text), []).append(remark)
    for note in notes:
        noted.setdefault((note.place, note.text), []).append(note.why)
    found = [_together(same, noted.get(line, [])) for line, same in said.items()]
    return [*whole, *found]


def _together(same: list[Remark], notes: list[str]) -> Remark:
    first = same[0]
    taken = [remark for remark in same if remark.fate != "left out"]
    if not taken:
        whys = dict.fromkeys(remark.why for remark in same)
        return Remark(place=first.place, text=first.text, fate="left out", why="; ".join(whys))
    whys = dict.fromkeys([*notes, *(remark.why for remark in taken if remark.why)])
    fate: Fate = "changed" if whys else "carried over"
    return Remark(place=first.place, text=first.text, fate=fate, why="; ".join(whys))
