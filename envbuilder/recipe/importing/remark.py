"""What became of a line of a file that was imported."""

from __future__ import annotations

from dataclasses import dataclass

from envbuilder.util.urls import public


@dataclass(frozen=True, kw_only=True, slots=True)
class Said:
    """A text, and where it stands."""

    text: str
    place: str
    """``environment.yml:7``."""

    def carried(self, how: str) -> Remark:
        """Return the remark that this is said otherwise in the recipe: *how*."""
        return Remark(place=self.place, text=public(self.text), left_out=False, why=how)

    def left_out(self, why: str) -> Remark:
        """Return the remark that this is not in the recipe, and *why*."""
        return Remark(place=self.place, text=public(self.text), left_out=True, why=why)


@dataclass(frozen=True, kw_only=True, slots=True)
class Remark:
    """What became of something that is not in the recipe as it was written."""

    place: str
    text: str
    """Without credentials."""
    left_out: bool
    """It is not in the recipe; else it is, in other words."""
    why: str

    def __str__(self) -> str:
        return f"{self.place}: {self.text}: {self.why}" if self.text else f"{self.place}: {self.why}"
