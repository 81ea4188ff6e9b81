"""Checks in the order of a report, whatever the order in which they are made."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from envbuilder.verification.report import Check


class Findings:
    """Slots for checks: a report lists them in the order in which the slots were created."""

    def __init__(self) -> None:
        self._places: list[list[Check]] = []

    def place(self, checks: Iterable[Check] = ()) -> list[Check]:
        """Return a new place, after all that there are; what is put into it counts from then on."""
        place: list[Check] = []
        self._places.append(place)
        place.extend(checks)  # one by one: what was found before an error counts
        return place

    @property
    def places(self) -> list[list[Check]]:
        """The places that there are until now."""
        return list(self._places)

    @property
    def checks(self) -> list[Check]:
        """All that was found until now."""
        return [check for place in self._places for check in place]

    def rewrite(self, change: Callable[[list[Check]], None]) -> None:
        """Let *change* replace what is in each place."""
        for place in self._places:
            change(place)
