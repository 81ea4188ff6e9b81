"""Where the time goes, read from a server's log."""

from __future__ import annotations

import datetime

import pytest

from envbuilder.bench.timeline import PHASES, read_phases

LOG = """\
I1125 02:08:00.000000 9 pinned_memory_manager.cc:277] "Pinned memory pool disabled"
I1125 02:08:00.500000 9 model_lifecycle.cc:472] "loading: mlp:1"
I1125 02:08:00.600000 9 pb_env.cc:292] "Extracting Python execution env /r/envs/cpu-0123456789ab.tar.gz"
I1125 02:08:03.100000 9 stub_launcher.cc:388] "Starting Python backend stub: source /tmp/python_env_aBcDeF/0"
I1125 02:08:03.600000 9 python_be.cc:2249] "TRITONBACKEND_ModelInstanceInitialize: mlp_0_0 (CPU device 0)"
I1125 02:08:05.600000 9 torch_runtime.py:1301] "mlp: ready in 1.90 s: 0.90 s importing torch, 0.30 s loading, 0.20 s \
compiling and warming"
I1125 02:08:05.700000 9 model_lifecycle.cc:839] "successfully loaded 'mlp'"
"""


def began(hour: int = 2) -> float:
    at = datetime.datetime(2026, 11, 25, hour, 8, 0, tzinfo=datetime.timezone.utc)
    return at.timestamp() - 0.25


@pytest.mark.parametrize("hour", [2, 7, 23])
def test_the_phases(hour: int) -> None:
    """Whatever time zone the server writes its log in."""
    start = began(hour)
    phases = read_phases(LOG, began=start, ready=start + 6.0, answered=start + 6.5)
    expected = {
        "server": 0.75,
        "extraction": 2.5,
        "auto-complete": 0.6,
        "imports": 1.5,
        "loading": 0.3,
        "compiling": 0.2,
        "first request": 0.5,
        "rest": 0.15,
    }
    assert {name: round(seconds, 3) for name, seconds in phases.items()} == expected
    assert tuple(phases) == PHASES
    assert sum(phases.values()) == pytest.approx(6.5)


def test_without_extraction() -> None:
    log = "\n".join(line for line in LOG.splitlines() if "Extracting" not in line)
    phases = read_phases(log, began=began(), ready=began() + 6, answered=began() + 6.5)
    assert phases["extraction"] == 0.0
    assert sum(phases.values()) == pytest.approx(6.5)


def test_a_log_that_says_nothing() -> None:
    phases = read_phases("", began=began(), ready=began() + 2, answered=began() + 3)
    assert sum(phases.values()) == pytest.approx(3.0)
