from __future__ import annotations

from typing import Any

from envbuilder.bench.start import Start, Starts, summed
from envbuilder.bench.timeline import PHASES


def start(deployment: str, precompiled: bool, restart: bool, seconds: float, **rest: Any) -> Start:
    phases = {phase: seconds / len(PHASES) for phase in PHASES}
    values = {"compilations": 0, "difference": 0.0, **rest}
    return Start(
        deployment=deployment,
        precompiled=precompiled,
        restart=restart,
        seconds=seconds,
        phases=phases,
        **values,
    )


def measured(*, mounted: bool = False) -> Starts:
    starts = [
        start("baseline", False, False, 30.0, compilations=9, difference=2e-6),
        start("baseline", False, True, 24.0, compilations=7, difference=2e-6),
        start("archive", True, False, 6.0, difference=1e-6),
        start("archive", True, True, 5.0, difference=1e-6),
        start("unpacked", True, False, 3.0, difference=1e-6),
        start("unpacked", True, True, 2.5, compilations=1, difference=1e-6),
        start("baseline", False, False, 31.0, compilations=9, difference=2e-6),
        start("archive", True, False, 16.0, difference=1e-6),
        *([start("mounted", True, False, 2.0, difference=1e-6)] if mounted else []),
    ]
    return Starts(archive="cpu.tar.gz", server="a server", models=(summed("mlp", starts),))
