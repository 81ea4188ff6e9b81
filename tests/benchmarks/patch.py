"""One patch over many recipes, against the patch of one: ``python -m tests.benchmarks.patch``.

Each recipe has a wheel of its own and one that all share, which is patched. Locks are solved by uv from a wheelhouse,
archives are really built; nothing is verified or deployed. Each run is in a project and a store of its own, where the
fleet is locked and built already. The ratio is what counts: seconds of the fleet divided by seconds of one.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from envbuilder import api
from envbuilder.base.interpreter import find_interpreter
from envbuilder.fleet.patching.patch import PatchOptions
from envbuilder.store.local import CACHE_VARIABLE
from tests.helpers.small import little
from tests.helpers.wheels import write_wheel


def main() -> None:
    """Patch one recipe and many, and say how the times compare."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--recipes", type=int, default=60)
    parser.add_argument("--rounds", type=int, default=1, help="measure each this often, take the median")
    parser.add_argument("--whole", action="store_true", help="with the whole interpreter in each archive")
    options = parser.parse_args()
    seconds = {}
    for count in (1, options.recipes):
        runs = [_measure(count, whole=options.whole) for _ in range(options.rounds)]
        seconds[count] = statistics.median(runs)
    ratio = seconds[options.recipes] / seconds[1]
    result = {"seconds": seconds, "ratio": round(ratio, 2), "cores": os.cpu_count()}
    print(json.dumps(result))  # a program


def _measure(count: int, *, whole: bool) -> float:
    with tempfile.TemporaryDirectory() as name, _inside(Path(name)):
        folder = Path(name)
        _write(folder, count, whole=whole)
        recipes = api.load_recipes()
        for recipe in recipes:
            api.lock(recipe)
        assert not [one for one in api.build_many(recipes) if one.failure]
        write_wheel(folder / "wheels", "shared", "1.1")
        began = time.perf_counter()
        rows = api.patch("shared==1.0", PatchOptions(verify=False))
        seconds = time.perf_counter() - began
        assert [row.state for row in rows] == ["patched"] * count, rows
        return seconds


@contextlib.contextmanager
def _inside(folder: Path) -> Iterator[None]:
    before, store = Path.cwd(), os.environ.get(CACHE_VARIABLE)
    os.chdir(folder)
    os.environ[CACHE_VARIABLE] = str(folder / "store")
    try:
        yield
    finally:
        os.chdir(before)
        os.environ.pop(CACHE_VARIABLE)
        if store is not None:
            os.environ[CACHE_VARIABLE] = store


def _write(folder: Path, count: int, *, whole: bool) -> None:
    exclude = "".join(f'    - "{pattern}"\n' for pattern in little(find_interpreter("3.11")).exclude or ())
    pack = "" if whole else f"pack:\n  exclude:\n{exclude}"
    wheels = folder / "wheels"
    for name, version in (("torch", "2.13.0+cpu"), ("numpy", "1.26.4"), ("shared", "1.0")):
        write_wheel(wheels, name, version)
    (folder / "recipes").mkdir()
    for number in range(count):
        write_wheel(wheels, f"own{number}")
        (folder / "recipes" / f"fleet{number}.yaml").write_text(
            'triton: pytriton-0.7.0\npython: "3.11"\ntorch: "2.13.0"\ncuda: cpu\n'
            f"dependencies: [shared, own{number}]\n{pack}"
        )
    (folder / "envbuilder.toml").write_text('find-links = ["wheels"]\nno-index = true\n')


if __name__ == "__main__":
    main()
