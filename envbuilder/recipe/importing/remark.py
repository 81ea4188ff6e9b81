"""What became of a line of a file that was imported."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from envbuilder.util.urls import public

Fate = Literal["carried over", "changed", "left out"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Said:
    """A text, and where it stands."""

    text: str
    place: str
    """``environment.yml:7``; where a format has no lines of its own, ``uv.lock: package[3]``."""

    def carried(self) -> Remark:
        """Return the remark that the recipe says this as it was written."""
        return Remark(place=self.place, text=public(self.text), fate="carried over")

    def changed(self, how: str) -> Remark:
        """Return the remark that the recipe says this in other words: *how*, and why."""
        return Remark(place=self.place, text=public(self.text), fate="changed", why=how)

    def left_out(self, why: str) -> Remark:
        """Return the remark that this is not in the recipe, and *why*."""
        return Remark(place=self.place, text=public(self.text), fate="left out", why=why)


@dataclass(frozen=True, kw_only=True, slots=True)
class Remark:
    """What became of one thing that an imported file says."""

    place: str
    text: str
    """Without credentials."""
    fate: Fate
    why: str = ""
    """What it was changed to, or why it was left out; empty where it was carried over."""

    def __str__(self) -> str:
        parts = [part for part in (self.place, self.text, self.why) if part]
        return ": ".join(parts)
