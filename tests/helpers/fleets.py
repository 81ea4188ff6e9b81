"""Recipes that share a wheel and differ in a small one, really built."""

from __future__ import annotations

import dataclasses
import random
from pathlib import Path

from envbuilder.base.interpreter import Interpreter, describe
from envbuilder.config.settings import Settings
from envbuilder.fleet.plan import Job
from tests.helpers.small import little
from tests.helpers.wheels import small_lock, small_recipe, write_wheel


def make_fleet(folder: Path, interpreter: Interpreter, count: int, *, store: str | None = None) -> list[Job]:
    """Write the wheels of *count* environments into *folder*, and lock them."""
    wheels = folder / "wheels"
    noise = random.Random(3).randbytes(300_000)
    common = write_wheel(wheels, "common", files={"common/__init__.py": b"", "common/big.bin": noise})
    settings = Settings(find_links=(str(wheels),), no_index=True, store=store)
    jobs = []
    for number in range(count):
        own = write_wheel(wheels, f"own{number}", files={f"own{number}.py": f"N = {number}\n".encode()})
        recipe = small_recipe(folder, f"fleet{number}", pack=little(interpreter))
        lock = small_lock(recipe, [common, own], describe(interpreter))
        jobs.append(Job(recipe=recipe, lock=lock, settings=settings))
    return jobs


def on(jobs: list[Job], store: str) -> list[Job]:
    """Return *jobs* with another remote store."""
    return [dataclasses.replace(job, settings=dataclasses.replace(job.settings, store=store)) for job in jobs]
