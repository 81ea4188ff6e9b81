"""What time it is: asked in one place, so that a test can say it."""

from __future__ import annotations

import datetime


def now() -> datetime.datetime:
    """Return the time, in UTC."""
    return datetime.datetime.now(datetime.timezone.utc)
