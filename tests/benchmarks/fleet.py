"""Many recipes over one torch, on this machine's cores and on a Dask cluster: ``python -m tests.benchmarks.fleet``.

Every recipe is ``cpu`` and one small wheel of its own; artifacts come from a folder, stores are empty, and each figure
is of processes of their own. Ratios are what counts: ``sixty`` is how many times as long all of them take as one, and
``workers`` how many times as fast two workers are as one. Needs the artifacts of ``cpu`` (fetched into the store where
they are not there) and 15 GB of disk for sixty recipes.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from envbuilder.assemble.packing import tools
from envbuilder.base.interpreter import describe, find_interpreter
from envbuilder.building.build import build
from envbuilder.cli.tables import show_table
from envbuilder.config.settings import Settings, load_settings
from envbuilder.fetch.artifacts import fetch_into_wheelhouse
from envbuilder.fleet.build_many import build_many
from envbuilder.fleet.dask import run_on_cluster
from envbuilder.fleet.plan import Job, plan
from envbuilder.fleet.tasks import Terms, pack
from envbuilder.lockfile.check import check_lock
from envbuilder.recipe.load import find_recipe
from envbuilder.store.local import CACHE_VARIABLE, Store
from envbuilder.store.session import Session
from envbuilder.transfer.archives import download_archive
from envbuilder.util.malloc import keep_freed_memory
from tests.helpers.dask import cluster_in
from tests.helpers.trust import Team
from tests.helpers.wheels import write_wheel

ROOT = Path(__file__).resolve().parents[2]


def main() -> None:
    """Run the benchmark, or one measured process of it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--recipes", type=int, default=60, help="how many on this machine; default: 60")
    parser.add_argument("--on-cluster", type=int, default=60, help="how many on the cluster; default: 60")
    parser.add_argument("--rounds", type=int, default=1, help="measure each this often, take the median")
    parser.add_argument(
        "--folder", type=Path, default=None, help="where to work; default: a temporary folder"
    )
    parser.add_argument("--json", action="store_true", help="print JSON only")
    parser.add_argument("--measure", nargs=3, metavar=("WHAT", "COUNT", "FOLDER"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        what, count, folder = options.measure
        print(json.dumps(_measure(what, int(count), Path(folder))))
        return
    with tempfile.TemporaryDirectory(prefix="fleet-", dir=options.folder) as folder:
        wheels = Path(folder) / "wheels"
        _fill(wheels, max(options.recipes, options.on_cluster))
        result = _run(Path(folder), options.recipes, options.on_cluster, options.rounds)
    if options.json:
        print(json.dumps(result, indent=1))
    else:
        show_table(["", ""], [(name, f"{value:.2f}") for name, value in result.items()])


def _run(folder: Path, recipes: int, on_cluster: int, rounds: int) -> dict[str, float]:
    measured: dict[str, list[dict[str, float]]] = {}
    for _ in range(rounds):
        for what, count in (("one", 1), ("many", recipes), ("worker", on_cluster), ("workers", on_cluster)):
            if count and (what != "one" or recipes):
                measured.setdefault(what, []).append(_measured(what, count, folder))
    found = {
        f"{what}: {name}": statistics.median(each[name] for each in rounds_of)
        for what, rounds_of in measured.items()
        for name in rounds_of[0]
    }
    if recipes:
        found["sixty: many / one"] = found["many: seconds"] / found["one: seconds"]
    if on_cluster:
        found["workers: one worker / two"] = found["worker: seconds"] / found["workers: seconds"]
    return found


def _measured(what: str, count: int, folder: Path) -> dict[str, float]:
    with tempfile.TemporaryDirectory(prefix=f"{what}-", dir=folder) as scratch:
        (Path(scratch) / "wheels").symlink_to(folder / "wheels")
        command = [sys.executable, "-m", "tests.benchmarks.fleet", "--measure", what, str(count), scratch]
        env = {**os.environ, CACHE_VARIABLE: str(Path(scratch) / "store")}
        done = subprocess.run(command, cwd=ROOT, env=env, check=True, stdout=subprocess.PIPE, text=True)
        result: dict[str, float] = json.loads(done.stdout)
        return result


def _fill(wheels: Path, count: int) -> None:
    """Put the artifacts of ``cpu`` and the small wheels into a folder."""
    recipe = find_recipe("cpu", ROOT)
    lock = check_lock(recipe)
    settings = load_settings(ROOT / "recipes")
    fetch_into_wheelhouse(lock.artifacts, lock.cuda, Session(settings=settings, store=Store.open()), wheels)
    for number in range(count):
        write_wheel(wheels, f"own{number}", files={f"own{number}.py": f"N = {number}\n".encode()})


def _jobs(count: int, folder: Path, *, store: str | None = None) -> list[Job]:
    recipe = find_recipe("cpu", ROOT)
    locked = check_lock(recipe)
    # Whatever CPython is here: the benchmark is of builders, not of that.
    lock = dataclasses.replace(locked, interpreter=describe(find_interpreter(locked.python)))
    settings = Settings(find_links=(str(folder / "wheels"),), no_index=True, store=store)
    jobs = []
    for number in range(count):
        own = write_wheel(
            folder / "own", f"own{number}", files={f"own{number}.py": f"N = {number}\n".encode()}
        )
        artifacts = sorted((*lock.artifacts, own), key=lambda artifact: artifact.name)
        jobs.append(
            Job(
                recipe=dataclasses.replace(recipe, name=f"cpu{number}"),
                lock=dataclasses.replace(lock, recipe=f"cpu{number}", artifacts=tuple(artifacts)),
                settings=settings,
            )
        )
    return jobs


def _one(count: int, folder: Path) -> dict[str, float]:
    """Build one recipe on an empty store, as ``envbuilder build`` does."""
    (job,) = _jobs(count, folder)
    keep_freed_memory()
    began = time.perf_counter()
    build(job.recipe, job.lock, Session(settings=job.settings, store=Store.open()), output=folder / "envs")
    return {"seconds": time.perf_counter() - began}


def _many(count: int, folder: Path) -> dict[str, float]:
    """Build all of them on an empty store."""
    jobs = _jobs(count, folder)
    began = time.perf_counter()
    outcomes = build_many(jobs, output=folder / "envs")
    seconds = time.perf_counter() - began
    assert {outcome.state for outcome in outcomes} == {"built"}, outcomes
    return {"seconds": seconds}


def _on_cluster(workers: int, count: int, folder: Path) -> dict[str, float]:
    """Build on workers that begin with nothing, until every archive is in the remote store."""
    jobs = _jobs(count, folder, store=f"file://{folder}/elsewhere")
    team = Team(folder / "team")
    nodes = plan(jobs, Terms(tools=tools(), sharing=True, key=team.private.read_text()), None)
    with cluster_in(folder) as cluster:
        for _ in range(workers):
            cluster.add_worker()
        _wait_for(cluster.address, workers)
        began = time.perf_counter()
        results = dict(run_on_cluster(nodes, cluster.address))
        ended = time.perf_counter()
    assert [done.failure for done in results.values()] == [None] * len(nodes)
    packs = [done for key, done in results.items() if nodes[key].work is pack]
    others = {key: done.seconds for key, done in results.items() if nodes[key].work is not pack}
    (last, *_) = (done.report for done in packs if done.report is not None)
    download_archive(team.is_trusted(f"file://{folder}/elsewhere"), last.sha256, folder / "envs")
    return {
        "seconds": ended - began,
        "the longest task": max(others.values()),
        "all tasks but packs": sum(others.values()),
        "a pack": statistics.median(done.seconds for done in packs),
        "bringing an archive here": time.perf_counter() - ended,
    }


def _wait_for(address: str, workers: int) -> None:
    from distributed import Client

    client = Client(address, set_as_default=False)  # type: ignore[no-untyped-call]  # says no types
    client.wait_for_workers(workers, timeout=60)
    client.close()  # type: ignore[no-untyped-call]  # says no types


def _measure(what: str, count: int, folder: Path) -> dict[str, float]:
    if what in ("one", "many"):
        return _one(count, folder) if what == "one" else _many(count, folder)
    return _on_cluster(1 if what == "worker" else 2, count, folder)


if __name__ == "__main__":
    main()
