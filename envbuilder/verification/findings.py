"""Checks in the order of a report, regardless of the order in which they are made."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from envbuilder.verification.report import Check


class Findings:
    """Slots for checks: a report lists them in the order in which the slots were created."""

    def __init__(self) -> None:
        self._places: list[list[Check]] = []

    def place(self, checks: Iterable[Check] = ()) -> list[Check]:
        """Return a new slot after the existing ones; checks added to it are part of the report."""
        place: list[Check] = []
        self._places.append(place)
        place.extend(checks)  # one by one, so that checks before an error are kept
        return place

    @property
    def places(self) -> list[list[Check]]:
        """The slots so far."""
        return list(self._places)

    @property
    def checks(self) -> list[Check]:
        """All checks so far."""
        return [check for place in self._places for check in place]

    def rewrite(self, change: Callable[[list[Check]], None]) -> None:
        """Let *change* modify each slot."""
        for place in self._places:
            change(place)
