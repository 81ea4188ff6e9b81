"""The current time, read in one place so that tests can set it."""

from __future__ import annotations

import datetime


def now() -> datetime.datetime:
    """Return the time, in UTC."""
    return datetime.datetime.now(datetime.timezone.utc)
