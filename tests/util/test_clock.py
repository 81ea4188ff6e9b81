from __future__ import annotations

import datetime

from envbuilder.util.clock import now


def test_the_time_has_its_zone() -> None:
    assert now().utcoffset() == datetime.timedelta(0)
