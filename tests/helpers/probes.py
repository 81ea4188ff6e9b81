"""What a probe answers when all is well, and what is made of it."""

from __future__ import annotations

from typing import Any

from envbuilder.catalog.triton import find_release
from envbuilder.verification.live.evaluate import check_probe
from envbuilder.verification.live.evaluate_model import ModelFacts
from envbuilder.verification.live.run_probe import Probed
from envbuilder.verification.report import Check
from tests.helpers.environments import environment, manifest

MANIFEST = manifest(environment())
GOOD: dict[str, Any] = {
    "conditions": {"python": "3.11.7", "prefix": "/e/0", "locale": "C", "isolated": 1, "utf8_mode": 0},
    "torch": {"version": "2.13.0+cpu", "cuda": None, "numpy": "1.26.4", "seconds": 0.91, "devices": []},
    "child": {"executable": "/e/0/bin/python3", "returncode": "0", "output": "/e/0"},
    "modules": [],
    "libraries": [
        "/usr/lib/x86_64-linux-gnu/libc.so.6",
        "/lib64/ld-linux-x86-64.so.2",
        "/usr/lib/libcuda.so.1",
    ],
    "CPU": {
        "own": False,
        "compiler": "/usr/bin/g++",
        "backend": "inductor",
        "load_seconds": 12.34,
        "compiled": True,
        "graphs": 2,
        "recompiles": 0,
        "together": [],
        "cases": ["1", "2", "8"],
        "responses": [1, 1, 1],
        "varying": [],
        "constructed": False,
        "shapes": {"y": [1, 16]},
        "empty": [],
        "differs": [],
    },
}


def judged(answer: dict[str, Any] | None, *, isolated: bool = True, **known: Any) -> list[Check]:
    """Return the checks of what a probe answered, None where it gave none; *known* is of its subject."""
    probed = Probed(launch="sourced", answer=answer, ended="it exited with 1:\n  | no", seconds=3.0)
    return list(
        check_probe(probed, find_release("pytriton-0.7.0"), MANIFEST, isolated, subject=ModelFacts(**known))
    )


def served(**changes: Any) -> dict[str, Any]:
    """Return the answer of which all is well, with *changes* to what was found of the model."""
    return {**GOOD, "CPU": {**GOOD["CPU"], **changes}}
