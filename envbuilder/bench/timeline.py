"""Break down the time between the start of a server and its first response, from the server's log."""

from __future__ import annotations

import datetime
import re
from collections.abc import Mapping
from typing import Final

PHASES: Final = (
    "server",
    "extraction",
    "auto-complete",
    "imports",
    "loading",
    "compiling",
    "first request",
    "rest",
)
"""The server itself; the archive; the extra stub for the configuration; the stub and its imports; the
model; compiling and warming before it is ready; the first request; and what lies between."""
_LINE: Final = re.compile(r"^[IWEV]\d{4} (\d\d):(\d\d):(\d\d\.\d+) ")
_READY: Final = re.compile(
    r"ready in [\d.]+ s: ([\d.]+) s importing torch, ([\d.]+) s loading, ([\d.]+) s compiling and warming"
)
_QUARTER: Final = 900.0
_DAY: Final = 86400.0


def read_phases(log: str, *, began: float, ready: float, answered: float) -> Mapping[str, float]:
    """Return the seconds of each of :data:`PHASES`; the three times are in seconds of the epoch."""
    loading = extracting = extracted = instance = loaded = None
    spent = (0.0, 0.0, 0.0)
    for line in log.splitlines():
        found = _LINE.match(line)
        if found is None:
            continue
        at = _seconds(found, began)
        if '"loading: ' in line and loading is None:
            loading = at
        elif "Extracting Python execution env" in line and extracting is None:
            extracting = at
        elif extracting is not None and extracted is None:
            extracted = at  # the next action of the server
        if "TRITONBACKEND_ModelInstanceInitialize: " in line and instance is None:
            instance = at
        match = _READY.search(line)
        if match is not None:
            loaded, spent = at, (float(match[1]), float(match[2]), float(match[3]))
    loading = loading or began
    extraction = (extracted or 0.0) - (extracting or 0.0) if extracting else 0.0
    instance = instance or loading
    loaded = loaded or ready
    phases = {
        "server": loading - began,
        "extraction": extraction,
        "auto-complete": instance - loading - extraction,
        "imports": loaded - instance - spent[1] - spent[2],
        "loading": spent[1],
        "compiling": spent[2],
        "first request": answered - ready,
    }
    phases = {name: max(0.0, seconds) for name, seconds in phases.items()}
    return {**phases, "rest": max(0.0, answered - began - sum(phases.values()))}


def _seconds(found: re.Match[str], began: float) -> float:
    """Return the time of a line in seconds since the epoch; the log has only a local time of day."""
    of_day = 3600.0 * int(found[1]) + 60.0 * int(found[2]) + float(found[3])
    midnight = datetime.datetime.fromtimestamp(began, datetime.timezone.utc).replace(
        hour=0, minute=0, second=0, microsecond=0
    )
    late = midnight.timestamp() + of_day - began
    return (
        began
        + (late + _DAY / 2) % _DAY
        - _DAY / 2
        - _QUARTER * round(((late + _DAY / 2) % _DAY - _DAY / 2) / _QUARTER)
    )
